"""Values that no trial could be trained with: found as by trying every combination, and told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refused_specs import refused

from hpsearch.spec import Problem, load, load_data
from hpsearch.spec.combinations import refused_values
from hpsearch.spec.problem import Problems
from hpsearch.spec.search import Data, Search, Stage
from hpsearch.spec.space import Choice, Params, is_active
from hpsearch.spec.space_section import read_space
from workers.config import TrainConfig
from workers.config.combination import RULES, ConfigError, DataShape, Rule, check_combination

DATA = {"source": "digits", "limit": 100, "validation": 20}
IMAGES = DataShape(
    num_features=64, image=(1, 8, 8), num_outputs=10, is_regression=False, num_train=80
)
NUMBERS = DataShape(num_features=13, image=None, num_outputs=1, is_regression=True, num_train=80)
CHOICES: dict[str, list[Any]] = {
    "model": ["mlp", "cnn"],
    "kernel_size": [3, 4, 9],
    "channels": [[4], [4, 4, 4, 4]],
    "normalization": ["none", "batch", "group", "instance"],
    "norm_groups": [2, 3, 5],
    "hidden_units": [6, 7, [4, 6]],
    "depth": [1, 2],
    "frozen_layers": [0, 2, 9],
    "lr_multipliers": [[], [1], [1, 0.5]],
    "batch_size": [1, 8],
    "optimizer": ["sgd", "gradient_descent"],
    "lr_schedule": ["constant", "grow_batch"],
    "lr_decay": [0, 0.5],
    "loss": [None, "mse", "hinge"],
    "flip": [0, 0.5],
}


STAGES = [{"name": "only", "trials": 1000, "epochs": 1}]


def a_search(space: dict[str, Any], **train: Any) -> Search:
    return load({"name": "try", "data": DATA, "train": train, "space": space, "stages": STAGES})


def any_search(space: dict[str, Any], **train: Any) -> Search:
    """One that may search over what no trial reads, which ``load`` would refuse."""
    problems = Problems(file="try")
    read = read_space(space, train.keys(), problems)
    problems.raise_if_any()
    return Search(
        name="try", data=Data(**DATA), train=train, space=read, stages=(Stage(name="only"),)
    )


def problems_of(space: dict[str, Any], **train: Any) -> tuple[Problem, ...]:
    return refused(load_data, a_search(space, **train))


# Against every combination


@st.composite
def searches(draw: st.DrawFn) -> Search:
    """A space of up to five choices, some of them under conditions."""
    names = draw(st.lists(st.sampled_from(list(CHOICES)), min_size=1, max_size=5, unique=True))
    space: dict[str, Any] = {}
    for name in names:
        values = draw(st.lists(st.sampled_from(CHOICES[name]), min_size=1, unique_by=str))
        space[name] = {"choice": values}
        parent = draw(st.sampled_from([None, *(other for other in space if other != name)]))
        if parent is not None:
            space[name]["when"] = {parent: [draw(st.sampled_from(space[parent]["choice"]))]}
    fixed = draw(st.sampled_from([{}, {"model": "cnn"}, {"normalization": "group"}]))
    return any_search(space, **{key: value for key, value in fixed.items() if key not in space})


def every_combination(search: Search, decided: Params, names: list[str]) -> Iterator[Params]:
    """A plain loop over all trials; ``names`` has parents before what depends on them."""
    if not names:
        yield decided
        return
    parameter = search.space.parameters[names[0]]
    if not is_active(parameter, decided):
        yield from every_combination(search, decided, names[1:])
        return
    assert isinstance(parameter, Choice)
    for value in parameter.choices:
        yield from every_combination(search, {**decided, names[0]: value}, names[1:])


def fails(search: Search, params: Params, shape: DataShape, *only: Rule) -> bool:
    try:
        check_combination(TrainConfig.of({**search.train, **params}), shape, only or None)
    except ConfigError:
        return True
    return False


@settings(max_examples=300, deadline=None)
@given(search=searches(), shape=st.sampled_from([IMAGES, NUMBERS]))
def test_what_is_refused_is_what_fails_in_every_combination(
    search: Search, shape: DataShape
) -> None:
    parameters = search.space.parameters
    tried = [
        (params, fails(search, params, shape))
        for params in every_combination(search, {}, list(parameters))
    ]
    told = list(refused_values(search, shape))
    if all(failed for _, failed in tried):
        broken = [
            rule for rule in RULES if all(fails(search, params, shape, rule) for params, _ in tried)
        ]
        assert len(told) == max(1, len(broken))
        return
    refused = dict(told)
    hopeless = {
        f"space.{name}.choice[{i}]"
        for name, parameter in parameters.items()
        for i, value in enumerate(parameter.choices)
        if all(failed for params, failed in tried if name in params and params[name] == value)
    }
    assert refused.keys() <= hopeless
    assert bool(refused) == bool(hopeless)


# What is told


def test_a_kernel_larger_than_every_image_is_told_by_its_key() -> None:
    space = {"kernel_size": {"choice": [3, 9]}}
    (problem,) = problems_of(space, model="cnn")
    assert problem.key == "space.kernel_size.choice[1]"
    assert problem.rule.startswith("must be at most 8, the side of the images of block 1, but got")
    (fixed,) = problems_of({"learning_rate": {"uniform": [0.1, 1]}}, model="cnn", kernel_size=9)
    assert (fixed.key, fixed.file) == ("train.kernel_size", "try")


def test_a_group_count_that_never_divides_is_told_and_one_that_may_is_left_to_its_trials() -> None:
    space = {"norm_groups": {"choice": [2, 3, 7]}, "hidden_units": {"choice": [[8], [9, 6]]}}
    (problem,) = problems_of(space, normalization="group")
    assert problem.key == "space.norm_groups.choice[2]"
    assert "must divide the units of every normalized layer, but 7 does not divide 8" in str(
        problem
    )


def test_a_whole_number_between_the_ends_of_a_range_may_save_a_value() -> None:
    space = {"hidden_units": {"int": [6, 12]}, "norm_groups": {"choice": [5, 6]}}
    load_data(a_search(space, normalization="group"))  # 10 units are 5 groups
    space["norm_groups"] = {"choice": [6, 13]}
    (problem,) = problems_of(space, normalization="group")
    assert problem.key == "space.norm_groups.choice[1]"


def test_fixed_fields_that_break_several_rules_are_told_at_once() -> None:
    space = {"learning_rate": {"uniform": [0.1, 1]}}
    both = problems_of(space, model="cnn", kernel_size=9, loss="mse", batch_size=100)
    assert [problem.key for problem in both] == [
        *("train.batch_size", "train.kernel_size", "train.loss"),
    ]


def test_an_end_of_a_range_is_told_by_its_key() -> None:
    space = {"frozen_layers": {"int": [0, 2]}, "depth": {"int": [1, 2]}}
    load_data(a_search(space, hidden_units=8))  # two of three layers may be frozen
    (problem,) = problems_of({"frozen_layers": {"int": [0, 2]}})
    assert problem.key == "space.frozen_layers.int[1]"


def test_a_value_is_held_only_against_what_goes_with_it() -> None:
    space = {
        "model": {"choice": ["mlp", "cnn"]},
        "kernel_size": {"choice": [3, 5, 9], "when": {"model": "cnn"}},
        "lr_multipliers": {"choice": [[1, 1], [1, 1, 1]]},
    }
    (problem,) = problems_of(space, channels=4)
    assert problem.key == "space.kernel_size.choice[2]"


def test_what_fails_with_another_field_says_which() -> None:
    space = {"depth": {"choice": [1, 3]}}
    (problem,) = problems_of(space, hidden_units=50, frozen_layers=0, lr_multipliers=[1, 1])
    assert problem.key == "space.depth.choice[1]"
    assert problem.rule == (
        "leaves no trial that can be trained: lr_multipliers must have one number for each of the "
        "4 layers, but has 2"
    )


def test_a_list_of_widths_is_not_repeated() -> None:
    space = {"learning_rate": {"uniform": [0.1, 1]}}
    (fixed,) = problems_of(space, hidden_units=[9, 8], depth=2)
    assert fixed.key == "train.depth"
    assert fixed.rule == (
        "repeats one width, but got 2 with the list [9, 8] for hidden_units; give one width, or "
        "leave depth out"
    )
    load_data(a_search(space, hidden_units=9, depth=2))
    load_data(a_search(space, hidden_units=[9, 8], depth=2, model="logistic_regression"))
    load_data(a_search({"hidden_units": {"choice": [[9, 8], 9]}, "depth": {"int": [1, 3]}}))
    (list_alone,) = problems_of({"hidden_units": {"choice": [[9, 8], 9]}}, depth=2)
    assert list_alone.key == "space.hidden_units.choice[0]"


def test_the_default_width_is_one_that_depth_repeats() -> None:
    assert TrainConfig(depth=3).layer_widths() == (50, 50, 50)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_weights_that_are_normalized_have_no_largest_norm(model: str) -> None:
    space, fixed = {"max_norm": {"choice": [None, 2.5]}}, {"model": model}
    (problem,) = problems_of(space, normalization="weight", **fixed)
    assert problem.key == "space.max_norm.choice[1]"
    assert problem.rule.startswith("would limit v of the weights g v / |v|")
    assert "but got 2.5; leave it out" in problem.rule
    load_data(a_search(space, normalization="batch", **fixed))
    load_data(a_search(space, normalization="weight", model="logistic_regression"))


def test_a_batch_that_cannot_grow_is_told_by_its_decay_under_any_normalization() -> None:
    fixed = {"lr_schedule": "grow_batch", "lr_decay": 0.0, "normalization": "batch"}
    (problem,) = problems_of({"learning_rate": {"uniform": [0.1, 1]}}, **fixed)
    assert problem.key == "train.lr_decay"


def test_all_fields_at_once_take_few_combinations_to_refuse() -> None:
    space = {name: {"choice": values} for name, values in CHOICES.items()}
    refused = {key for key, _ in refused_values(a_search(space), IMAGES)}
    anyway = {"space.lr_multipliers.choice[1]", "space.frozen_layers.choice[2]"}
    assert refused == anyway | {"space.loss.choice[1]"}, "9 is no kernel, but an mlp has none"
    refused = {key for key, _ in refused_values(a_search(space), NUMBERS)}
    assert refused == anyway | {
        "space.model.choice[1]",
        "space.normalization.choice[3]",
        "space.loss.choice[2]",
        "space.flip.choice[1]",
    }
