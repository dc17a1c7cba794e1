"""Where in the space trials fail: past an edge of one parameter, or at one of its choices.

Called by ``failing``, for what is told, and by ``spending``, for what was known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hpsearch.analysis.diagnosis.of_search.picture import Picture
from hpsearch.sampling.ranges import Side, shown
from hpsearch.sampling.statistics import excess_p
from hpsearch.spec.space import Choice, Definition, Params, Value, active_definitions
from hpsearch.storage.records import FINISHED, TrialRecord

LEAST = 5  # trials past an edge: fewer are no region
MOSTLY = 0.8  # of the trials past it fail
SELDOM = 0.2  # of the others fail
SURE_P = 1e-3  # every place of every parameter is tried as an edge: chance would find some

_SIDES: tuple[Side, Side] = ("upper", "lower")


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """One end of a range, from ``start`` on outwards, or one choice (no ``side``).

    ``past`` trials lie there, of which ``failed`` fail; ``inner`` is the next trial's value inside.
    """

    start: Value
    side: Side | None = None
    inner: float | None = None
    past: int
    failed: int

    def holds(self, value: Value) -> bool:
        """Whether a value of the parameter lies there."""
        if value is None or self.side is None:
            return bool(value == self.start)
        return bool(value >= self.start if self.side == "upper" else value <= self.start)


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """A region of one parameter in which trials mostly fail, and seldom elsewhere.

    ``failed_inside`` of the ``inside`` other trials fail; ``p`` is the chance of so many in the
    region if the parameter were no matter (Fisher's exact test).
    """

    name: str
    definition: Definition
    region: Region
    inside: int
    failed_inside: int
    p: float

    @property
    def contrast(self) -> float:
        """The share that fails there, less that elsewhere (Youden 1950)."""
        return self.region.failed / self.region.past - self.failed_inside / self.inside

    def holds(self, params: Params) -> bool:
        """Whether a trial with these params lies past the edge."""
        return self.name in params and self.region.holds(params[self.name])

    @property
    def where(self) -> str:
        """As: learning_rate of 3.2 and above."""
        if self.region.side is None:
            return f"{self.name} {self.region.start}"
        way = "above" if self.region.side == "upper" else "below"
        return f"{self.name} of {shown(self.region.start)} and {way}"

    @property
    def told(self) -> str:
        """Where they lie, in numbers."""
        return (
            f"{self.region.failed} of the {self.region.past} trials at {self.where}, but "
            f"{self.failed_inside} of the {self.inside} others"
        )

    @property
    def advice(self) -> str:
        """What to write in the spec."""
        if isinstance(self.definition, Choice):
            left = [one for one in self.definition.choices if one != self.region.start]
            return f"leave it out of the choices of space.{self.name}" if left else "fix another"
        end = self.region.side
        inner = shown(self.region.inner or 0.0)
        return f"set the {end} end of space.{self.name} to {inner}"

    @property
    def evidence(self) -> dict[str, Any]:
        return {
            **{"parameter": self.name, "edge": self.region.start, "side": self.region.side},
            **{"past": self.region.past, "failed_past": self.region.failed},
            **{"inside": self.inside, "failed_inside": self.failed_inside, "p": self.p},
        }


def clearest_edge(
    picture: Picture, branch: str, trials: Sequence[TrialRecord], kind: str
) -> Edge | None:
    """The least likely edge past which the trials of a branch mostly fail as ``kind``, if any.

    Trials that failed in another way say nothing of it.
    """
    judged = [t for t in trials if t.state in FINISHED and t.failure_kind in (None, kind)]
    fixed = next((one.fixed for one in picture.spec.space.branches() if one.key == branch), {})
    found = [
        edge
        for name, parameter in picture.spec.space.parameters.items()
        if name not in fixed
        for definition in active_definitions(parameter, fixed)
        for edge in _edges(name, definition, [t for t in judged if name in t.params])
    ]
    sure = [edge for edge in found if edge.p <= SURE_P]
    return min(sure, key=lambda edge: (edge.p, -edge.contrast), default=None)


def _edges(name: str, definition: Definition, trials: Sequence[TrialRecord]) -> Iterator[Edge]:
    """The edge of each side, or of each choice, that parts failures from others best."""
    if isinstance(definition, Choice):
        all_regions = [[_of_choice(name, value, trials)] for value in definition.choices]
    else:
        all_regions = [[*_of_side(name, side, trials)] for side in _SIDES]
    total, failed = len(trials), sum(trial.state == "failed" for trial in trials)
    for regions in all_regions:
        edges = [edge for one in regions for edge in _edge(name, definition, one, total, failed)]
        if edges:
            yield max(edges, key=lambda edge: edge.contrast)


def _of_choice(name: str, value: Value, trials: Sequence[TrialRecord]) -> Region:
    there = [trial for trial in trials if trial.params[name] == value]
    return Region(start=value, past=len(there), failed=sum(t.state == "failed" for t in there))


def _of_side(name: str, side: Side, trials: Sequence[TrialRecord]) -> Iterator[Region]:
    """The region that begins at each failure which has another value inside of it."""
    outward = sorted(trials, key=lambda trial: trial.params[name], reverse=side == "upper")
    failed = 0
    for past, (trial, inner) in enumerate(pairwise(outward), 1):
        failed += trial.state == "failed"
        start, end = trial.params[name], inner.params[name]
        if trial.state == "failed" and start != end:
            yield Region(start=start, side=side, inner=float(end), past=past, failed=failed)


def _edge(
    name: str, definition: Definition, region: Region, total: int, failed: int
) -> Iterator[Edge]:
    """The region as an edge, if trials mostly fail there and seldom elsewhere."""
    inside, failed_inside = total - region.past, failed - region.failed
    if region.past < LEAST or region.failed < MOSTLY * region.past or not inside:
        return
    if failed_inside <= SELDOM * inside:
        yield Edge(
            name=name,
            definition=definition,
            region=region,
            inside=inside,
            failed_inside=failed_inside,
            p=excess_p(total, failed, region.past, region.failed),
        )
