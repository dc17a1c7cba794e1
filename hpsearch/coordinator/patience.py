"""``patiently``: a write that waits while the database is away: nothing is lost.

Used by ``ledger.Ledger`` for all that it stores. Workers train on meanwhile, until the reports that
nobody takes are as many as they may hold; then they wait too, so memory stays bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from hpsearch.storage.errors import DatabaseAway

AGAIN_S = 1.0

Given = TypeVar("Given")


def patiently(
    write: Callable[[], Given],
    tell: Callable[[str], None],
    stored: Callable[[], Given | None] = lambda: None,
) -> Given:
    """What ``write`` gives, tried again until the database answers.

    A connection that breaks within a commit leaves open whether it was committed. So ``write`` must
    come to the same twice, or ``stored`` give what it has stored already, None if it has not.
    ``tell`` is told of the first failure, and of the end of it.
    """
    is_first = True
    while True:
        try:
            found = None if is_first else stored()
            given = write() if found is None else found
        except DatabaseAway as error:
            if is_first:
                tell(f"{error}; what came in is kept, and written once it is back")
            is_first = False
            time.sleep(AGAIN_S)
        else:
            if not is_first:
                tell("the database is back")
            return given
