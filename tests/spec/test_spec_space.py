"""Laws of spaces: they survive JSON, and their branches partition them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hpsearch.spec import SpecError, load
from hpsearch.spec.data_section import DATA
from hpsearch.spec.loading import RESOURCES, TOP
from hpsearch.spec.objective_section import REPORTED as OBJECTIVE
from hpsearch.spec.parameters import PARAMETER_KINDS
from hpsearch.spec.problem import Problems
from hpsearch.spec.search import Search
from hpsearch.spec.space import Choice, Space, is_active
from hpsearch.spec.space_section import read_space
from hpsearch.spec.stages_section import CONFIRM_KEYS, SEARCH_KEYS

RANGES: dict[str, dict[str, Any]] = {
    "learning_rate": {"log_uniform": [1e-5, 1]},
    "weight_decay": {"uniform": [0, 0.5]},
    "dropout": {"uniform": [0, 0.9]},
    "lr_step_size": {"int": [1, 20]},
    "batch_size": {"log_int": [16, 256], "base": 2},
    "depth": {"log_int": [1, 5]},
}
CHOICES: dict[str, list[Any]] = {
    "optimizer": ["sgd", "momentum", "adam"],
    "lr_schedule": ["constant", "step"],
    "activation": ["relu", "tanh"],
    "hidden_units": [50, [50, 20], [100]],
}
MIXED: dict[str, list[Any]] = {"momentum": [0.5, 0.9], "l1": [0, 1e-3]}


@st.composite
def sections(draw: st.DrawFn) -> dict[str, Any]:
    """A legal ``space:`` section, but that a condition may exclude another."""
    names = draw(st.lists(st.sampled_from([*RANGES, *CHOICES, *MIXED]), min_size=1, unique=True))
    section: dict[str, Any] = {}
    for name in names:
        definition = dict(RANGES.get(name) or {"choice": {**CHOICES, **MIXED}[name]})
        parents = [other for other in section if "choice" in section[other]]
        when = (
            {
                parent: draw(st.lists(st.sampled_from(section[parent]["choice"]), min_size=1))
                for parent in draw(st.lists(st.sampled_from(parents), max_size=2, unique=True))
            }
            if parents
            else {}
        )
        section[name] = {**definition, "when": when} if when else definition
    return dict(draw(st.permutations(list(section.items()))))


def read(section: dict[str, Any]) -> Space | None:
    problems = Problems(file="f")
    space = read_space(section, (), problems)
    assert all("can never hold" in problem.rule for problem in problems.found)
    return space


@given(section=sections())
def test_a_space_survives_json_exactly(section: dict[str, Any]) -> None:
    space = read(section)
    if space is not None:
        back = Space.model_validate(json.loads(json.dumps(space.model_dump(mode="json"))))
        assert back == space
        assert list(back.parameters) == list(section)
        assert back.branches() == space.branches()


@given(section=sections())
def test_branches_hold_exactly_what_is_active_under_them(section: dict[str, Any]) -> None:
    space = read(section)
    if space is None:
        return
    for branch in space.branches():
        for name, parameter in space.parameters.items():
            assert (name in branch.fixed or name in branch.parameters) == is_active(
                parameter, branch.fixed
            )
        assert not set(branch.fixed) & set(branch.parameters)
        assert set(branch.fixed) <= set(space.structural())


@given(section=sections())
def test_branches_have_names_of_their_own_and_leave_no_assignment_out(
    section: dict[str, Any],
) -> None:
    space = read(section)
    if space is None:
        return
    branches = space.branches()
    assert len({branch.key for branch in branches}) == len(branches)
    for name in space.structural():
        parameter = space.parameters[name]
        assert isinstance(parameter, Choice)
        seen = {branch.fixed[name] for branch in branches if name in branch.fixed}
        assert seen == set(parameter.choices)


def test_a_nested_condition_is_active_only_where_its_parent_is() -> None:
    section = {
        "lr_step_size": {"int": [1, 9], "when": {"lr_schedule": "step"}},
        "lr_schedule": {"choice": ["constant", "step"], "when": {"optimizer": ["sgd"]}},
        "optimizer": {"choice": ["sgd", "adam"]},
    }
    space = read(section)
    assert space is not None
    assert {branch.key: set(branch.parameters) for branch in space.branches()} == {
        "optimizer=sgd,lr_schedule=constant": set(),
        "optimizer=sgd,lr_schedule=step": {"lr_step_size"},
        "optimizer=adam": set(),
    }


def test_a_choice_on_which_nothing_depends_parts_no_branches() -> None:
    space = read({"batch_size": {"choice": [32, 64]}, "learning_rate": {"uniform": [0.1, 1]}})
    assert space is not None
    (branch,) = space.branches()
    assert (branch.key, list(branch.parameters)) == ("all", ["batch_size", "learning_rate"])


KEYS = (
    st.sampled_from(
        [*TOP, *OBJECTIVE, *DATA, *RESOURCES, *SEARCH_KEYS, *CONFIRM_KEYS, *PARAMETER_KINDS]
    )
    | st.sampled_from(["learning_rate", "optimizer", "hidden_units", "base", "when", "value"])
    | st.text(max_size=4)
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.sampled_from(["auto", "digits", "adam", "random", "gp", "confirm", "coarse", "val_loss"])
    | st.text(max_size=4)
    | st.binary(max_size=2)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | SCALARS, inner, max_size=4),
    max_leaves=12,
)
LEGAL: dict[str, Any] = {
    "name": "try",
    "data": {"source": "digits"},
    "train": {"epochs": 2},
    "space": {"learning_rate": {"log_uniform": [1e-4, 1]}, "optimizer": {"choice": ["sgd"]}},
    "stages": [{"name": "coarse", "trials": 20}, {"name": "confirm", "top": 1}],
    "budget": None,
}


def load_or_refuse(spec: dict[str, Any]) -> None:
    """Any other exception than SpecError fails the test; so does a refusal without a line each."""
    try:
        search = load(spec)
    except SpecError as error:
        refusal = error
    else:
        assert Search.from_json(json.loads(json.dumps(search.to_json()))) == search
        return
    lines = str(refusal).splitlines()
    assert len(refusal.problems) > 0
    assert len(lines) == len(refusal.problems) or lines[-1].endswith(" more")


@given(spec=st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_mapping_is_loaded_or_refused(spec: dict[str, Any]) -> None:
    load_or_refuse(spec)


@settings(max_examples=300)
@given(data=st.data())
def test_a_legal_spec_with_anything_in_one_place_is_loaded_or_refused(data: st.DataObject) -> None:
    spec = json.loads(json.dumps(LEGAL))
    node, value = spec, data.draw(VALUES)
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    if isinstance(node, dict) and data.draw(st.booleans()):
        key = data.draw(KEYS)
    node[key] = value
    load_or_refuse(spec)
