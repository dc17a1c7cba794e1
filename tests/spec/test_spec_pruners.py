"""``pruner:`` in a spec: what is filled in, and what the page says of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna import pruners as optunas
from pruner_specs import first, problems_of, spec

from hpsearch.spec import load
from hpsearch.spec.pruner_section import OPTIONS
from hpsearch.spec.pruning import DEFAULTS, rungs
from hpsearch.spec.search import PRUNERS, Pruner, Search, Stage

OURS = {"interval_steps", "n_warmup_steps"}  # of patient and wilcoxon, which ask at every step
KINDS: dict[str, Any] = {
    "median": optunas.MedianPruner,
    "percentile": optunas.PercentilePruner,
    "successive_halving": optunas.SuccessiveHalvingPruner,
    "hyperband": optunas.HyperbandPruner,
    "patient": optunas.PatientPruner,
    "threshold": optunas.ThresholdPruner,
    "wilcoxon": optunas.WilcoxonPruner,
}


def test_a_spec_without_a_pruner_has_none() -> None:
    assert [stage.pruner for stage in load(spec()).stages] == [None] * 3


def test_the_top_is_the_default_of_all_search_stages_and_of_no_other() -> None:
    coarse, fine, confirm = load(spec("median")).stages
    full = {"n_startup_trials": 5, "n_warmup_steps": 0, "n_min_trials": 1}
    assert coarse.pruner == Pruner(name="median", options={**full, "interval_steps": 2})
    assert fine.pruner == Pruner(name="median", options={**full, "interval_steps": 4})
    assert confirm.pruner is None


def test_a_stage_has_its_own_pruner_or_none_instead() -> None:
    own = load(spec("median", stage="hyperband"))
    assert [stage.pruner and stage.pruner.name for stage in own.stages] == [
        "hyperband",
        "median",
        None,
    ]
    assert first(load(spec("median", stage="none"))) is None
    assert first(load(spec("none"))) is None


def test_it_can_be_overridden_from_the_command_line() -> None:
    overrides = ["pruner=none", "stages.coarse.pruner.percentile=30"]
    search = load(spec("median", stage={"name": "percentile", "percentile": 25}), overrides)
    assert search.stages[1].pruner is None
    pruner = first(search)
    assert pruner is not None
    assert (pruner.name, pruner.options["percentile"]) == ("percentile", 30.0)


def test_numbers_have_the_type_that_their_option_has_and_survive_json() -> None:
    given = {"name": "percentile", "percentile": 25, "n_warmup_steps": 2.0, "interval_steps": 3}
    search = load(spec(given))
    pruner = first(search)
    assert pruner is not None
    assert type(pruner.options["percentile"]) is float
    assert type(pruner.options["n_warmup_steps"]) is int
    assert Search.from_json(search.to_json()) == search


def test_hyperband_ends_at_the_stages_epochs_and_auto_is_the_default() -> None:
    for given in ("hyperband", {"name": "hyperband", "max_resource": "auto"}):
        coarse, fine, _ = load(spec(given)).stages
        assert coarse.pruner == Pruner(
            name="hyperband",
            options={"min_resource": 1, "reduction_factor": 3, "max_resource": 10},
        )
        assert fine.pruner is not None
        assert fine.pruner.options["max_resource"] == 20
    halving = first(load(spec({"name": "successive_halving", "min_resource": "auto"})))
    assert halving is not None
    assert halving.options["min_resource"] == 1


@pytest.mark.parametrize("wrapped", ["median", {"name": "median", "interval_steps": 2}])
def test_patient_wraps_a_pruner_whose_defaults_are_filled_in_too(wrapped: Any) -> None:
    pruner = first(load(spec({"name": "patient", "patience": 2, "wrapped": wrapped})))
    assert pruner is not None
    assert pruner.options == {"patience": 2, "min_delta": 0.0}
    assert pruner.wrapped is not None
    assert pruner.wrapped.options["interval_steps"] == 2
    alone = first(load(spec({"name": "patient", "patience": 2, "wrapped": "none"})))
    assert alone is not None
    assert alone.wrapped is None
    assert rungs(alone, 10) == (4, 6, 8)


def test_stages_auto_have_the_pruner() -> None:
    auto: dict[str, Any] = {"stages": "auto", "budget": {"epochs": 1000}}
    for stage in load(spec("median", **auto)).stages:
        assert stage.pruner is not None
        assert stage.pruner.name == "median"


def test_wilcoxon_takes_folds() -> None:
    data = {"source": "digits", "validation": {"folds": 4}}
    assert first(load(spec("wilcoxon", data=data))) is not None


@pytest.mark.parametrize("name", PRUNERS)
def test_the_options_are_optunas_by_name_and_default(name: str) -> None:
    import inspect

    arguments = inspect.signature(KINDS[name].__init__).parameters
    theirs = {("wrapped" if key == "wrapped_pruner" else key) for key in arguments} - {"self"}
    assert theirs - {"bootstrap_count"} == set(OPTIONS[name]) - (OURS - set(arguments))
    for key, default in DEFAULTS[name].items():  # type: ignore[index]
        if key in arguments and arguments[key].default != "auto":
            assert arguments[key].default == default


def test_width_is_measured_unless_it_is_a_number() -> None:
    assert load(spec()).resources.width == "auto"
    assert load(spec(resources={"width": "auto"})).resources.width == "auto"
    assert load(spec(resources={"width": 64.0})).resources.width == 64
    (problem,) = problems_of(resources={"width": 0})
    assert (problem.key, problem.rule) == (
        "resources.width",
        "must be auto or an integer in [1, 1e+06]",
    )


def test_stages_that_were_stored_before_there_were_pruners_have_none() -> None:
    stored = Stage(name="coarse", trials=3, epochs=2).model_dump(mode="json")
    del stored["pruner"]
    assert Stage.model_validate(stored).pruner is None


# ---- the page

PAGE = (Path(__file__).parents[2] / "docs" / "specs.md").read_text()


def test_the_pages_snippet_is_legal() -> None:
    (snippet,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    search = load(spec(**yaml.safe_load(snippet)))
    names = [stage.pruner and stage.pruner.name for stage in search.stages]
    assert names == ["hyperband", "percentile", None, None]


@pytest.mark.parametrize("name", PRUNERS)
def test_the_page_has_every_option_with_its_default(name: str) -> None:
    said = set(_said(name))
    if "median" in said:  # "and those of `median`"
        said |= set(_said("median"))
    said -= {"median", "none"}
    defaults = DEFAULTS[name]  # type: ignore[index]
    expected = {f"{key}: {defaults[key]}" if key in defaults else key for key in OPTIONS[name]}
    assert said == expected


def _said(name: str) -> list[str]:
    (row,) = re.findall(rf"^\| `{name}` \|.*\|(.*)\|$", PAGE, flags=re.MULTILINE)
    return re.findall(r"`([^`]+)`", row)
