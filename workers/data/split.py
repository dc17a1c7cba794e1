"""The keyed, stratified choice of rows: which belong to validation, which survive ``limit``.

Called by ``workers.data.loading``. A choice depends on the labels and the key alone: no global
generator, no order of a dict, no platform.
"""

from __future__ import annotations

import numpy as np

from workers.data.examples import Int64Array


def allocate(counts: Int64Array, total: int, room: Int64Array) -> Int64Array:
    """How many of ``total`` rows each class gives, in proportion to ``counts`` [C].

    The method of largest remainders (Hamilton), in integers so that no platform rounds otherwise;
    equal remainders go to the lower class. No class gives more than ``room`` [C]; what a full one
    cannot give, the others give. ``total <= room.sum()`` must hold.
    """
    num_rows = int(counts.sum())
    taken: Int64Array = np.minimum(counts * total // num_rows, room)
    while missing := total - int(taken.sum()):
        deficit = counts * total - taken * num_rows
        order = np.argsort(-deficit, kind="stable")
        taken[order[taken[order] < room[order]][:missing]] += 1
    return taken


def choose(y: Int64Array, taken: Int64Array, key: tuple[int, ...]) -> Int64Array:
    """Row numbers, ascending: ``taken[c]`` random rows of each class c of ``y`` [N]."""
    order = np.random.default_rng(np.random.SeedSequence(key)).permutation(len(y))
    grouped = order[np.argsort(y[order], kind="stable")]
    counts = np.bincount(y, minlength=len(taken))
    first = np.repeat(np.cumsum(counts) - counts, counts)
    rank_in_class = np.arange(len(y)) - first
    return np.sort(grouped[rank_in_class < taken[y[grouped]]]).astype(np.int64)
