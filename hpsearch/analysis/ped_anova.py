"""PED-ANOVA along one parameter, with Optuna's numbers, of many sets of best trials at once.

Called by ``importance``, which holds the best against a thousand shuffles of all: Optuna's own
evaluator builds a study of trials for each. Sources: Watanabe, Bansal and Hutter, "PED-ANOVA:
Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces", IJCAI 2023,
arXiv:2304.10255; of parameters under conditions arXiv:2601.20800, theorem 4.2. Shape suffixes: N
trials, B sets of best ones, G places on a grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from hpsearch.sampling.encoding import encode, exponents
from hpsearch.spec.space import Choice, Definition, Range, Value

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NUM_PLACES = 50  # on the grid of a range; this and what follows are Optuna's
_TINY = 1e-12  # keeps a density above 0
_LEAST_WIDTH = 0.5 / 1.64  # of a kernel, in steps of the grid: 90 % of it within one step


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The places that the values of one definition of a parameter are counted at."""

    definition: Definition

    @property
    def size(self) -> int:
        """G: the choices, or the steps of a range, of a whole range no more than it has values."""
        if isinstance(self.definition, Choice):
            return len(self.definition.choices)
        low, high = _ends(self.definition)
        if low == high:
            return 1
        if not self.definition.is_int:
            return NUM_PLACES
        if _is_log(self.definition):
            return min(math.ceil(math.log(high - low + 1) / math.log(2)) + 1, NUM_PLACES)
        return min(round(high - low) + 1, NUM_PLACES)

    def places(self, values: Sequence[Value]) -> Ints:
        """The place of each value, from 0."""
        if self.size == 1:
            return np.zeros(len(values), dtype=np.int64)
        encoded = np.array([encode(self.definition, value) for value in values])
        if isinstance(self.definition, Choice):
            return encoded.astype(np.int64)
        low, high = _ends(self.definition)
        if _is_log(self.definition):
            low, high, encoded = math.log(low), math.log(high), np.log(encoded)
        step = (high - low) / (self.size - 1)
        # A value between two places is at the lower one, as Optuna has it.
        nearest = np.ceil((encoded - low) / step - 0.5).astype(np.int64)
        return np.clip(nearest, 0, self.size - 1)

    def densities(self, counts_BG: Ints) -> Floats:
        """The Parzen estimate at each place from counts of trials, and one trial for a prior."""
        if isinstance(self.definition, Choice):
            return _of_choices(counts_BG)
        return _of_range(counts_BG)


@dataclass(frozen=True, kw_only=True, slots=True)
class Along:
    """All trials along one parameter: by ``cells_N`` the place of each, over all its ``grids``.

    Those of the second grid are counted on from those of the first, and so on; a trial that does
    not have the parameter is in the cell after the last.
    """

    grids: tuple[Grid, ...]
    cells_N: Ints

    def counts(self, those_N: Bools | None = None) -> Ints:
        """How many of the trials, or of ``those_N``, are in each cell; shape (G,)."""
        cells = self.cells_N if those_N is None else self.cells_N[those_N]
        return np.bincount(cells, minlength=sum(grid.size for grid in self.grids) + 1)

    def shuffled(self, best_G: Ints, count: int, generator: np.random.Generator) -> Ints:
        """The counts of the best had the values been shuffled among the trials; shape (B, G).

        That is to draw as many trials as are best without replacement. Under each definition by
        itself: whether its condition is met among the best is not what its values did.
        """
        all_G, shuffled_BG = self.counts(), np.tile(best_G, (count, 1))
        for _, part in self._parts():
            drawn, size = all_G[part], int(best_G[part].sum())
            shuffled_BG[:, part] = generator.multivariate_hypergeometric(drawn, size, size=count)
        return shuffled_BG

    def divergences(self, best_BG: Ints) -> Floats:
        """Of each set of best trials, counts by cell, how far it is from all trials; shape (B,).

        Pearson's divergence, which is Optuna's importance but for a factor that is the same for
        every parameter; of several definitions the sum, weighed by how many trials have each.
        """
        found_B, all_G = np.zeros(len(best_BG)), self.counts()
        for grid, part in self._parts():
            having = int(all_G[part].sum())
            if having == 0:
                continue
            best_B = best_BG[:, part].sum(axis=1) / best_BG.sum(axis=1)
            far_B = _pearson(grid.densities(best_BG[:, part]), grid.densities(all_G[None, part]))
            found_B += best_B**2 / (having / len(self.cells_N)) * far_B
        return found_B

    def _parts(self) -> Iterator[tuple[Grid, slice]]:
        first = 0
        for grid in self.grids:
            yield grid, slice(first, first + grid.size)
            first += grid.size


def _pearson(of_best_BG: Floats, of_all_1G: Floats) -> Floats:
    best_BG, all_1G = of_best_BG + _TINY, of_all_1G + _TINY
    return np.asarray(((best_BG / all_1G - 1) ** 2 * all_1G).sum(axis=1))


def _of_choices(counts_BG: Ints) -> Floats:
    """Of k kernels, the prior's too, that of a choice is as 1 + 1 / k on it and 1 / k on others."""
    size = counts_BG.shape[1]
    kernels_B1 = (counts_BG > 0).sum(axis=1, keepdims=True) + 1
    total_B1 = counts_BG.sum(axis=1, keepdims=True)
    seen_BG = (counts_BG + total_B1 / kernels_B1) / (1 + size / kernels_B1)
    return np.asarray((seen_BG + 1 / size) / (total_B1 + 1))


def _of_range(counts_BG: Ints) -> Floats:
    """Normal kernels cut off at the grid's ends, of Scott's width; the prior is as wide as it."""
    size = counts_BG.shape[1]
    kernels_BG = _kernels(_widths(counts_BG), size)
    mass_BG = counts_BG / _within(kernels_BG, size)
    apart_GG = np.subtract.outer(np.arange(size), np.arange(size))  # x - g, from 1 - G to G - 1
    at_BGG = np.diff(kernels_BG, axis=1)[:, apart_GG + size - 1]  # of the kernel of g, at x
    seen_BG = np.einsum("bxg,bg->bx", at_BGG, mass_BG)
    prior_G = np.diff(ndtr((np.arange(size + 1) - size / 2) / size))
    return np.asarray((seen_BG + prior_G / prior_G.sum()) / (counts_BG.sum(1, keepdims=True) + 1))


def _kernels(widths_B: Floats, size: int) -> Floats:
    """The normal law of each width up to every edge between places, from -size to size, about 0."""
    edges = np.arange(-size, size) + 0.5
    return np.asarray(ndtr(edges / widths_B[:, None]))


def _within(kernels_BG: Floats, size: int) -> Floats:
    """How much of the kernel of each place lies on the grid."""
    place = np.arange(size)
    return np.asarray(kernels_BG[:, 2 * size - 1 - place] - kernels_BG[:, size - 1 - place])


def _widths(counts_BG: Ints) -> Floats:
    """In steps of the grid, by Scott's rule (Multivariate Density Estimation, 1992); (B,)."""
    places = np.arange(counts_BG.shape[1])
    total_B = np.maximum(1, counts_BG.sum(axis=1))
    mean_B = counts_BG @ places / total_B
    squares_B = (counts_BG * (places - mean_B[:, None]) ** 2).sum(axis=1)
    deviation_B = np.sqrt(squares_B / np.maximum(1, total_B - 1))
    up_to_BG = counts_BG.cumsum(axis=1)
    first_B = np.argmax(up_to_BG >= np.maximum(1, total_B // 4)[:, None], axis=1)
    third_B = np.argmax(up_to_BG > (total_B * 3 // 4)[:, None], axis=1)
    spread_B = np.minimum((third_B - first_B) / 1.34, deviation_B)
    return np.asarray(np.maximum(1.059 * spread_B * total_B**-0.2, _LEAST_WIDTH))


def _ends(definition: Range) -> tuple[float, float]:
    """Of what :func:`encode` gives: exponents of a range with a base."""
    return (
        exponents(definition) if definition.base is not None else (definition.low, definition.high)
    )


def _is_log(definition: Range) -> bool:
    return definition.is_log and definition.base is None
