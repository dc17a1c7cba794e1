"""${message}.

Run by ``hpsearch db upgrade``.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import hpsearch.storage.types as own
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Bring a database of ``down_revision`` to ``revision``."""
    ${upgrades if upgrades else "pass"}
