"""HpsearchError: the root of every error that a person is shown as one sentence, without traceback.

Raised anywhere in hpsearch; the CLI prints its message and exits with 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MOST_LISTED = 12  # names in a message; more are counted


class HpsearchError(Exception):
    """Its text states the rule, the value that broke it, and what to do."""


class MayPass(HpsearchError):
    """What is wrong may be over by itself: the service tries again before it gives up."""


class Stopped(HpsearchError):
    """A search was stopped by its user; everything that was reported is stored."""


class Cancelled(Stopped):
    """A search was ended by ``hpsearch cancel``, from here or elsewhere."""


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """The one of ``names`` that ``name`` is like, as a question; else which there are.

    Of many names the first, and how many more.
    """
    known = list(dict.fromkeys(names))
    near = closest(name, known)
    return f"there are {_listed(known)}" if near is None else f"did you mean {near!r}?"


def closest(name: object, names: Iterable[str]) -> str | None:
    """The one of ``names`` most like ``name``, whatever their capitals; None if none is like it."""
    folded = {each.lower(): each for each in reversed(list(names))}
    found = get_close_matches(str(name)[:100].lower(), folded, n=1)
    return folded[found[0]] if found else None


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_LISTED
    shown = ", ".join(map(repr, names[:MOST_LISTED])) or "none"
    return f"{shown} and {more} more" if more > 0 else shown
