"""Widths: of which kind a group is, and how many of its rows are trained at once.

Pure functions of what is stored. Called by the loop when a group is started and when it reports
what it measured. What was decided is stored with the start: a group has begun exactly if it has a
GroupRecord, and one that is trained again is trained in the same blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from hpsearch.coordinator.view import SearchView
from hpsearch.spec.search import Data, Search
from hpsearch.storage.records import GroupRecord, SpeedRecord, TrialRecord
from workers.config import TrainConfig
from workers.messages import Report

WIDER = 2  # times the rows that were tried at most: more than that is worth trying

_SAID = ("model", "hidden_units", "depth", "channels", "batch_size", "precision")  # in any case
_SHAPES = [f for f in fields(TrainConfig) if f.metadata.get("shapes") and f.name not in _SAID]


def kind(search: Search, config: TrainConfig) -> str:
    """What decides how long a step takes, in words: mlp 50, batch 32, float32 on digits.

    Equal for two configurations of the same data exactly when their trials can be stacked; a
    trainable's cannot, and what it is given says nothing of its time.
    """
    if search.trainable is not None:
        return search.trainable
    channels = (f"{count}c" for count in config.block_channels())
    given = (f"{name}={value}" for name, value in config.arguments)
    model = " ".join([config.model, *given, *channels, *map(str, config.layer_widths())])
    parts = [model, _batch(config), config.precision, *_others(config)]
    return f"{', '.join(parts)} on {_data(search.data)}"


def _batch(config: TrainConfig) -> str:
    if config.optimizer == "gradient_descent":
        return "full batch"
    if config.lr_schedule == "grow_batch":
        every, by = config.lr_step_size, config.lr_decay
        return f"batch {config.batch_size} over {by} every {every} epochs"
    return f"batch {config.batch_size}"


def _others(config: TrainConfig) -> Iterator[str]:
    """The other fields that shape tensors, by name, where they are not as by default."""
    for field in _SHAPES:
        value = getattr(config, field.name)
        if value != field.default:
            yield f"{field.name} {value}"


def _data(data: Data) -> str:
    """The data as far as they decide how many inputs there are, and how many examples."""
    limited = () if data.limit is None else (f"{data.limit} rows",)
    return " ".join(filter(None, [data.source, data.path, *data.preprocess, *limited]))


def as_started(
    view: SearchView,
    members: Sequence[TrialRecord],
    config: TrainConfig,
    start_epoch: int,
    device: str,
) -> GroupRecord:
    """How the group of ``members`` is trained from ``start_epoch`` on; as before, if it had begun.

    The first group of a kind on a device measures. Where the widest that was tried was the best,
    one that is up to twice as wide is trained at once, and one that is wider still measures again.
    """
    number = members[0].group
    stored = view.groups.get(number)
    if stored is not None:
        return _as_before(stored, start_epoch)
    spec = view.search.spec
    name, given = kind(spec, config), spec.resources.width
    num_rows = len(members) * spec.data.rows_per_trial
    width = _known_width(view, name, device, num_rows) if given == "auto" else given
    room = view.speeds.most(name, device)
    if room < min(width or num_rows, num_rows):
        width = max(1, int(room))
    return GroupRecord(
        number=number,
        kind=name,
        device=device,
        start_epoch=start_epoch,
        measures=width is None,
        width=width,
    )


def _as_before(stored: GroupRecord, start_epoch: int) -> GroupRecord:
    """A width that was measured from another epoch on is only used; one that is not, is still."""
    if stored.width is None:
        return replace(stored, start_epoch=start_epoch)
    return replace(stored, measures=stored.measures and stored.start_epoch == start_epoch)


def of_part(whole: GroupRecord, number: int, width: int | None = None) -> GroupRecord:
    """How a part of a group is trained: with its width, or measuring, if the whole had not come to.

    ``number`` is the part's, and ``width`` what it is to have if not that of the whole.
    """
    width = width or whole.width
    return replace(whole, number=number, width=width, measures=whole.measures and width is None)


def _known_width(view: SearchView, kind: str, device: str, num_rows: int) -> int | None:
    """The best width for so many rows, by what was measured; None if it is to be measured."""
    best, widest = view.speeds.best(kind, device), view.speeds.widest(kind, device)
    if best is None or (best.width == widest and num_rows > WIDER * widest):
        return None
    return max(num_rows, widest) if best.width == widest else best.width


def as_measured(
    group: GroupRecord | None, report: Report, device: str
) -> tuple[GroupRecord | None, tuple[SpeedRecord, ...]]:
    """What a Report tells of widths: its group with the one that it chose, and the speeds."""
    if group is None or report.width is None:
        return None, ()
    speeds = tuple(
        SpeedRecord(
            kind=group.kind,
            device=device,
            width=speed.width,
            seconds=speed.seconds,
            bytes=speed.bytes,
        )
        for speed in report.speeds
    )
    return replace(group, width=report.width), speeds
