"""Randomness keyed by what it is for: the same key gives the same numbers in every process.

Called wherever this room draws; there is no global generator and Python's salted hash() is avoided.
"""

from __future__ import annotations

import hashlib

import numpy as np


def keyed_seed(*key: int | str) -> int:
    """A seed in [0, 2**32) from the parts of ``key`` (integers and strings), by SHA-256."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def keyed_generator(*key: int | str) -> np.random.Generator:
    """A NumPy generator that is a function of ``key`` alone."""
    return np.random.default_rng(keyed_seed(*key))
