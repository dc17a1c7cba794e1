"""What callers in Python may give where names or numbers are asked for.

Used by ``hpsearch.storage`` and ``hpsearch.analysis``; anything else is refused in a sentence.
``in_short`` is how a value stands in one, of ``hpsearch.spec`` too.
"""

from __future__ import annotations

import reprlib
from numbers import Integral
from typing import Any

from hpsearch.errors import HpsearchError

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 3


def names(what: str, given: Any) -> tuple[str, ...]:
    """A plain string is one name. Raises HpsearchError for what is neither names nor a name."""
    several = (given,) if isinstance(given, str) else _listed(given)
    if several is None or not all(isinstance(name, str) for name in several):
        raise HpsearchError(f"{what} must be a name or a list of names, but got {in_short(given)}")
    return tuple(map(str, several))


def search_refs(what: str, given: Any) -> tuple[Any, ...]:
    """Likewise of searches, each by its name or id; whether there is such a one is not asked."""
    several = (given,) if is_search(given) else _listed(given)
    if several is None or not all(map(is_search, several)):
        raise HpsearchError(
            f"{what} must be given a list of searches, each by its name or id, but got "
            f"{in_short(given)}"
        )
    return several


def is_search(given: Any) -> bool:
    """Whether it is a name or an id, NumPy's integers among them."""
    return isinstance(given, str | Integral) and not isinstance(given, bool)


def whole(what: str, given: Any, *, least: int) -> int:
    """A whole number from ``least`` on. Raises HpsearchError for any other."""
    is_whole = isinstance(given, Integral) and not isinstance(given, bool)
    if not is_whole or given < least:
        raise HpsearchError(f"{what} must be a whole number >= {least}, but got {in_short(given)}")
    return int(given)


def in_short(given: Any) -> str:
    """A value of any type as Python spells it, in a line of a few words."""
    return " ".join(_SHORT.repr(given).split())


def _listed(given: Any) -> tuple[Any, ...] | None:
    if isinstance(given, bytes):
        return None
    try:
        return tuple(given)
    except TypeError:  # whatever has no items, an array of no dimension among them
        return None
