"""Twenty examples learned by heart: a network that cannot do that has a defect, or no capacity.

Called by ``check`` for each probe (cs231n, "Before learning: sanity checks": overfit a tiny subset;
Karpathy 2019: overfit one batch).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from workers.config import TrainConfig
from workers.config.own import is_own
from workers.messages import CheckResult, Verdict
from workers.training.checks.subject import Subject, steady, undisturbed
from workers.training.group_training import GroupTraining

NUM_EXAMPLES = 20
NUM_RATES = 16
DECADES = 4.0  # of rates at least
MOST_UPDATES = 200
LOOK_EVERY = 10  # updates, as looking waits for the device
NEEDED_R2 = 0.99


def fit_twenty(subject: Subject) -> CheckResult:
    """100 % training accuracy (R2 above 0.99) on twenty examples at one of sixteen rates.

    Without regularization, dropout and augmentation; each update sees all twenty.
    """
    places_kN = twenty(subject.data.targets_on_host_kN, subject)
    rates = _rates(subject)
    configs = [
        replace(_to_memorize(subject.config, places_kN.shape[1]), learning_rate=rate)
        for rate in rates
    ]
    group = subject.group(configs, subject.seeds(1) * len(rates))
    training = GroupTraining(group, subject.data.only(places_kN))
    first_T, best_T = _train(training, subject.data.shape.is_regression)
    return _judge(subject, rates, first_T, best_T, places_kN.shape[1])


def twenty(targets_kN: Tensor, subject: Subject) -> Tensor:
    """Places of twenty training examples in each fold [k, 20], of as many classes as can be.

    In a keyed order, the first of each class, then the second of each, and so on.
    """
    order = subject.order()
    if targets_kN.is_floating_point():
        return order[:NUM_EXAMPLES].expand(len(targets_kN), -1)
    return torch.stack(
        [order[_by_turns(targets_N[order])][:NUM_EXAMPLES] for targets_N in targets_kN]
    )


def _by_turns(codes_N: Tensor) -> Tensor:
    """An order in which the classes take turns."""
    rank_N = torch.empty_like(codes_N)
    for code in sorted(set(codes_N.tolist())):
        (own,) = torch.nonzero(codes_N == code, as_tuple=True)
        rank_N[own] = torch.arange(len(own))
    return rank_N.argsort(stable=True)


def _to_memorize(config: TrainConfig, num_examples: int) -> TrainConfig:
    return replace(steady(undisturbed(config)), batch_size=num_examples, ema_decay=0.0)


def _rates(subject: Subject) -> list[float]:
    """Log-spaced over the probe's range, widened to four decades if it is narrower."""
    rate = subject.config.learning_rate
    low, high = np.log10(subject.probe.rates or (rate, rate))
    more = max(0.0, DECADES - (high - low)) / 2
    spaced: list[float] = np.logspace(low - more, high + more, NUM_RATES).tolist()
    return spaced


def _train(training: GroupTraining, is_regression: bool) -> tuple[list[int], list[float]]:
    """By rate: the update after which all was learned (0: never), and the best score."""
    name, needed = ("train_r2", NEEDED_R2) if is_regression else ("train_accuracy", 1.0)
    folds = training.stack.num_folds
    best_T = torch.full((len(training.stack.members),), -torch.inf, dtype=torch.float64)
    best_T = best_T.to(training.stack.device)
    first_T = torch.zeros_like(best_T, dtype=torch.int64)
    for update in range(MOST_UPDATES + 1):  # an epoch is an update, and scores those before it
        score_T = training.train_epoch(update)[name].view(-1, folds).amin(1)
        best_T = torch.fmax(best_T, score_T)
        new_T = (score_T >= needed) & (first_T == 0)
        first_T = torch.where(new_T, max(update, 1), first_T)
        if update % LOOK_EVERY == 0 and bool((first_T > 0).any()):
            break
    return first_T.tolist(), best_T.tolist()


def _judge(
    subject: Subject, rates: list[float], first_T: list[int], best_T: list[float], count: int
) -> CheckResult:
    score = "R2" if subject.data.shape.is_regression else "accuracy"
    best = max(best_T)
    # R2 has no lower bound; JSON knows no infinity.
    scores = [number if np.isfinite(number) else None for number in best_T]
    numbers = {"rates": rates, "updates": first_T, "best": scores, "examples": count}
    fitted = [(n, rate) for n, rate in zip(first_T, rates, strict=True) if n]
    if fitted:
        updates, rate = min(fitted)
        after = "1 update" if updates == 1 else f"{updates} updates"
        text = f"{count} examples are learned by heart after {after} at rate {rate:.2g}"
        return subject.result("fit_twenty", "pass", text, **numbers)
    at = rates[best_T.index(best)]
    text = (
        f"{count} examples cannot be learned by heart in {MOST_UPDATES} updates at {NUM_RATES} "
        f"rates from {rates[0]:.2g} to {rates[-1]:.2g}; the best {score} is {best:.3g}, at "
        f"{at:.2g}: look at the {subject.start} and the labels, or give it more units or other "
        "rates"
    )
    # A loss of the user's own may ask for something else.
    verdict: Verdict = "warn" if is_own(subject.config.loss or "") else "fail"
    return subject.result("fit_twenty", verdict, text, **numbers)
