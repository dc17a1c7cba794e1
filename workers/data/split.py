"""The keyed, stratified choice of rows: which belong to validation or a fold, which stay at all.

Called by ``workers.data.parts``. A choice depends on the labels and the key alone: no global
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
    grouped = _grouped(y, key)
    counts = np.bincount(y, minlength=len(taken))
    first = np.repeat(np.cumsum(counts) - counts, counts)
    rank_in_class = np.arange(len(y)) - first
    return np.sort(grouped[rank_in_class < taken[y[grouped]]]).astype(np.int64)


def deal(y: Int64Array, num_folds: int, key: tuple[int, ...]) -> Int64Array:
    """Row numbers [k, n], ascending: k disjoint folds of n = N // k rows each of ``y`` [N].

    A class with c of the N rows gives each fold n * c / N of them, rounded up or down: as many rows
    of it as all folds need are chosen, and dealt in turn, like cards sorted by class.
    """
    num_rows, counts = len(y) // num_folds, np.bincount(y).astype(np.int64)
    taken = allocate(counts, num_folds * num_rows, counts)
    chosen = choose(y, taken, (*key, 1))
    dealt = chosen[_grouped(y[chosen], (*key, 2))]
    return np.sort(dealt.reshape(num_rows, num_folds).T, axis=1)


def _grouped(y: Int64Array, key: tuple[int, ...]) -> Int64Array:
    """All row numbers of ``y`` [N], class after class, shuffled within each."""
    order = np.random.default_rng(np.random.SeedSequence(key)).permutation(len(y))
    return order[np.argsort(y[order], kind="stable")].astype(np.int64)
