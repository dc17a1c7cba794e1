"""A search goes on with the data that it began with, whether they are held or streamed."""

from __future__ import annotations

from typing import Any

import pytest

from hpsearch.coordinator.resources import _differ

FULL, OTHER = {"fingerprint": "a", "sample": "s"}, {"fingerprint": "b", "sample": "t"}
STREAMED, OTHERS = {"fingerprint": None, "sample": "s"}, {"fingerprint": None, "sample": "t"}
OLD = {"fingerprint": "a"}


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        (FULL, FULL, False),
        (FULL, OTHER, True),
        ({**FULL, "fingerprint": "b"}, FULL, True),
        (FULL, STREAMED, False),
        (STREAMED, FULL, False),
        (STREAMED, OTHER, True),
        (STREAMED, OTHERS, True),
        (OLD, FULL, False),
        (OLD, OTHER, True),
        (OLD, STREAMED, False),
        (OLD, {**STREAMED, "rows": 91}, True),
    ],
)
def test_data_are_compared_by_what_is_known_of_both(
    then: dict[str, Any], now: dict[str, Any], expected: bool
) -> None:
    assert _differ({"rows": 90, **then}, {"rows": 90, **now}) is expected
