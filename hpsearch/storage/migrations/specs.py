"""Old specs written as they would be today, for the revisions that a new key of a spec needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

SEARCHES = sa.table(
    "searches",
    sa.column("id", sa.Integer()),
    sa.column("spec", sa.JSON()),
    sa.column("spec_hash", sa.Text()),
)


def rewrite_specs(change: Callable[[dict[str, Any]], None]) -> None:
    """Have ``change`` bring each stored spec up to date.

    By its hash the same spec is found again: a search begun before can be gone on with.
    """
    connection = op.get_bind()
    rows = connection.execute(sa.select(SEARCHES.c.id, sa.cast(SEARCHES.c.spec, sa.Text()))).all()
    for id, text in rows:
        spec = json.loads(text)
        change(spec)
        digest = hashlib.sha256(json.dumps(spec).encode()).hexdigest()
        connection.execute(
            sa.update(SEARCHES).where(SEARCHES.c.id == id).values(spec=spec, spec_hash=digest)
        )
