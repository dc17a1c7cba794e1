"""``key``: a seed from any tuple of numbers and names, the same on every machine and in every run.

The coordinator keys trials and stages with it, and training all that it draws.
"""

from __future__ import annotations

import hashlib


def key(*parts: int | str) -> int:
    """A 63-bit seed; differs (but for chance) as soon as one part differs in value or in type."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
