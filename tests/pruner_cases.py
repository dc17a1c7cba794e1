"""Pruners of every kind, curves of trials for them to judge, and what they decide."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from hpsearch.sampling.pruners import Curve, decide
from hpsearch.spec.search import Pruner

STUDY = "a search"
EPOCHS = 20


def pruner(name, wrapped=None, **options):
    return Pruner(name=name, options=options, wrapped=wrapped)


ALL = {
    "median": pruner("median", n_startup_trials=0),
    "percentile": pruner("percentile", percentile=25.0, n_startup_trials=0),
    "successive_halving": pruner("successive_halving", reduction_factor=3),
    "hyperband": pruner("hyperband", reduction_factor=2),
    "patient": pruner("patient", patience=1),
    "patient median": pruner("patient", pruner("median", n_startup_trials=0), patience=1),
    "patient hyperband": pruner("patient", pruner("hyperband"), patience=1),
    "threshold": pruner("threshold", lower=-1.0, upper=1.0, n_warmup_steps=2),
    "wilcoxon": pruner("wilcoxon", p_threshold=0.3),
}
every_pruner = pytest.mark.parametrize("one", ALL.values(), ids=ALL)
fast = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))

# Few different values, so that there are ties; all kinds of broken ones.
sound_values = st.integers(-4, 4).map(lambda n: n / 3)
broken_values = st.sampled_from([math.nan, math.inf, -math.inf])
any_values = st.one_of(sound_values, st.floats(), broken_values)
modes = st.sampled_from(["max", "min"])


@st.composite
def fields(draw, values=any_values, least=1, most=12, length=4, folds=5):
    """Curves of several trials, in an order of their own, with numbers of their own."""
    count = draw(st.integers(least, most))
    numbers = draw(st.lists(st.integers(0, 500), min_size=count, max_size=count, unique=True))
    return [
        Curve(
            number=number,
            values=tuple(draw(st.lists(values, min_size=length, max_size=length))),
            by_fold=tuple(draw(st.lists(values, min_size=folds, max_size=folds))),
        )
        for number in numbers
    ]


def numbers_of(curves):
    return frozenset(one.number for one in curves)


def decided(one, curves, mode="max", judged=None, rung=4):
    judged = numbers_of(curves) if judged is None else judged
    return decide(one, mode, rung, EPOCHS, curves, judged, STUDY)


def curves_of(*values, rung=4, **fold):
    return [
        Curve(number=i, values=(0.0,) * (rung - 1) + (v,), **fold) for i, v in enumerate(values)
    ]
