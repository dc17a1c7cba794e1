"""Normalization of hidden layers before their activation, for all rows at once.

Called by ``linear`` with [M, H, B] and by ``cnn`` with [B, M*C, height, width]; each row is held to
its own numbers, each formula to PyTorch's module of the name.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from workers.training.models.base import BufferSpec, ParameterSpec, Pass
from workers.training.parallel.batch_norm import synchronized

EPS = 1e-5  # PyTorch's, of all of them
_LEAST_NORM = 1e-12  # of the weights into a unit: those of a dead start are all 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalization:
    """One of ``workers.config.model.NORMALIZATIONS``; ``groups`` is how many ``group`` makes.

    ``y = gain (x - mean) / sqrt(variance + EPS) + shift``, with a gain and a shift a unit, or a
    channel of images. Mean and variance are taken over: batch, the minibatch and all pixels (Ioffe
    and Szegedy 2015); layer, all units and pixels of an example (Ba et al. 2016; of images it is
    group normalization with one group, Wu and He 2018, who give group too); instance, the pixels
    of a channel (Ulyanov et al. 2016). ``weight`` normalizes the weights in their place (Salimans
    and Kingma 2016).
    """

    name: str
    groups: int = 1

    def parameters(self, layer: int, units: int) -> tuple[ParameterSpec, ...]:
        """A gain and a shift a unit; only the gain, the norm of its weights, of ``weight``."""
        gain = ParameterSpec(
            name=f"{layer}.gain",
            shape=(units,),
            layer=layer,
            kind="gain",
            by_unit=self.name == "weight",  # as the weights that it is of
        )
        shift = ParameterSpec(name=f"{layer}.shift", shape=(units,), layer=layer, kind="shift")
        return {"none": (), "weight": (gain,)}.get(self.name, (gain, shift))

    def buffers(self, layer: int, units: int) -> tuple[BufferSpec, ...]:
        """The running statistics of ``batch``."""
        if self.name != "batch":
            return ()
        return (
            BufferSpec(name=f"{layer}.running_mean", shape=(units,), start=0.0),
            BufferSpec(name=f"{layer}.running_var", shape=(units,), start=1.0),
        )

    def weight(self, given: Pass, layer: int) -> Tensor:
        """The weights [M, out, ...] that ``layer`` multiplies by: g v / |v| a unit of ``weight``.

        Where v is 0 so is the result, and every gradient of it.
        """
        v = given.weights[f"{layer}.weight"]
        if self.name != "weight":
            return v
        size_MH: Tensor = torch.linalg.vector_norm(v.flatten(2), dim=2).clamp_min(_LEAST_NORM)
        scale_MH = given.weights[f"{layer}.gain"] / size_MH
        return v * scale_MH.view(*scale_MH.shape, *[1] * (v.dim() - 2))

    def of_units(self, h_MHB: Tensor, given: Pass, layer: int) -> Tensor:
        """The outputs of a linear layer, normalized."""
        if self.name == "batch":
            count = _num_examples(given, h_MHB.shape[2])
            return _batch(h_MHB.flatten(0, 1)[None], given, layer, count).view(h_MHB.shape)
        groups = {"layer": 1, "group": self.groups}.get(self.name)
        return h_MHB if groups is None else _grouped_units(h_MHB, groups, given, layer)

    def of_images(self, h_BKYX: Tensor, given: Pass, layer: int) -> Tensor:
        """The outputs of a convolution, K = M*C, normalized."""
        if self.name == "batch":
            count = _num_examples(given, len(h_BKYX)) * prod(h_BKYX.shape[2:])
            return _batch(h_BKYX, given, layer, count)
        gain_MC = given.weights.get(f"{layer}.gain")
        if gain_MC is None or self.name == "weight":
            return h_BKYX
        num_rows, channels = gain_MC.shape
        groups = {"layer": 1, "group": self.groups, "instance": channels}[self.name]
        shift_MC = given.weights[f"{layer}.shift"]
        return torch.group_norm(
            h_BKYX, num_rows * groups, gain_MC.flatten(), shift_MC.flatten(), EPS
        )


def _batch(h_NKS: Tensor, given: Pass, layer: int, count: int) -> Tensor:
    """Batch normalization of K = M*U units or channels, over all other axes: ``count`` values.

    While training it takes the running statistics along: r <- (1 - momentum) r + momentum s, s the
    minibatch's mean and unbiased variance. A unit with a single value has no variance: it is
    normalized by the running statistics, which stay. Several devices normalize by the statistics of
    the whole minibatch.
    """
    gain_K, shift_K = (given.weights[f"{layer}.{name}"].flatten() for name in ("gain", "shift"))
    running = [given.buffers[f"{layer}.running_{name}"] for name in ("mean", "var")]
    if not given.training or count == 1:
        mean_K, var_K = (statistic_MU.flatten() for statistic_MU in running)
        return F.batch_norm(h_NKS, mean_K, var_K, gain_K, shift_K, training=False, eps=EPS)
    if given.mesh.data.num > 1:
        normalized, mean_K, var_K = synchronized(
            h_NKS, gain_K, shift_K, count, EPS, given.mesh.data
        )
    else:
        # With a momentum of 1, what PyTorch keeps are the minibatch's own statistics.
        mean_K, var_K = (torch.zeros_like(statistic_MU).flatten() for statistic_MU in running)
        normalized = F.batch_norm(
            h_NKS, mean_K, var_K, gain_K, shift_K, training=True, momentum=1.0, eps=EPS
        )
    momentum_M1 = given.columns.number("norm_momentum").unsqueeze(1)
    for statistic_MU, new_K in zip(running, (mean_K, var_K), strict=True):
        statistic_MU.lerp_(new_K.view_as(statistic_MU), momentum_M1)
    return normalized


def _num_examples(given: Pass, num_here: int) -> int:
    """Those of the whole minibatch."""
    return num_here if given.portion is None else given.portion.num


def _grouped_units(h_MHB: Tensor, groups: int, given: Pass, layer: int) -> Tensor:
    """Each example's units in ``groups``, each with its own mean and variance.

    Written out, because the examples lie innermost: layer_norm on a transposed view takes 2.2 times
    as long, and torch.var_mean over a middle axis 2.9 times.
    """
    num_rows, units, examples = h_MHB.shape
    wide = torch.float32 if h_MHB.dtype == torch.bfloat16 else h_MHB.dtype
    h_MGUB = h_MHB.to(wide).view(num_rows, groups, units // groups, examples)
    centred = h_MGUB - h_MGUB.mean(2, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(2, keepdim=True) + EPS)
    gain_MH1, shift_MH1 = (
        given.weights[f"{layer}.{name}"].unsqueeze(2) for name in ("gain", "shift")
    )
    return torch.addcmul(shift_MH1, (centred * scale).view(h_MHB.shape), gain_MH1)
