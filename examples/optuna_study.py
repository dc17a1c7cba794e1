"""Coarse to fine in a study of Optuna's: ``python examples/optuna_study.py``.

Trains scikit-learn's perceptron on handwritten digits. Rates are tried over six decades first; the
second and third stage look closer where the best were, for each solver on its own.
"""

from __future__ import annotations

import warnings

import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from hpsearch.integrations.optuna import CoarseToFineSampler

STAGES = (24, 16, 8)
IMAGES, DIGITS = load_digits(return_X_y=True)
X_TRAIN, X_VAL, Y_TRAIN, Y_VAL = train_test_split(IMAGES[:800] / 16, DIGITS[:800], random_state=0)


def objective(trial: optuna.Trial) -> float:
    """The validation accuracy after ten epochs."""
    solver = trial.suggest_categorical("optimizer", ["sgd", "adam"])
    momentum = trial.suggest_float("momentum", 0.5, 0.99) if solver == "sgd" else 0.9
    model = MLPClassifier(
        hidden_layer_sizes=(32,),
        solver=solver,
        learning_rate_init=trial.suggest_float("learning_rate", 1e-5, 10.0, log=True),
        alpha=trial.suggest_float("weight_decay", 1e-7, 1.0, log=True),
        momentum=momentum,
        max_iter=10,
        random_state=0,
    )
    try:
        accuracy: float = model.fit(X_TRAIN, Y_TRAIN).score(X_VAL, Y_VAL)
    except ValueError:  # its weights are not finite any more
        return float("-inf")
    return accuracy


def main() -> None:
    """Search, and say what was found and why ranges moved."""
    warnings.simplefilter("ignore")  # of ten epochs, and of overflows
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = CoarseToFineSampler(STAGES, seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=sum(STAGES))
    print(*sampler.reasons(study), sep="\n")
    print(f"best of {len(study.trials)}: {study.best_value:.3f} with {study.best_params}")


if __name__ == "__main__":
    main()
