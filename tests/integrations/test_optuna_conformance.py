"""Optuna's own published tests of samplers, over ours in each of its stages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from hpsearch.integrations.optuna import CoarseToFineSampler

optuna.logging.set_verbosity(optuna.logging.WARNING)


# With stages of one trial every ask but the first is from ranges that were found.
@pytest.mark.parametrize("stages", [(40, 30, 30), (5, 3, 2), (1, 1, 1)], ids=str)
class TestCoarseToFineSampler(
    BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase
):
    @pytest.fixture
    def sampler(self, stages: tuple[int, ...]) -> Callable[[], BaseSampler]:
        return partial(CoarseToFineSampler, stages, seed=0)
