"""What can go wrong between this program and its database.

Raised all over ``hpsearch.storage``; the coordinator stops on ``LeaseLost``, people see the rest.
"""

from __future__ import annotations

from hpsearch.errors import HpsearchError


class StorageError(HpsearchError):
    """The database cannot be used as it was asked to be."""


class DatabaseAway(StorageError):
    """The database cannot be used now, and may be later: its server or its disk must be mended."""


class LeaseHeld(StorageError):
    """Another coordinator owns the search."""


class LeaseLost(StorageError):
    """Another coordinator has taken the search over since; nothing of this write was stored."""
