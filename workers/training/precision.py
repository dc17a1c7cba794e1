"""Precision: the numbers that a group is computed in, where its device has them.

Called by the loop. Weights and optimizer state are float32 but for float64; bfloat16 is PyTorch's
autocast of the forward pass, tf32 the tensor cores' rounding of float32 matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from workers.config.combination import ConfigError

TF32_CAPABILITY = (8, 0)  # Ampere and later


def dtype_of(precision: str) -> torch.dtype:
    """The type of the weights."""
    return torch.float64 if precision == "float64" else torch.float32


def check_precision(precision: str, device: torch.device) -> None:
    """Raises ConfigError if ``device`` does not have it."""
    is_gpu = device.type == "cuda"
    if precision == "bfloat16" and is_gpu and not torch.cuda.is_bf16_supported(False):
        raise ConfigError(
            "precision",
            "bfloat16 needs a GPU that computes in it, and this worker's does not; use float32",
        )
    if precision != "tf32":
        return
    if not is_gpu or torch.cuda.get_device_capability(device) < TF32_CAPABILITY:
        raise ConfigError(
            "precision",
            "tf32 needs a GPU of compute capability 8.0 or later, and this worker has none; use "
            "float32",
        )


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Entered around each forward pass."""
    if precision != "bfloat16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def matrix_products(precision: str) -> Iterator[None]:
    """Let float32 matrix products and convolutions round to TF32, or not, while within."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    _allow_tf32(precision == "tf32", precision == "tf32")
    try:
        yield
    finally:
        _allow_tf32(*before)


def _allow_tf32(products: bool, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions
