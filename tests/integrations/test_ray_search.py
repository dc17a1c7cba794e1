"""CoarseToFineSearch, asked and told as Ray Tune does it; no cluster is needed for that."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from hpsearch.errors import HpsearchError
from hpsearch.integrations.ray_tune import CoarseToFineSearch
from hpsearch.integrations.ray_tune.domains import distributions, nested
from hpsearch.integrations.recording import flat

SPACE = {
    "rate": tune.loguniform(1e-6, 1.0),
    "model": {"units": tune.choice([[32], [64, 64]]), "dropout": tune.quniform(0.0, 0.9, 0.1)},
    "layers": tune.randint(1, 5),
    "batch": tune.lograndint(8, 257),
    "even": tune.qrandint(2, 8, 2),
    "path": "data",
}


def loss(config: dict[str, Any]) -> float:
    return (math.log10(config["rate"]) + 3) ** 2


def carried_out(search: CoarseToFineSearch, start: int, end: int) -> list[dict[str, Any]]:
    configs = []
    for number in range(start, end):
        config = search.suggest(f"t{number}")
        search.on_trial_result(f"t{number}", {"loss": 99.0, "training_iteration": 1})
        search.on_trial_complete(f"t{number}", {"loss": loss(config), "training_iteration": 2})
        configs.append(config)
    return configs


def searching(**changes: Any) -> CoarseToFineSearch:
    given = {"metric": "loss", "mode": "min", "stages": (40, 30), "seed": 1, **changes}
    return CoarseToFineSearch(given.pop("space", SPACE), **given)


def test_configs_are_of_the_space_and_narrow_from_stage_to_stage() -> None:
    configs = carried_out(searching(), 0, 70)
    for config in configs:
        assert config["path"] == "data"
        assert config["model"]["units"] in ([32], [64, 64])
        assert config["layers"] in range(1, 5)
        assert config["batch"] in range(8, 257)
        assert config["even"] in (2, 4, 6, 8)
        assert round(config["model"]["dropout"], 1) == pytest.approx(config["model"]["dropout"])
    assert {config["layers"] for config in configs} == {1, 2, 3, 4}
    first, second = ([math.log10(c["rate"]) for c in part] for part in (configs[:40], configs[40:]))
    assert max(second) - min(second) < 0.6 * (max(first) - min(first))
    assert min(second) < -3 < max(second)


def test_the_largest_is_best_where_the_mode_is_max() -> None:
    search = searching(mode="max", space={"x": tune.uniform(0, 1)})
    for number in range(40):
        search.on_trial_complete(f"t{number}", {"loss": search.suggest(f"t{number}")["x"]})
    assert min(search.suggest(f"t{number}")["x"] for number in range(40, 70)) > 0.5


def test_the_tuner_may_give_the_space_and_what_ranks_trials() -> None:
    search = CoarseToFineSearch(stages=(40, 30), seed=1)
    with pytest.raises(HpsearchError, match="needs a space, a metric and a mode"):
        search.suggest("t0")
    assert search.set_search_properties("loss", "min", SPACE)
    assert search.suggest("t0") == searching().suggest("t0")
    assert not search.set_search_properties("loss", "min", SPACE)


def test_a_trial_is_asked_for_once() -> None:
    search = searching()
    assert search.suggest("a") == search.suggest("a") != search.suggest("b")


def test_what_was_saved_goes_on_as_it_would_have(tmp_path: Path) -> None:
    whole = carried_out(searching(), 0, 60)
    begun = searching()
    carried_out(begun, 0, 45)
    asked = begun.suggest("t45")  # runs while it is saved
    begun.save(str(tmp_path / "state.json"))
    other = searching(seed=7)
    other.restore(str(tmp_path / "state.json"))
    assert asked == whole[45]
    assert carried_out(other, 45, 60) == whole[45:]


def test_a_space_that_the_tuner_gave_is_saved_with_it(tmp_path: Path) -> None:
    def unset() -> CoarseToFineSearch:
        return CoarseToFineSearch(stages=(40, 30), seed=1)

    begun, other = unset(), unset()
    begun.save(str(tmp_path / "before.json"))  # Tune saves before it has asked for anything
    other.restore(str(tmp_path / "before.json"))
    begun.set_search_properties("loss", "min", SPACE)
    carried_out(begun, 0, 45)
    begun.save(str(tmp_path / "state.json"))
    other.restore(str(tmp_path / "state.json"))
    rates = [config["rate"] for config in carried_out(other, 45, 50)]
    assert rates == [config["rate"] for config in carried_out(begun, 45, 50)]


def test_choices_that_json_does_not_hold_need_the_space_again(tmp_path: Path) -> None:
    space = {"layer": tune.choice([dict, list]), "x": tune.uniform(0, 1)}
    begun = searching(space=space)
    begun.suggest("a")
    begun.save(str(tmp_path / "state.json"))
    again = searching(space=space)
    again.restore(str(tmp_path / "state.json"))
    assert again.suggest("a") == begun.suggest("a")
    unset = CoarseToFineSearch()
    with pytest.raises(HpsearchError, match="needs a space"):
        unset.restore(str(tmp_path / "state.json"))


def test_it_can_be_pickled_with_the_tuner() -> None:
    begun = searching()
    carried_out(begun, 0, 45)
    copy = pickle.loads(pickle.dumps(begun))
    assert carried_out(copy, 45, 50) == carried_out(begun, 45, 50)


def test_where_trials_report_what_is_not_finite_nothing_is_drawn_any_more() -> None:
    search = searching(space={"learning_rate": tune.loguniform(1e-6, 1.0)})
    for number in range(40):
        rate = search.suggest(f"t{number}")["learning_rate"]
        value = math.nan if rate > 1e-2 else -math.log10(rate)
        search.on_trial_complete(f"t{number}", {"loss": value})
    assert max(search.suggest(f"t{n}")["learning_rate"] for n in range(40, 70)) <= 1e-2


def test_trials_that_raise_count_for_nothing() -> None:
    search = searching()
    for number in range(40):
        search.suggest(f"t{number}")
        search.on_trial_complete(f"t{number}", error=True)
    rates = [search.suggest(f"t{number}")["rate"] for number in range(40, 70)]
    assert max(rates) / min(rates) > 1e4


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        (tune.randn(0, 1), "is normal: write"),
        (tune.qloguniform(1, 10, 1), "is quantized log-uniform"),
        (tune.sample_from(lambda spec: 1), "is a function"),
        (tune.grid_search([1, 2]), r"must have no grid_search, but a/b is one: write tune\.choice"),
    ],
    ids=["normal", "qloguniform", "function", "grid"],
)
def test_what_has_no_range_to_narrow_is_refused(domain: Any, said: str) -> None:
    with pytest.raises(HpsearchError, match=said) as caught:
        searching(space={"a": {"b": domain}})
    assert "a/b" in str(caught.value)


def test_so_is_a_space_that_varies_nothing_and_a_mode_that_is_none() -> None:
    with pytest.raises(HpsearchError, match=r"must vary something.*got \['path'\]"):
        searching(space={"path": "data"})
    with pytest.raises(HpsearchError, match="mode must be min or max, but got 'lowest'"):
        searching(mode="lowest")


def test_tunes_ends_are_optunas() -> None:
    found = distributions(SPACE)
    assert (found["layers"].low, found["layers"].high) == (1, 4)
    assert (found["batch"].low, found["batch"].high, found["batch"].log) == (8, 256, True)
    assert (found["even"].low, found["even"].high, found["even"].step) == (2, 8, 2)
    assert (found["model/dropout"].high, found["model/dropout"].step) == (0.9, 0.1)
    assert found["rate"].log
    assert nested(flat(SPACE)) == SPACE
