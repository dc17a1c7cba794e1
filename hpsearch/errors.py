"""HpsearchError: the root of every error that a person is shown as one sentence, without traceback.

Raised anywhere in hpsearch; the CLI prints its message and exits with 1.
"""

from __future__ import annotations


class HpsearchError(Exception):
    """Its text states the rule, the value that broke it, and what to do."""


class MayPass(HpsearchError):
    """What is wrong may be over by itself: the service tries again before it gives up."""


class Stopped(HpsearchError):
    """A search was stopped by its user; everything that was reported is stored."""


class Cancelled(Stopped):
    """A search was ended by ``hpsearch cancel``, from here or elsewhere."""
