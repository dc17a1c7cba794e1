"""Metrics of the user's own, of each row's outputs over the validation part.

Called by ``group_training`` once an epoch. A row for which one fails is told with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workers.config.combination import ConfigError
from workers.config.own import OwnError, said
from workers.config.own_pairs import of_pairs
from workers.training.feed import DeviceData

STEPS = ("reset", "update", "compute")  # of a metric of torchmetrics, and of what is like it


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """``values`` by metric, [M] float64 each; ``failed`` says why rows have none, by row."""

    values: dict[str, Tensor] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)


class OwnMetrics:
    """Functions of (outputs [N, C], targets [N]), or objects with STEPS, by name.

    Of a regression outputs are [N], and both in the units of the data. Raises ConfigError for one
    that cannot be had.
    """

    def __init__(self, named: Mapping[str, str], data: DeviceData) -> None:
        self._data, self._named = data, dict(named)
        self._measures = {name: _measure(name, place, data.device) for name, place in named.items()}

    def __bool__(self) -> bool:
        return bool(self._measures)

    def measure(self, outputs_MNC: Tensor, y_mN: Tensor, folds_M: Tensor) -> Measured:
        """Every metric of every row, one after the other: what a metric calls is its own affair."""
        found, measured = [], Measured()
        y_MN = y_mN.expand(len(outputs_MNC), -1)
        given_MN = outputs_MNC
        if self._data.shape.is_regression:
            given_MN, y_MN = (self._in_units(t, folds_M) for t in (outputs_MNC.squeeze(2), y_MN))
        for row, (outputs, y_N) in enumerate(zip(given_MN, y_MN, strict=True)):
            try:
                found.append([self._number(name, outputs, y_N) for name in self._measures])
            except OwnError as error:
                measured.failed[row] = str(error)
                found.append([torch.nan] * len(self._measures))
        columns = zip(*found, strict=True)
        for name, numbers in zip(self._measures, columns, strict=True):
            measured.values[name] = torch.stack(
                [torch.as_tensor(n, dtype=torch.float64, device=y_MN.device) for n in numbers]
            )
        return measured

    def _in_units(self, standardized_MN: Tensor, folds_M: Tensor) -> Tensor:
        scale_M1 = self._data.target_scale_k[folds_M].unsqueeze(1)
        mean_M1 = self._data.target_mean_k[folds_M].unsqueeze(1)
        return (standardized_MN.double() * scale_M1 + mean_M1).to(standardized_MN)

    def _number(self, name: str, outputs: Tensor, y_N: Tensor) -> Tensor | float:
        """Raises OwnError."""
        what, taken = f"metric {name} ({self._named[name]})", list(outputs.shape)
        try:
            # Of copies, for it may write into them.
            value = self._measures[name](outputs.clone(), y_N.clone())
        except (Exception, SystemExit) as error:  # whatever a user's function does
            rule = f"must take outputs {taken} and targets {list(y_N.shape)}"
            raise OwnError(f"{what} {rule}, but that raises {said(error)}") from error
        if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
            return value.detach().double().reshape(())
        try:
            if isinstance(value, Tensor | str):
                raise TypeError
            return float(value)
        except (TypeError, ValueError, OverflowError) as error:
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise OwnError(f"{what} must give a number, but gives {shape}") from error


def _measure(name: str, place: str, device: torch.device) -> Callable[[Tensor, Tensor], Any]:
    try:
        found = of_pairs(place)
    except OwnError as error:
        raise ConfigError(f"metrics.{name}", str(error)) from error
    if hasattr(found, "to"):
        found = found.to(device)
    if all(hasattr(found, step) for step in STEPS):
        return lambda outputs, y_N: _stepped(found, outputs, y_N)
    if not callable(found):
        rule = f"must give a function, or an object with {', '.join(STEPS)}"
        raise ConfigError(f"metrics.{name}", f"{rule}, but {place} gives a {type(found).__name__}")
    return found  # type: ignore[no-any-return]  # whatever it is, it can be called


def _stepped(metric: Any, outputs: Tensor, y_N: Tensor) -> Any:
    metric.reset()
    metric.update(outputs, y_N)
    return metric.compute()
