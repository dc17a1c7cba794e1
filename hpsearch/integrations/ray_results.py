"""A folder of Ray Tune's results as a search of ours that has ended; Ray itself is not needed.

Called by ``hpsearch import --ray-results``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsearch.api import open_repository
from hpsearch.errors import HpsearchError
from hpsearch.integrations.live import LiveTrial
from hpsearch.integrations.recording import (
    Outcome,
    column_names,
    flat,
    is_number,
    known_metrics,
    last_line,
    plain,
    search_of,
    store,
)
from hpsearch.sampling.observations import Mode
from hpsearch.spec.space import Choice, Params, Range, Space
from hpsearch.storage.records import SearchRecord

LOG_RATIO = 100  # positive numbers so far apart were most likely drawn on a log scale
# What begins so in a result is Tune's own, or the config again.
TUNES = ("config/", "time", "pid", "training_iteration", "iterations_since_restore")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """What Tune keeps of one trial: its config, its results, what it raised."""

    folder: Path
    params: Params
    results: Sequence[Mapping[str, Any]]
    error: str | None


def import_results(
    folder: str, *, metric: str, mode: Mode, name: str | None = None, db: str | None = None
) -> SearchRecord:
    """Store an experiment's folder as a search called ``name``, by default as the folder.

    Parameters are what differs between the trials' configs; as Tune keeps no domains, their ranges
    are those of the values seen. A trial that a scheduler ended before the longest one's length is
    pruned. Raises HpsearchError for a folder without trials, and a metric that none reports.
    """
    found = [*_trials(Path(folder))]
    if not found:
        raise HpsearchError(
            f"a folder of Ray Tune must have folders with params.json and result.json, but "
            f"{folder!r} has none: give that of one experiment, as in ~/ray_results/NAME"
        )
    rows = (row for one in found for row in one.results)
    reported = {n for row in rows for n in row if is_number(row[n]) and not n.startswith(TUNES)}
    if metric not in reported:
        raise HpsearchError(
            f"the metric must be one that trials reported, but got {metric!r}: give one of "
            f"{', '.join(sorted(reported)) or 'none'} with --metric"
        )
    parameters = _parameters([one.params for one in found])
    names = column_names(parameters)
    search = search_of(
        name or Path(folder).resolve().name,
        metric=metric,
        mode=mode,
        space=Space(parameters={names[n]: one for n, one in parameters.items()}),
        source="ray_tune",
        path=str(folder),
        trials=len(found),
    )
    longest = max(row["training_iteration"] for one in found for row in one.results)
    outcomes = [_outcome(one, names, metric, mode, longest) for one in found]
    return store(open_repository(db), search, outcomes)


def _trials(folder: Path) -> Iterator[_Read]:
    """In the order in which Tune numbered them, which is that of the names of their folders."""
    for file in sorted(folder.glob("*/params.json"), key=lambda path: _place(path.parent)):
        results = file.with_name("result.json")
        try:
            config = json.loads(file.read_text())
            lines = results.read_text().splitlines() if results.exists() else []
            rows = [flat(json.loads(line)) for line in lines if line.strip()]
        except (OSError, ValueError) as error:
            raise HpsearchError(
                f"{str(file.parent)!r} must hold a trial's JSON, but cannot be read ({error}): "
                "mend it or take it away"
            ) from error
        raised = file.with_name("error.txt")
        yield _Read(
            folder=file.parent,
            params={key: plain(value) for key, value in flat(config).items()},
            results=[row for row in rows if "training_iteration" in row],
            error=last_line(raised) if raised.exists() else None,
        )


def _place(folder: Path) -> tuple[int, str]:
    """``train_cba64_00001_2_lr=…`` is the second; what has no such number comes by its time."""
    counts = [part for part in folder.name.split("_") if part.isdigit() and len(part) < 5]
    return (int(counts[0]) if counts else 0, folder.name)


def _parameters(configs: Sequence[Params]) -> dict[str, Choice | Range]:
    names = dict.fromkeys(name for config in configs for name in config)
    seen = {n: [*dict.fromkeys(c[n] for c in configs if n in c)] for n in names}
    varied = {name: values for name, values in seen.items() if len(values) > 1}
    return {name: _seen(values) for name, values in varied.items()}


def _seen(values: Sequence[Any]) -> Choice | Range:
    """The narrowest parameter that has all these values."""
    if not all(map(is_number, values)):
        return Choice(choices=tuple(values))
    low, high = min(values), max(values)
    is_log = low > 0 and high / low >= LOG_RATIO
    is_int = all(isinstance(value, int) for value in values)
    kind = ("log_int" if is_log else "int") if is_int else ("log_uniform" if is_log else "uniform")
    return Range(kind=kind, low=low, high=high)


def _outcome(
    read: _Read, names: Mapping[str, str], metric: str, mode: Mode, longest: int
) -> Outcome:
    live = LiveTrial(id=0, mode=mode, max_t=longest)
    for row in read.results:
        live.report(row, row.get(metric), None)
    end = live.ended() if read.error is None else live.raised(read.error)
    return Outcome(
        params={names[n]: value for n, value in read.params.items() if n in names},
        value=end.value,
        state=end.state,
        curve={
            int(row["training_iteration"]): {
                "seconds": float(row.get("time_this_iter_s") or 0.0),
                **known_metrics(row, metric),
            }
            for row in read.results
        },
        best_epoch=end.best_epoch,
        failure_kind=end.failure_kind,
        failure_message=end.failure_message,
        seconds=end.seconds,
    )
