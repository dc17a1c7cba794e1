"""How the best trials end: each rule on a search that shows it, and on ones that must not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from searched import a_curve, a_picture, a_spec_of, trials_of

from hpsearch.analysis.diagnosis.finding import Finding
from hpsearch.analysis.diagnosis.of_search.ending import (
    best_overfit,
    noise,
    train_longer,
    train_shorter,
)
from hpsearch.analysis.diagnosis.of_search.picture import Picture
from hpsearch.spec.search import Search, Tune

SPACE = {"learning_rate": {"log_uniform": [1e-5, 1e-1]}}
SPEC = a_spec_of(SPACE)
LOSS = a_spec_of(SPACE, objective={"metric": "val_loss", "mode": "min"})
RATE = {"learning_rate": 1e-3}


def searched(
    shape: Callable[[int], Sequence[float]], spec: Search = SPEC, count: int = 12, **more: Any
) -> Picture:
    """Trials whose curves ``shape`` gives, by number, with the values that follow from them."""
    mode, metric = spec.objective.mode, spec.objective.metric
    curves = [a_curve(shape(i), metric, mode=mode, **more) for i in range(count)]
    trials = [
        trial.changed(
            {
                "value": curve.value,
                "best_epoch": 1 + int(pick(curve.series[metric])),
                "epochs": len(curve),
                "target_epochs": len(curve),
            }
        )
        for pick in [np.argmax if mode == "max" else np.argmin]
        for trial, curve in zip(trials_of([RATE] * count, [0.0] * count), curves, strict=True)
    ]
    by_id = {trial.id: curve for trial, curve in zip(trials, curves, strict=True)}
    return a_picture(spec, trials, curves=by_id)


def rising(number: int, epochs: int = 12) -> list[float]:
    """Goes on by a tenth of an error each epoch."""
    return [0.8 - 0.3 * 0.9**epoch - 0.001 * number for epoch in range(epochs)]


def settled(number: int, epochs: int = 12) -> list[float]:
    """Has settled by half of its epochs, and jumps a little from epoch to epoch."""
    jitter = 0.004 * np.sin(np.arange(epochs) * 7 + number)
    return (0.9 - 0.5 * np.exp(-np.arange(epochs, dtype=float)) + jitter).tolist()


# Longer


def test_the_best_that_still_improve_are_to_be_trained_longer() -> None:
    (found,) = train_longer(searched(lambda i: [0.5 + 0.03 * e - 0.001 * i for e in range(12)]))
    assert found.kind == "train_longer"
    assert (found.evidence["late"], found.evidence["best"], found.evidence["epochs"]) == (
        10,
        10,
        12,
    )
    assert found.evidence["gain"] == pytest.approx(0.09)
    assert "epochs: 24 for stage only" in found.message


def test_a_loss_that_still_falls_is_to_be_trained_longer() -> None:
    found = train_longer(searched(lambda i: [2.0 - 0.1 * e + 0.01 * i for e in range(12)], LOSS))
    assert [one.kind for one in found] == ["train_longer"]


def test_curves_that_have_settled_are_long_enough() -> None:
    assert list(train_longer(searched(settled))) == []


def test_a_gain_of_a_small_part_of_the_error_is_no_reason() -> None:
    crawling = searched(lambda i: [0.6 + 0.001 * e for e in range(12)])
    assert list(train_longer(crawling)) == []


def test_what_improves_under_a_rate_that_has_been_cooled_comes_to_rest() -> None:
    def curve(i: int) -> list[float]:
        return [0.5 + 0.03 * e - 0.001 * i for e in range(12)]

    cooled = searched(curve, learning_rate=np.linspace(1e-2, 1e-4, 12))
    assert list(train_longer(cooled)) == []
    warm = searched(curve, learning_rate=np.linspace(1e-2, 2e-3, 12))
    assert [one.kind for one in train_longer(warm)] == ["train_longer"]


def test_some_of_the_best_that_improve_are_not_the_best() -> None:
    mixed = searched(lambda i: rising(i) if i % 2 else settled(i))
    assert list(train_longer(mixed)) == []


def test_four_trials_and_three_epochs_say_nothing() -> None:
    assert (
        list(train_longer(searched(lambda i: [0.5 + 0.03 * e for e in range(12)], count=4))) == []
    )
    assert list(train_longer(searched(lambda i: [0.5 + 0.1 * e for e in range(3)]))) == []


def test_of_an_objective_nobody_knows_the_gain_so_far_is_the_measure() -> None:
    reward = SPEC.model_copy(
        update={"objective": SPEC.objective.model_copy(update={"metric": "reward"})}
    )
    still = searched(lambda i: [100.0 * e + i for e in range(12)], reward)
    done = searched(lambda i: [100.0 * min(e, 6) + 0.01 * e for e in range(12)], reward)
    assert [one.kind for one in train_longer(still)] == ["train_longer"]
    assert list(train_longer(done)) == []


# Shorter


def peaked(at: int, epochs: int = 30) -> Callable[[int], list[float]]:
    return lambda i: [0.9 - 0.01 * abs(e + 1 - at) - 0.0001 * i for e in range(epochs)]


def test_the_best_that_peak_in_the_first_tenth_are_trained_far_too_long() -> None:
    (found,) = train_shorter(searched(peaked(3)))
    assert found.kind == "train_shorter"
    assert found.evidence == {"early": 10, "best": 10, "epochs": 30, "by": 3}
    assert "epochs: 6 for stage only" in found.message
    assert "train: {patience: 6}" in found.message


def test_a_trainable_has_no_patience_to_be_advised() -> None:
    with_tune = SPEC.model_copy(update={"tune": Tune(), "train": {"trainable": "mine:train"}})
    (found,) = train_shorter(searched(peaked(3), with_tune))
    assert "epochs: 6 for stage only" in found.message
    assert "patience" not in found.message


def test_the_best_that_peak_after_it_are_not() -> None:
    assert list(train_shorter(searched(peaked(4)))) == []


def test_a_tenth_of_few_epochs_is_nothing() -> None:
    assert list(train_shorter(searched(peaked(1, epochs=19)))) == []


def test_what_patience_ended_was_not_too_long() -> None:
    picture = searched(peaked(2, epochs=20))
    ended = [trial.changed({"stopped_early": True}) for trial in picture.trials]
    assert len(list(train_shorter(picture))) == 1
    assert list(train_shorter(a_picture(SPEC, ended, curves=picture.curves))) == []


# Overfitting


def with_findings(overfit: int, spec: Search = SPEC) -> Picture:
    trials = trials_of([RATE] * 12, [0.9 - 0.01 * i for i in range(12)])
    finding = Finding(kind="overfitting", message="", evidence={})
    findings = {trial.id: [finding] for trial in trials[:overfit]}
    return a_picture(spec, trials, findings=findings)


def test_that_half_of_the_best_overfit_is_told_with_what_to_search() -> None:
    (found,) = best_overfit(with_findings(5))
    assert found.kind == "best_overfit"
    assert found.evidence == {"overfit": 5, "best": 10}
    assert "dropout: {uniform: [0, 0.5]}" in found.message
    decayed = a_spec_of({**SPACE, "weight_decay": {"log_uniform": [1e-6, 1e-2]}})
    (found,) = best_overfit(with_findings(5, decayed))
    assert "raise the upper end of space.weight_decay" in found.message


def test_that_fewer_overfit_is_told_of_them_alone() -> None:
    assert list(best_overfit(with_findings(4))) == []


def test_that_the_worst_overfit_is_no_matter() -> None:
    picture = with_findings(0)
    finding = Finding(kind="overfitting", message="", evidence={})
    worst = {trial.id: [finding] for trial in picture.trials[6:]}
    found = best_overfit(a_picture(SPEC, picture.trials, findings=worst))
    assert list(found) == []


# Noise


def repeated(*values: Sequence[float]) -> Picture:
    trials = trials_of([RATE] * len(values), [0.9] * len(values))
    repeats = [
        trial.changed({"parent_id": parent.id, "replicate": 1})
        for parent, of in zip(trials, values, strict=True)
        for trial in trials_of([RATE] * len(of), list(of), first=10 * parent.id)
    ]
    return a_picture(SPEC, [*trials, *repeats])


def test_a_lead_that_is_less_than_seeds_differ_by_is_told() -> None:
    (found,) = noise(repeated((0.90, 0.94, 0.92), (0.89, 0.93, 0.91)))
    assert found.kind == "noise"


def test_a_lead_that_seeds_do_not_reach_is_believed() -> None:
    assert list(noise(repeated((0.90, 0.91, 0.905), (0.80, 0.81, 0.805)))) == []
