"""Branches for samplers to ask in, and samplers that have been told some generations."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from hpsearch.sampling.observations import Observation
from hpsearch.sampling.samplers import BranchSampler
from hpsearch.spec.space import Branch, Choice, Range

RATE = Range(kind="log_uniform", low=1e-5, high=1.0)
MIXED = Branch(
    key="optimizer=sgd",
    fixed={"optimizer": "sgd"},
    parameters={
        "learning_rate": RATE,
        "dropout": Range(kind="uniform", low=0.0, high=0.8),
        "hidden_units": Range(kind="log_int", low=16, high=512, base=2),
        "depth": Range(kind="int", low=1, high=4),
        "normalize": Choice(choices=(True, 1, "yes", (1, 2))),
    },
    trials=64,
)
BOWL = Branch(
    key="all",
    parameters={"x": Range(kind="uniform", low=-1.0, high=1.0), "rate": RATE},
    trials=40,
)


@st.composite
def ranges(draw):
    kind = draw(st.sampled_from(["log_uniform", "uniform", "int", "log_int", "power"]))
    if kind == "power":
        base = draw(st.integers(2, 10))
        low, width = draw(st.integers(0, 4)), draw(st.integers(0, 4))
        return Range(kind="log_int", low=base**low, high=base ** (low + width), base=base)
    if kind in ("int", "log_int"):
        low, width = draw(st.integers(1, 500)), draw(st.integers(0, 500))
        return Range(kind=kind, low=low, high=low + width)
    if kind == "uniform":
        low, width = draw(st.floats(-1e6, 1e6)), draw(st.floats(0, 1e6))
        return Range(kind=kind, low=low, high=low + width)
    low, factor = draw(st.floats(1e-12, 1e6)), draw(st.floats(1, 1e12))
    return Range(kind=kind, low=low, high=low * factor)


values = st.one_of(st.booleans(), st.integers(-5, 5), st.text(max_size=3), st.just((64, 32)))
choices = st.lists(values, min_size=1, max_size=4, unique_by=lambda v: (type(v), v)).map(
    lambda some: Choice(choices=tuple(some))
)


@st.composite
def branches(draw):
    parameters = draw(st.lists(st.one_of(ranges(), choices), max_size=4))
    return Branch(
        key="optimizer=adam",
        fixed={"optimizer": "adam"},
        parameters={f"p{index}": parameter for index, parameter in enumerate(parameters)},
        trials=8,
    )


def generation(asked, values, start=0, key=MIXED.key):
    return [
        Observation(branch=key, params=params, value=value, number=start + index)
        for index, (params, value) in enumerate(zip(asked, values, strict=True))
    ]


def score(params):
    """A bowl over MIXED whose best value is 0."""
    return -((math.log10(params["learning_rate"]) + 2) ** 2) - params["dropout"]


def lived(kind, generations=3, count=4, prior=(), seed=5):
    """A sampler that asked and was told, with the generations that it went through."""
    sampler, told = BranchSampler(kind, MIXED, seed=seed, mode="max", prior=prior), []
    for index in range(generations):
        asked = sampler.ask(count)
        one = generation(asked, [score(params) for params in asked], index * count)
        sampler.tell(one)
        told.append(one)
    return sampler, told
