"""Products of the rows' matrices, by whichever of PyTorch's two libraries is faster at them.

Called by ``linear``. oneDNN's operator has no derivative and takes no part in autocast: there, MKL.
"""

# PyTorch multiplies float32 matrices on a CPU with MKL, which on one core of an AMD EPYC 9005 does
# 112 GFLOPS, what AVX2 can; oneDNN does 250 there, with AVX-512. It takes 10 us a call more, so
# small products stay with MKL. In us a row, oneDNN and MKL: 64 rows of 64 -> 50, 32 examples, 1.3
# and 2.3; 8 rows of 784 -> 50, 64 examples, 25 and 51.

from __future__ import annotations

import torch
from torch import Tensor

_WORTH_A_CALL = 2**20  # multiplications: from here on oneDNN is faster
_HAS_ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")  # not in every build


def products(a_MHF: Tensor, b_mFB: Tensor) -> Tensor:
    """``a @ b`` of each row, [M, H, B]; m is M, or 1 where all rows multiply by the same."""
    found_MHB = _by_onednn(a_MHF, b_mFB)
    return (
        torch.bmm(a_MHF, b_mFB.expand(a_MHF.shape[0], -1, -1)) if found_MHB is None else found_MHB
    )


def affine(weight_MHF: Tensor, h_mFB: Tensor, bias_MH: Tensor) -> Tensor:
    """``weight @ h + bias`` of each row, [M, H, B]."""
    found_MHB, bias_MH1 = _by_onednn(weight_MHF, h_mFB), bias_MH.unsqueeze(2)
    if found_MHB is None:
        return torch.baddbmm(bias_MH1, weight_MHF, h_mFB.expand(weight_MHF.shape[0], -1, -1))
    return found_MHB.add_(bias_MH1)


def _by_onednn(a_MHF: Tensor, b_mFB: Tensor) -> Tensor | None:
    """``products``, or None where they are too small for it or not its numbers."""
    if not _HAS_ONEDNN or a_MHF.dtype != torch.float32 or not a_MHF.is_cpu:
        return None
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return None
    num_rows, height, inner = a_MHF.shape
    size = height * inner * b_mFB.shape[2]
    if b_mFB.shape[0] == 1 and num_rows * size >= _WORTH_A_CALL:
        return _linear(a_MHF, b_mFB[0].t())  # all rows as one matrix
    if size >= _WORTH_A_CALL:
        return torch.stack([_linear(a, b.t()) for a, b in zip(a_MHF, b_mFB, strict=True)])
    return None


def _linear(x: Tensor, weight_BF: Tensor) -> Tensor:
    """torch.nn.functional.linear, without derivatives."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight_BF, None, "none", [], "")
    return product
