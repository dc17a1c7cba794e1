"""JSON columns: what goes in comes out."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.spec.reason import Reason
from hpsearch.storage.codec import FLOAT, decode, decode_numbers, encode

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.text().filter(lambda key: key != FLOAT)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equality in which NaN equals NaN, and 1 differs from 1.0 and from True."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


@given(values)
def test_a_value_comes_back_with_its_types_and_the_order_of_its_keys(value: Any) -> None:
    assert same(decode(encode(value)), value)
    assert same(decode(encode(value).encode()), value)


@given(values)
def test_what_is_written_is_strict_json_in_ascii(value: Any) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = encode(value)
    assert text.isascii()
    json.loads(text, parse_constant=refuse)


@given(st.lists(st.none() | st.lists(st.floats() | st.integers(-(2**53), 2**53)), min_size=1))
def test_lists_of_numbers_come_back_from_lines(lists: list[list[float] | None]) -> None:
    found = decode_numbers("\n".join(encode(each) for each in lists))
    assert all(each is None or type(each) is list for each in found)
    expected = [None if each is None else tuple(each) for each in lists]
    assert same(tuple(None if each is None else tuple(each) for each in found), tuple(expected))


def test_a_list_comes_back_as_a_tuple() -> None:
    assert decode(encode({"hidden_units": [64, 32]})) == {"hidden_units": (64, 32)}


def test_numbers_of_numpy_are_stored_as_numbers() -> None:
    assert same(decode(encode([np.int64(3), np.float32(0.5)])), (3, 0.5))


def test_a_dataclass_is_stored_by_its_fields() -> None:
    reason = Reason(
        branch="all", parameter="l1", action="kept", old=(0, 1), new=(0, 1), text="é", evidence={}
    )
    assert Reason(**decode(encode(reason))) == reason


@pytest.mark.parametrize("value", [{1: 2}, {"a": object()}, {1, 2}, b"bytes"])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="JSON column"):
        encode(value)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_are_written_as_json_writes_them(numbers: list[float]) -> None:
    assert encode(numbers) == json.dumps(numbers)


@pytest.mark.parametrize("odd", [math.nan, math.inf, 1, True, None, "n", np.float32(0.1), [0.5]])
def test_a_list_of_more_than_finite_numbers_is_json_too(odd: Any) -> None:
    text = encode([0.5, odd])
    assert json.loads(text)[0] == 0.5
    assert same(decode(text)[1], decode(encode({"odd": odd}))["odd"])
