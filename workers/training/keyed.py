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


Counter = int | Tensor


def bits(seeds_M: Tensor, count: int, *counters: Counter) -> Tensor:
    """Uniform random int32 bits [M, count], a function of each seed and the counters alone.

    The first counter may be a tensor: what ``combined`` gives for some counters stands for them.

    SplitMix64 (Steele, Lea and Flood 2014) as a counter-based generator: the stream's state is
    the mixed (seed, counters), output i is the mix of state + i * golden ratio. Integer arithmetic
    only, so all devices agree to the bit.
    """
    return _words(seeds_M, (count + 1) // 2, counters).view(torch.int32)[:, :count]


def keep_mask(seeds_M: Tensor, drop_M: Tensor, count: int, *counters: Counter) -> Tensor:
    """Boolean [M, count]: False with probability ``drop_M`` (to within 2**-16, for 16 random bits
    take two thirds of the time that 32 do)."""
    threshold_M = (drop_M.double() * 2.0**16 - 2.0**15).to(torch.int16)
    words_MW = _words(seeds_M, (count + 3) // 4, counters)
    return words_MW.view(torch.int16)[:, :count] >= threshold_M[:, None]


def uniforms(seeds_M: Tensor, count: int, *counters: Counter) -> Tensor:
    """Uniform float64 numbers in (0, 1), [M, count]."""
    return (bits(seeds_M, count, *counters).double() + (2.0**31 + 0.5)) * 2.0**-32


def normals(seeds_M: Tensor, count: int, *counters: Counter) -> Tensor:
    """Standard normal float64 numbers [M, count] (Box and Muller 1958)."""
    half = (count + 1) // 2
    u = uniforms(seeds_M, 2 * half, *counters)
    radius, angle = (-2 * u[:, :half].log()).sqrt(), 2 * math.pi * u[:, half:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def combined(*counters: Counter) -> Counter:
    """One number of all counters, in their order: on the host, or where the first one lies."""
    state: Counter = 0
    for counter in counters:
        if isinstance(counter, Tensor):
            state = counter
        elif isinstance(state, Tensor):
            state = _mix(state + _wrap((counter + 1) * _GOLDEN))
        else:
            state = _wrap(_mixed(state + (counter + 1) * _GOLDEN))
    return state


def _words(seeds_M: Tensor, count: int, counters: tuple[Counter, ...]) -> Tensor:
    """The first outputs [M, count] of each seed's stream."""
    state_M = _mix(seeds_M + combined(*counters)) if counters else seeds_M
    steps = torch.arange(count, device=seeds_M.device) * _GOLDEN
    return _mix(state_M[:, None] + steps)


def _mixed(state: int) -> int:
    """As ``_mix``."""
    state %= 2**64
    state = (state ^ (state >> 30)) * _MIX_1 % 2**64
    state = (state ^ (state >> 27)) * _MIX_2 % 2**64
    return state ^ (state >> 31)


def _wrap(number: int) -> int:
    """``number`` modulo 2**64 as a signed 64-bit integer, as torch's arithmetic wraps."""
    return (number + 2**63) % 2**64 - 2**63


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's, in place."""
    # Torch shifts int64 arithmetically; the masks make the shifts logical.
    shifted = torch.empty_like(z)
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        torch.bitwise_right_shift(z, shift, out=shifted).bitwise_and_(2 ** (64 - shift) - 1)
        z.bitwise_xor_(shifted).mul_(factor)
    torch.bitwise_right_shift(z, 31, out=shifted).bitwise_and_(2**33 - 1)
    return z.bitwise_xor_(shifted)
