"""How many of a stage's trials each branch gets.

Called by the refiner, and by the coordinator for the first stage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def allocate(weights: Mapping[str, float], total: int, minimum: int) -> dict[str, int]:
    """Share ``total`` trials among branches in proportion to their ``weights``, whole and exact.

    Every branch gets ``minimum`` first, or an equal part where the total does not reach that far;
    what is left goes by the method of the largest remainder (Hamilton), ties to the branch named
    first. Weights that are all zero count as equal. Raises ValueError for a negative or non-finite
    weight, a negative total or minimum, or no branch.
    """
    _check(weights, total, minimum)
    floor = min(minimum, total // len(weights))
    left = total - floor * len(weights)
    equal = not any(weights.values())
    whole = float(len(weights)) if equal else sum(weights.values())
    quotas = {key: left * (1.0 if equal else one) / whole for key, one in weights.items()}
    shares = {key: floor + math.floor(quota) for key, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda key: math.floor(quotas[key]) - quotas[key])
    for key in by_remainder[: total - sum(shares.values())]:
        shares[key] += 1
    return shares


def _check(weights: Mapping[str, float], total: int, minimum: int) -> None:
    if not weights:
        raise ValueError("trials must be shared among at least one branch, but got none")
    if total < 0 or minimum < 0:
        raise ValueError(f"total and minimum must be 0 or more, but got {total} and {minimum}")
    for key, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"a weight must be finite and >= 0, but {key!r} has {weight}")
