"""Keyed randomness: every random number is a function of its key, never of a global generator.

So a member draws the same numbers alone, in a group of any width, and after a restart. Called for
the minibatch order, the initialization and the dropout.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workers.keys import key

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator that starts at ``key(*parts)``."""
    return torch.Generator().manual_seed(key(*parts))


def bits(seeds_M: Tensor, count: int, *counters: int) -> Tensor:
    """Uniform random int32 bits [M, count], a function of each seed and the counters alone.

    SplitMix64 (Steele, Lea and Flood 2014) as a counter-based generator: the stream's state is
    the mixed (seed, counters), output i is the mix of state + i * golden ratio. Integer arithmetic
    only, so all devices agree to the bit.
    """
    state_M = seeds_M
    for counter in counters:
        state_M = _mix(state_M + _wrap((counter + 1) * _GOLDEN))
    words = torch.arange((count + 1) // 2, device=seeds_M.device) * _GOLDEN
    return _mix(state_M[:, None] + words).view(torch.int32)[:, :count]


def keep_mask(seeds_M: Tensor, drop_M: Tensor, count: int, *counters: int) -> Tensor:
    """Boolean [M, count]: False with probability ``drop_M`` (to within 2**-32)."""
    threshold_M = (drop_M.double() * 2.0**32 - 2.0**31).to(torch.int32)
    return bits(seeds_M, count, *counters) >= threshold_M[:, None]


def uniforms(seeds_M: Tensor, count: int, *counters: int) -> Tensor:
    """Uniform float64 numbers in (0, 1), [M, count]."""
    return (bits(seeds_M, count, *counters).double() + (2.0**31 + 0.5)) * 2.0**-32


def normals(seeds_M: Tensor, count: int, *counters: int) -> Tensor:
    """Standard normal float64 numbers [M, count] (Box and Muller 1958)."""
    half = (count + 1) // 2
    u = uniforms(seeds_M, 2 * half, *counters)
    radius, angle = (-2 * u[:, :half].log()).sqrt(), 2 * math.pi * u[:, half:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def _wrap(number: int) -> int:
    """``number`` modulo 2**64 as a signed 64-bit integer, as torch's arithmetic wraps."""
    return (number + 2**63) % 2**64 - 2**63


def _mix(z: Tensor) -> Tensor:
    # Torch shifts int64 arithmetically; the masks make the shifts logical.
    z = (z ^ ((z >> 30) & (2**34 - 1))) * _MIX_1
    z = (z ^ ((z >> 27) & (2**37 - 1))) * _MIX_2
    return z ^ ((z >> 31) & (2**33 - 1))
