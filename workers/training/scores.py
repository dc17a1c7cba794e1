"""Scores: how good outputs are over an epoch's examples, by row; sklearn.metrics is the oracle.

Called by the loop with each minibatch; sums stay on the device in float64 until the epoch ends.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workers.config.combination import DataShape


class Scores:
    """Sums over examples for M rows; ``detailed`` adds what validation reports beside the usual.

    Detailed scores of classes need no confusion matrix [M, C, C] but its diagonal and its two
    margins, [M, C] each, so that they cost little with a thousand classes too.
    """

    def __init__(
        self, num_rows: int, data: DataShape, device: torch.device, detailed: bool
    ) -> None:
        self._count = 0
        self._loss_M = torch.zeros(num_rows, dtype=torch.float64, device=device)
        if data.is_regression:
            self._kind: _Numbers | _Classes = _Numbers(self._loss_M, detailed)
        else:
            self._kind = _Classes(self._loss_M, data.num_outputs, detailed)

    def add(self, outputs_MBC: Tensor, y_mB: Tensor, loss: Tensor) -> None:
        """Take in B examples: outputs, targets (m is M, or 1), and losses [M, B] or their sum [M].

        With mixup ``y_mB`` is the first of the two targets, whichever is the heavier: scores of
        training are then lower than on plain examples.
        """
        self._count += y_mB.shape[1]
        self._loss_M += loss.sum(1, dtype=torch.float64) if loss.dim() == 2 else loss
        self._kind.add(outputs_MBC, y_mB)

    def metrics(self, prefix: str, target_scale_M: Tensor | None = None) -> dict[str, Tensor]:
        """``{prefix}_loss`` and the others, [M] float64 each.

        Classes: accuracy; detailed: balanced_accuracy (the mean recall of the classes that occur)
        and f1 (the mean over classes that occur or are guessed; 0 for one never guessed right).
        Numbers: r2 = 1 - sum (x-y)^2 / sum (y - mean y)^2 (for equal targets 1 or 0, for a
        single one NaN, as sklearn);
        detailed: mae, the mean of |x - y| times ``target_scale_M``, which gives it its unit back.
        """
        named = {"loss": self._loss_M / self._count, **self._kind.metrics(self._count)}
        if target_scale_M is not None and "mae" in named:
            named["mae"] = named["mae"] * target_scale_M
        return {f"{prefix}_{name}": value_M for name, value_M in named.items()}


class _Classes:
    """Counts right guesses; detailed, also by the class that was guessed."""

    def __init__(self, like_M: Tensor, num_classes: int, detailed: bool) -> None:
        self._num_classes, self._detailed = num_classes, detailed
        self._correct_M = torch.zeros_like(like_M, dtype=torch.int64)
        width = num_classes if detailed else 0
        # By class guessed, the wrong guesses and then the right ones: one scatter fills both.
        self._guesses_MC = self._correct_M.new_zeros(len(like_M), 2 * width)
        self._there_MC = self._correct_M.new_zeros(len(like_M), width)

    def add(self, outputs_MBC: Tensor, y_mB: Tensor) -> None:
        # On the CPU max() finds its indices many times faster than argmax() over a short axis.
        guess_MB = outputs_MBC.transpose(1, 2).max(1).indices
        correct_MB = guess_MB == y_mB
        self._correct_M += correct_MB.sum(1)
        if self._detailed:
            place_MB = guess_MB.add_(correct_MB, alpha=self._num_classes)
            self._guesses_MC.scatter_add_(1, place_MB, torch.ones_like(place_MB))
            there_mC = self._there_MC.new_zeros(len(y_mB), self._num_classes)
            self._there_MC += there_mC.scatter_add_(1, y_mB, torch.ones_like(y_mB))

    def metrics(self, count: int) -> dict[str, Tensor]:
        accuracy = {"accuracy": self._correct_M.double() / count}
        if not self._detailed:
            return accuracy
        wrong_MC, right_MC = self._guesses_MC.double().chunk(2, dim=1)
        there_MC = self._there_MC.double()
        either_MC = wrong_MC + right_MC + there_MC
        return accuracy | {
            "balanced_accuracy": _mean_where(there_MC > 0, right_MC / there_MC),
            "f1": _mean_where(either_MC > 0, 2 * right_MC / either_MC),
        }


class _Numbers:
    """Sums of errors, and of the targets' distances from the first one.

    Distances instead of targets: a difference of large squares would lose its digits (Chan, Golub
    and LeVeque 1983), and equal targets have a variance of exactly 0.
    """

    def __init__(self, like_M: Tensor, detailed: bool) -> None:
        self._detailed = detailed
        self._squares_M, self._sizes_M = torch.zeros_like(like_M), torch.zeros_like(like_M)
        self._away_M, self._away_squares_M = torch.zeros_like(like_M), torch.zeros_like(like_M)
        self._first_m1: Tensor | None = None

    def add(self, outputs_MBC: Tensor, y_mB: Tensor) -> None:
        y_mB = y_mB.double()
        error_MB = outputs_MBC.squeeze(2).double() - y_mB
        self._squares_M += error_MB.square().sum(1)
        if self._detailed:
            self._sizes_M += error_MB.abs().sum(1)
        if self._first_m1 is None:
            self._first_m1 = y_mB[:, :1].clone()
        away_mB = y_mB - self._first_m1
        self._away_M += away_mB.sum(1)
        self._away_squares_M += away_mB.square().sum(1)

    def metrics(self, count: int) -> dict[str, Tensor]:
        spread_M = self._away_squares_M - self._away_M.square() / count
        perfect_M = (self._squares_M == 0).double()
        r2_M = torch.where(spread_M > 0, 1 - self._squares_M / spread_M, perfect_M)
        r2_M = r2_M if count > 1 else torch.full_like(r2_M, torch.nan)
        return {"r2": r2_M} | ({"mae": self._sizes_M / count} if self._detailed else {})


def _mean_where(there_MC: Tensor, values_MC: Tensor) -> Tensor:
    return torch.where(there_MC, values_MC, 0.0).sum(1) / there_MC.sum(1)
