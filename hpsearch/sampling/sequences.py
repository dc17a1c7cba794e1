"""The samplers that learn nothing: scrambled Sobol points and the grid.

Called by ``BranchSampler``; each trial is a function of its position in the branch alone.
"""

from __future__ import annotations

import math
from functools import cache
from threading import Thread

from hpsearch.sampling.encoding import from_unit, levels, merged, num_values
from hpsearch.sampling.keyed import keyed_generator
from hpsearch.spec.space import Branch, Choice, Params, Value


@cache
def _read_directions() -> None:
    """Have SciPy read its table in a thread, in which no Ctrl-C or SIGTERM is raised.

    One that is raised as it reads is swallowed there, and all points of this process are zeros.
    """
    from scipy.stats import qmc

    reading = Thread(target=lambda: qmc.Sobol(1))
    reading.start()
    reading.join()


def sobol_trials(branch: Branch, *, seed: int, start: int, count: int) -> list[Params]:
    """Points ``start`` to ``start + count`` of the branch's one scrambled Sobol sequence.

    Owen, "Scrambling Sobol' and Niederreiter-Xing points", J. Complexity 14 (1998); any 2**k
    points from a multiple of 2**k on put one into each of 2**k equal strata of every parameter.
    Optuna's QMCSampler draws the first trial at random and builds the engine anew for each, so
    SciPy's engine, on which it stands, is used directly.
    """
    from scipy.stats import qmc

    if not branch.parameters:
        return [merged(branch, {})] * count
    _read_directions()
    engine = qmc.Sobol(
        len(branch.parameters), scramble=True, rng=keyed_generator(seed, branch.key, "sobol")
    )
    if start:
        engine.fast_forward(start)
    # Drawn singly: SciPy warns of a block that is not a power of two, which ours need not be.
    points = [engine.random(1)[0] for _ in range(count)]
    return [
        merged(
            branch,
            {
                name: from_unit(parameter, float(place))
                for (name, parameter), place in zip(branch.parameters.items(), point, strict=True)
            },
        )
        for point in points
    ]


def grid_trials(branch: Branch, *, seed: int, start: int, count: int) -> list[Params]:
    """Cells ``start`` to ``start + count`` of the branch's grid, in a keyed random order.

    The grid is made for ``branch.trials`` trials; past its last cell there are no more trials.
    """
    axes = grid_axes(branch)
    shape = [len(values) for values in axes.values()]
    order = keyed_generator(seed, branch.key, "grid").permutation(math.prod(shape))
    return [_cell(branch, axes, index) for index in order[start : start + count]]


def _cell(branch: Branch, axes: dict[str, list[Value]], index: int) -> Params:
    """Cell ``index`` of the grid, the last axis running fastest."""
    values: Params = {}
    for name, levels_of_axis in reversed(axes.items()):
        index, place = divmod(int(index), len(levels_of_axis))
        values[name] = levels_of_axis[place]
    return merged(branch, {name: values[name] for name in axes})


def grid_axes(branch: Branch) -> dict[str, list[Value]]:
    """The values of each parameter on the grid: every choice, and k levels of every range.

    k is the floor of the r-th root of the trials left for r ranges, at least 2; whole ranges with
    fewer values than that are taken whole, and leave more trials to the others.
    """
    axes: dict[str, list[Value]] = {}
    left = max(1, branch.trials)
    for name, parameter in branch.parameters.items():
        if isinstance(parameter, Choice):
            axes[name] = list(parameter.choices)
            left //= len(parameter.choices)
    ranges = [(name, p) for name, p in branch.parameters.items() if not isinstance(p, Choice)]
    ranges.sort(key=lambda item: num_values(item[1]) or math.inf)
    for index, (name, parameter) in enumerate(ranges):
        axes[name] = levels(parameter, max(2, _root(left, len(ranges) - index)))
        left //= len(axes[name])
    return {name: axes[name] for name in branch.parameters}


def _root(number: int, degree: int) -> int:
    """The floor of the ``degree``-th root of ``number``, exact where the root is whole."""
    nearest = round(number ** (1 / degree)) if number > 0 else 0
    return nearest if nearest**degree <= number else nearest - 1
