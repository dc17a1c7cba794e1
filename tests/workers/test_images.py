"""Convolution by patches, which a GPU does, is what PyTorch's own convolution does."""

from __future__ import annotations

import pytest
import torch
from model_cases import normal

from workers.training.models import images


@pytest.mark.parametrize("shared", [False, True], ids=["own images", "shared images"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_patches_and_their_gradients_are_those_of_a_grouped_convolution(
    size: int, shared: bool
) -> None:
    num_rows, channels_in, channels_out = 3, 2, 4
    channels = channels_in * (1 if shared else num_rows)
    image = (channels_in, 6, 7)
    x_mBF = normal(channels // channels_in, 5, channels_in * 6 * 7)
    found = []
    for convolved in (images.by_patches, images.convolved):
        weight = normal(num_rows, channels_out, channels_in, size, size, seed=1).requires_grad_()
        bias, x = normal(num_rows, channels_out, seed=2).requires_grad_(), x_mBF.clone()
        h_BKYX = images.arranged(x.requires_grad_(), image)
        out = convolved(h_BKYX, weight, bias)
        target = normal(*out.shape, seed=3)
        found.append([out, *torch.autograd.grad((out * target).sum(), [x, weight, bias])])
    for ours, theirs in zip(*found, strict=True):
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)
