"""``stages: auto``: the arithmetic of a budget."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpsearch.spec.auto import CONTINUED, auto_stages, full_epochs, least_budget


def cost(budget: int, epochs: int) -> int:
    coarse, fine = auto_stages(budget, epochs)
    new, inherited = fine.trials - fine.continued, fine.continued * coarse.epochs
    return coarse.trials * coarse.epochs + fine.continued * epochs - inherited + new * epochs


def test_the_measured_plan_for_a_thousand_epochs() -> None:
    coarse, fine = auto_stages(1000, 50)
    assert (coarse.sampler, coarse.trials, coarse.epochs) == ("qmc", 20, 10)
    assert (fine.sampler, fine.trials, fine.epochs) == ("gp", 4 + 12, 50)
    assert (fine.continued, fine.batch, fine.narrow) == (4, 4, False)


@pytest.mark.parametrize(("epochs", "coarse_epochs"), [(1, 1), (7, 1), (9, 2), (50, 10)])
def test_coarse_trials_have_a_fifth_of_the_epochs_rounded(epochs: int, coarse_epochs: int) -> None:
    assert auto_stages(1000, epochs)[0].epochs == coarse_epochs


@given(budget=st.integers(1, 100_000), epochs=st.integers(1, 500))
@example(budget=20, epochs=7)  # pays for four coarse trials, but not for their continuation
def test_the_plan_spends_the_budget_and_never_more(budget: int, epochs: int) -> None:
    if budget < least_budget(epochs):
        with pytest.raises(ValueError, match=f"at least {least_budget(epochs)} epochs"):
            auto_stages(budget, epochs)
        return
    coarse, fine = auto_stages(budget, epochs)
    assert budget - epochs < cost(budget, epochs) <= budget
    assert coarse.trials * coarse.epochs <= budget / 5
    assert coarse.trials >= CONTINUED
    assert fine.trials >= fine.continued
    assert fine.epochs >= coarse.epochs


@given(budget=st.integers(25, 100_000))
def test_the_default_training_fits_its_budget(budget: int) -> None:
    assert least_budget(full_epochs(budget)) <= budget
