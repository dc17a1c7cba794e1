"""What people may have meant by a column that the database does not know.

Called by ``database`` for a SELECT of the user's own, and by ``filters`` for ``where=``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import Engine, inspect

from hpsearch.errors import did_you_mean

_UNKNOWN = (
    re.compile(r"no such column: (?:\w+\.)?(\w+)"),  # SQLite
    re.compile(r'column "?(?:\w+\.)?(\w+)"? does not exist'),  # PostgreSQL
)
PARAMS = "params"


def column_hint(reason: str, columns: Iterable[str]) -> str:
    """If ``reason``, of the database, is a column that is none of ``columns``: the closest one."""
    found = next((m for m in (one.search(reason) for one in _UNKNOWN) if m), None)
    return "" if found is None else f": {did_you_mean(found[1], columns)}"


def query_hint(engine: Engine, statement: str, reason: str) -> str:
    """As :func:`column_hint`, of the tables and views that ``statement`` names.

    Parameters are in one column of these, as JSON.
    """
    if not column_hint(reason, ()):
        return ""
    asked, inspector = set(re.findall(r"\w+", statement.lower())), inspect(engine)
    places = [*inspector.get_view_names(), *inspector.get_table_names()]
    named = [place for place in places if place in asked]
    columns = [column["name"] for place in named for column in inspector.get_columns(place)]
    if not columns:
        return ""
    of_json = f"; a parameter is read as {PARAMS} ->> 'learning_rate'" * (PARAMS in columns)
    return f"{column_hint(reason, columns)} in {' and '.join(named)}{of_json}"
