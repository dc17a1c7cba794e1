"""HpsearchError: the root of every error that a person is shown as one sentence, without traceback.

Raised anywhere in hpsearch; the CLI prints its message and exits with 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class HpsearchError(Exception):
    """Its text states the rule, the value that broke it, and what to do."""


class MayPass(HpsearchError):
    """What is wrong may be over by itself: the service tries again before it gives up."""


class Stopped(HpsearchError):
    """A search was stopped by its user; everything that was reported is stored."""


class Cancelled(Stopped):
    """A search was ended by ``hpsearch cancel``, from here or elsewhere."""


def did_you_mean(name: object, names: Sequence[str]) -> str:
    """The one of ``names`` that ``name`` is most like, as a question; nothing if there are none."""
    found = get_close_matches(str(name), names, n=1, cutoff=0.0)
    return f"did you mean {found[0]!r}?" if found else ""
