"""``Curve``: all that is stored of a trial's epochs, as arrays; ``Context``: what others reached.

Made by ``reading`` from the database; every rule of this package looks at these two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from workers.metrics import OBJECTIVES

Array = npt.NDArray[np.float64]

BEHIND = 2.0  # times the error of the stage's best trial: no matter of luck any more
LEAST_BEHIND = 0.02  # and by so much: 0.999 is not far behind 0.9996
NOTHING: Array = np.empty(0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """The N epochs of a trial, those that it inherited too.

    ``series[name]`` [N] is a metric of ``workers.metrics``, NaN where nothing is stored;
    ``layers_NL`` are the gradient norms of the L layers, first to last, or [N, 0]. ``settings`` are
    the fields of TrainConfig that the trial was given; ``objective`` is what ranks it, ``value`` if
    that is none of ours.
    """

    series: Mapping[str, Array]
    layers_NL: Array = field(default_factory=lambda: np.empty((0, 0)))
    settings: Mapping[str, Any] = field(default_factory=dict)
    objective: str = "val_accuracy"
    mode: Literal["max", "min"] = "max"
    diverged: bool = False
    # What :meth:`known` found: rules ask for the same few metrics again and again.
    _known: dict[str, Array] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.series["train_loss"])

    def whole(self, name: str, epochs: int = 1) -> Array | None:
        """The metric [N], or None unless it is finite in all of at least ``epochs`` epochs."""
        known = self.known(name)
        is_whole = len(known) == len(self.series.get(name, NOTHING))
        return known if is_whole and len(known) >= epochs else None

    def known(self, name: str) -> Array:
        """The epochs of a metric that are stored and finite."""
        known = self._known.get(name)
        if known is None:
            values = self.series.get(name, NOTHING)
            known = self._known[name] = values[np.isfinite(values)]
        return known

    def score(self, part: Literal["train", "val"]) -> Array | None:
        """Accuracy, or R² of a regression: 1 is perfect; [N], or None if it is not whole."""
        accuracy = self.whole(f"{part}_accuracy")
        return self.whole(f"{part}_r2") if accuracy is None else accuracy

    @property
    def value(self) -> float | None:
        """The best objective of all epochs, as it ranks the trial."""
        known = self.known(self.objective)
        if not len(known):
            return None
        return float(known.max() if self.mode == "max" else known.min())


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What a curve is compared with: trials of the same stage, which have the same epochs.

    ``best`` is the best value of the stage's complete trials, ``better_rate`` the highest learning
    rate of those that are better than this one; ``num_classes`` C of the data, None for a
    regression or where it was not noted.
    """

    best: float | None = None
    better_rate: float | None = None
    num_classes: int | None = None

    def is_behind(self, curve: Curve) -> bool:
        """Whether a trial of the same stage has less than half of this one's error.

        The error is 1 - value for scores that are 1 at best, and the value of a loss. Of another
        objective nobody knows how good it can be.
        """
        value = curve.value
        if self.best is None or value is None or curve.objective not in OBJECTIVES:
            return False
        mine, least = _error(value, curve.mode), _error(self.best, curve.mode)
        margin = LEAST_BEHIND if curve.mode == "max" else 0.0
        return mine >= BEHIND * least and mine - least > margin


def _error(value: float, mode: str) -> float:
    return 1.0 - value if mode == "max" else value
