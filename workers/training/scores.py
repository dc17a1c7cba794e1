"""Scores: how good outputs are over an epoch's examples, by row; sklearn.metrics is the oracle.

Called by the loop with each minibatch; sums stay on the device in float64 until the epoch ends.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from workers.config.combination import DataShape
from workers.training.parallel import Devices

Sums = dict[str, Tensor]  # [M, ...] each


class Scores:
    """Sums over examples for M rows; ``detailed`` adds what validation reports beside the usual.

    Detailed scores of classes need no confusion matrix [M, C, C] but its diagonal and its two
    margins, [M, C] each, so that they cost little with a thousand classes too. ``count`` is how
    many examples were added.
    """

    def __init__(
        self, num_rows: int, data: DataShape, device: torch.device, detailed: bool
    ) -> None:
        self.count = 0
        self._kind: _Numbers | _Classes = (
            _Numbers(detailed) if data.is_regression else _Classes(data.num_outputs, detailed)
        )
        loss_M = torch.zeros(num_rows, dtype=torch.float64, device=device)
        self._sums = {"loss": loss_M, **self._kind.blank(loss_M)}

    def of(self, rows: slice) -> Scores:
        """Those of some rows, which go on from here; the whole is not to be added to any more."""
        part = copy.copy(self)
        part._sums = {name: sum_M[rows] for name, sum_M in self._sums.items()}
        return part

    @staticmethod
    def joined(parts: Sequence[Scores]) -> Scores:
        """Those of all rows of ``parts``, in order, which have had the same number of examples."""
        whole = copy.copy(parts[0])
        whole._sums = {
            name: torch.cat([part._sums[name] for part in parts]) for name in whole._sums
        }
        return whole

    def going_on_from(self, other: Scores) -> Scores:
        """These, in the place that they have in memory, with the sums of ``other``."""
        if other is not self:
            self.count = other.count
            for name, sum_M in other._sums.items():
                self._sums[name].copy_(sum_M)
        return self

    def add_up(self, devices: Devices) -> None:
        """Put those of all ``devices`` here, on each of them."""
        if devices.num > 1:
            self._kind.rebase(self._sums, self.count, devices)
            told = [*self._sums.values(), self._sums["loss"].new_full((1,), self.count)]
            flat = torch.cat([sum_M.double().flatten() for sum_M in told])
            devices.add_up(flat)
            *sums, count = torch.split(flat, [sum_M.numel() for sum_M in told])
            for sum_M, whole in zip(self._sums.values(), sums, strict=True):
                sum_M.copy_(whole.view_as(sum_M))
            self.count = int(count)

    def add(self, outputs_MBC: Tensor, y_mB: Tensor, loss: Tensor) -> None:
        """Take in B examples: outputs, targets (m is M, or 1), and losses [M, B] or their sum [M].

        With mixup ``y_mB`` is the first of the two targets, whichever is the heavier: scores of
        training are then lower than on plain examples.
        """
        self._sums["loss"] += loss.sum(1, dtype=torch.float64) if loss.dim() == 2 else loss
        if not y_mB.shape[1]:  # of a small minibatch, which other devices have
            return
        self._kind.add(self._sums, outputs_MBC, y_mB, is_first=not self.count)
        self.count += y_mB.shape[1]

    def metrics(self, prefix: str, target_scale_M: Tensor | None = None) -> dict[str, Tensor]:
        """``{prefix}_loss`` and the others, [M] float64 each.

        Classes: accuracy; detailed: balanced_accuracy (the mean recall of the classes that occur)
        and f1 (the mean over classes that occur or are guessed; 0 for one never guessed right).
        Numbers: r2 = 1 - sum (x-y)^2 / sum (y - mean y)^2 (for equal targets 1 or 0, for a
        single one NaN, as sklearn);
        detailed: mae, the mean of |x - y| times ``target_scale_M``, which gives it its unit back.
        """
        loss_M = self._sums["loss"] / self.count
        named = {"loss": loss_M, **self._kind.metrics(self._sums, self.count)}
        if target_scale_M is not None and "mae" in named:
            named["mae"] = named["mae"] * target_scale_M
        return {f"{prefix}_{name}": value_M for name, value_M in named.items()}


class _Classes:
    """Counts right guesses; detailed, also by the class that was guessed."""

    def __init__(self, num_classes: int, detailed: bool) -> None:
        self._num_classes, self._detailed = num_classes, detailed

    def blank(self, like_M: Tensor) -> Sums:
        correct_M = torch.zeros_like(like_M, dtype=torch.int64)
        width = self._num_classes if self._detailed else 0
        # By class guessed, the wrong guesses and then the right ones: one scatter fills both.
        return {
            "correct": correct_M,
            "guesses": correct_M.new_zeros(len(like_M), 2 * width),
            "there": correct_M.new_zeros(len(like_M), width),
        }

    def add(self, sums: Sums, outputs_MBC: Tensor, y_mB: Tensor, *, is_first: bool) -> None:
        # On the CPU max() finds its indices many times faster than argmax() over a short axis.
        guess_MB = outputs_MBC.transpose(1, 2).max(1).indices
        correct_MB = guess_MB == y_mB
        sums["correct"] += correct_MB.sum(1)
        if self._detailed:
            place_MB = guess_MB.add_(correct_MB, alpha=self._num_classes)
            sums["guesses"].scatter_add_(1, place_MB, torch.ones_like(place_MB))
            there_mC = sums["there"].new_zeros(len(y_mB), self._num_classes)
            sums["there"] += there_mC.scatter_add_(1, y_mB, torch.ones_like(y_mB))

    def rebase(self, sums: Sums, count: int, devices: Devices) -> None:
        pass

    def metrics(self, sums: Sums, count: int) -> dict[str, Tensor]:
        accuracy = {"accuracy": sums["correct"].double() / count}
        if not self._detailed:
            return accuracy
        wrong_MC, right_MC = sums["guesses"].double().chunk(2, dim=1)
        there_MC = sums["there"].double()
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

    def __init__(self, detailed: bool) -> None:
        self._detailed = detailed

    def blank(self, like_M: Tensor) -> Sums:
        names = ("squares", "sizes", "away", "away_squares", "first")
        return {name: torch.zeros_like(like_M) for name in names}

    def add(self, sums: Sums, outputs_MBC: Tensor, y_mB: Tensor, *, is_first: bool) -> None:
        y_mB = y_mB.double()
        error_MB = outputs_MBC.squeeze(2).double() - y_mB
        sums["squares"] += error_MB.square().sum(1)
        if self._detailed:
            sums["sizes"] += error_MB.abs().sum(1)
        if is_first:
            sums["first"].copy_(y_mB[:, 0])
        # All rows have the same first target where they have the same targets.
        away_mB = y_mB - sums["first"][: len(y_mB), None]
        sums["away"] += away_mB.sum(1)
        sums["away_squares"] += away_mB.square().sum(1)

    def rebase(self, sums: Sums, count: int, devices: Devices) -> None:
        """Distances from the first target of device 0: only then do those of several add up."""
        first_M = devices.agreed(sums["first"])
        moved_M = sums["first"] - first_M
        sums["away_squares"] += moved_M * (2 * sums["away"] + count * moved_M)
        sums["away"] += count * moved_M
        sums["first"].copy_(first_M / devices.num)  # so that they add up too

    def metrics(self, sums: Sums, count: int) -> dict[str, Tensor]:
        spread_M = sums["away_squares"] - sums["away"].square() / count
        perfect_M = (sums["squares"] == 0).double()
        r2_M = torch.where(spread_M > 0, 1 - sums["squares"] / spread_M, perfect_M)
        r2_M = r2_M if count > 1 else torch.full_like(r2_M, torch.nan)
        return {"r2": r2_M} | ({"mae": sums["sizes"] / count} if self._detailed else {})


def _mean_where(there_MC: Tensor, values_MC: Tensor) -> Tensor:
    return torch.where(there_MC, values_MC, 0.0).sum(1) / there_MC.sum(1)
