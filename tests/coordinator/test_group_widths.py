"""How a group is started: with which width, or measuring, and what is remembered of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from coordinated import a_record, a_search

from hpsearch.coordinator.speeds import Speeds
from hpsearch.coordinator.view import SearchView
from hpsearch.coordinator.widths import as_measured, as_started, of_part
from hpsearch.storage.records import GroupRecord, SearchRecord, SpeedRecord
from workers.config import TrainConfig
from workers.messages import Report, Speed

KIND = "mlp 50, batch 32, float32 on digits"


def _view(*speeds: tuple[int, float], resources: dict[str, Any] | None = None) -> SearchView:
    """Of a search, and of what steps of some widths take on this device."""
    spec = a_search(resources=resources or {})
    now = datetime.now(UTC)
    view = SearchView(SearchRecord(id=1, name="s", spec=spec, state="running", created_at=now))
    view.speeds.add(_speed(width, seconds) for width, seconds in speeds)
    return view


def _speed(width: int, seconds: float, device: str = "cpu") -> SpeedRecord:
    return SpeedRecord(kind=KIND, device=device, width=width, seconds=seconds, bytes=0)


def _started(view: SearchView, num_trials: int, start_epoch: int = 0, **fields: Any) -> Any:
    members = [a_record(id=i, state="waiting", group=5, **fields) for i in range(num_trials)]
    group = as_started(view, members, TrainConfig(), start_epoch, "cpu")
    return group.measures, group.width


def test_the_first_group_of_a_kind_and_device_measures() -> None:
    view = _view()
    assert _started(view, 32) == (True, None)
    view.speeds.add([_speed(16, 1.0, device="another"), replace(_speed(4, 1.0), kind="another")])
    assert _started(view, 32) == (True, None)
    view.speeds.add([_speed(4, 1.0)])
    assert _started(view, 4) == (False, 4)


def test_later_groups_have_the_width_with_the_least_seconds_a_row() -> None:
    assert _started(_view((1, 1.0), (4, 2.0), (16, 16.0)), 100) == (False, 4)
    assert _started(_view((1, 1.0), (4, 4.5)), 100) == (False, 1)


def test_where_the_widest_was_best_a_much_wider_group_measures_again() -> None:
    speeds = (1, 1.0), (4, 2.0), (16, 4.0)
    assert _started(_view(*speeds), 33) == (True, None)
    assert _started(_view(*speeds), 32) == (False, 32)
    assert _started(_view(*speeds), 5) == (False, 16)


def test_folds_are_rows() -> None:
    view = _view((1, 1.0), (4, 2.0), (16, 4.0))
    folded = view.search.spec.data.model_copy(update={"folds": 5})
    view.search = replace(view.search, spec=view.search.spec.model_copy(update={"data": folded}))
    assert _started(view, 6) == (False, 30)
    assert _started(view, 7) == (True, None)


def test_a_width_that_is_given_is_taken() -> None:
    assert _started(_view(resources={"width": 7}), 100) == (False, 7)
    assert _started(_view((1, 1.0), resources={"width": 7}), 100) == (False, 7)


def test_a_group_that_is_trained_again_is_trained_as_it_was() -> None:
    view = _view((64, 1.0))
    stored = GroupRecord(
        number=5, kind=KIND, device="another", start_epoch=2, measures=True, width=None
    )
    view.groups[5] = stored
    assert _started(view, 9, start_epoch=2) == (True, None), "it had not come to measure"
    view.groups[5] = replace(stored, width=3)
    assert _started(view, 9, start_epoch=2) == (True, 3)
    assert _started(view, 9, start_epoch=4) == (False, 3)
    assert _started(view, 9, start_epoch=0) == (False, 3)


def test_a_group_that_had_not_come_to_measure_does_so_from_wherever_it_begins() -> None:
    view, members = _view(), [a_record(id=i, group=5) for i in range(9)]
    stored = GroupRecord(number=5, kind=KIND, device="cpu", start_epoch=2, measures=True)
    view.groups[5] = stored
    again = as_started(view, members, TrainConfig(), 0, "cpu")
    assert again == replace(stored, start_epoch=0), "its checkpoint was damaged"
    view.groups[5] = replace(again, width=3)
    assert _started(view, 9, start_epoch=0) == (True, 3)


def test_a_group_of_an_older_version_is_trained_all_at_once() -> None:
    view = _view((4, 1.0))
    view.groups[5] = GroupRecord(
        number=5, kind="any", device="any", start_epoch=0, measures=False, width=None
    )
    for start_epoch in (0, 2):
        assert _started(view, 9, start_epoch=start_epoch) == (False, None)


def test_survivors_of_a_rung_are_a_new_group() -> None:
    assert _started(_view(), 3, start_epoch=2, attempts=1) == (True, None)
    assert _started(_view((4, 1.0)), 3, start_epoch=2, attempts=1) == (False, 4)


@pytest.mark.parametrize(
    ("measures", "width", "inherited"),
    [
        (True, 16, (False, 16)),
        (False, 16, (False, 16)),
        (True, None, (True, None)),
        (False, None, (False, None)),
    ],
)
def test_a_part_has_the_width_of_the_whole_or_measures_as_it_did(
    measures: bool, width: int | None, inherited: tuple[bool, int | None]
) -> None:
    whole = GroupRecord(
        number=5, kind=KIND, device="cpu", start_epoch=2, measures=measures, width=width
    )
    part = of_part(whole, 8)
    assert (part.number, part.kind, part.start_epoch) == (8, KIND, 2)
    assert (part.measures, part.width) == inherited


def test_a_report_with_a_width_is_remembered_with_its_speeds() -> None:
    group = GroupRecord(number=5, kind=KIND, device="was", start_epoch=0, measures=True)
    report = Report(epoch=1, trials=(), metrics={}, seconds=1.0)
    assert as_measured(group, report, "cpu") == (None, ())
    speeds = (Speed(width=1, seconds=0.5, bytes=7), Speed(width=4, seconds=1.0))
    measured = replace(report, speeds=speeds, width=4)
    assert as_measured(None, measured, "cpu") == (None, ())
    chosen, stored = as_measured(group, measured, "cpu")
    assert chosen == replace(group, width=4)
    assert [(s.width, s.seconds, s.bytes, s.device) for s in stored] == [
        (1, 0.5, 7, "cpu"),
        (4, 1.0, 0, "cpu"),
    ]


def test_an_unknown_kind_takes_as_long_as_the_known_ones_on_average() -> None:
    speeds = Speeds()
    assert speeds.row_step_s(KIND, "cpu") == 1.0
    others = [replace(_speed(width, 6.0), kind=f"kind {width}") for width in (2, 6)]
    speeds.add([*others, _speed(1, 100.0, device="another")])
    assert speeds.row_step_s(KIND, "cpu") == (3.0 + 1.0) / 2
    assert speeds.row_step_s("kind 2", "cpu") == 3.0
