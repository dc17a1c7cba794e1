"""``shares``: how many workers each of the searches that run side by side may have now.

A pure function that every server asks of the same database, so that all come to the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """A search: the most workers that it can use, and what each takes of the cluster (in GPUs, or
    in CPUs where there are none). One of a priority higher by 1 gets twice as much.
    """

    search_id: int
    priority: int
    most: int
    each: float = 1.0


def shares(demands: Sequence[Demand], capacity: float, turn: int) -> dict[int, int]:
    """Workers by search: fair as long as there is one for each, in turns when there is not.

    Worker by worker, the next goes to whom the least was given yet for its priority (max-min
    fairness; Bertsekas and Gallager 1992, 6.5.2). Where searches have equal claims, ``turn``, which
    counts up with time, decides who is first: so each has its time, within one priority.
    """
    if sum(demand.each for demand in demands) <= capacity:
        turn = 0  # nobody has to wait: workers stay where they are
    given = dict.fromkeys((demand.search_id for demand in demands), 0)
    places = {d.search_id: (n - turn) % len(demands) for n, d in enumerate(demands)}
    left = capacity

    def claim(demand: Demand) -> tuple[float, int, int]:
        so_far = given[demand.search_id] * demand.each / 2.0**demand.priority
        return so_far, -demand.priority, places[demand.search_id]

    while open_ := [d for d in demands if given[d.search_id] < d.most and d.each <= left]:
        next_one = min(open_, key=claim)
        given[next_one.search_id] += 1
        left -= next_one.each
    return given
