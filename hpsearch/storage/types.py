"""Column types that mean the same on SQLite and on PostgreSQL.

Used by ``hpsearch.storage.tables`` and by the migrations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import NoneType
from typing import Any

from sqlalchemy import DateTime, Dialect, Double, Text
from sqlalchemy.types import TypeDecorator

LARGEST_INTEGER = 2**31 - 1  # of PostgreSQL's INTEGER; no id and no number is beyond it


class Real(TypeDecorator[float]):
    """A double in which NaN and the infinities survive.

    SQLite stores a NaN as NULL, so there it is bound as the text 'nan', which a column of real
    affinity keeps as it is; NULL stays None.
    """

    impl = Double
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """A float for the driver, or 'nan'; instead of Double's own, which makes that a float."""
        return _bind_text_nan if dialect.name == "sqlite" else _bind_float

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """The inverse of :meth:`bind_processor`."""
        return _result_text_nan if dialect.name == "sqlite" else None


def is_plain(values: Sequence[Any]) -> bool:
    """Whether a column of Real is what the driver takes: all None, or floats and no NaN in them.

    As most are, this is told of all values at once; of infinities of both signs it is not told.
    """
    kinds = set(map(type, values))
    return kinds <= {NoneType} or (kinds == {float} and not math.isnan(sum(values)))


def _bind_float(value: Any) -> float | None:
    return None if value is None else float(value)  # float32 of numpy too


def _bind_text_nan(value: Any) -> float | str | None:
    if type(value) is float and value == value:  # nearly all there are, and very many
        return value
    number = _bind_float(value)
    return "nan" if number is not None and math.isnan(number) else number


def _result_text_nan(value: Any) -> float | None:
    return float(value) if isinstance(value, str) else value


class UtcDateTime(TypeDecorator[datetime]):
    """A time with zone, always UTC when it comes back; one without zone is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC; without the zone on SQLite, whose text has no room for it."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a stored time must have a zone, but got {value!r}")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """With the zone UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Message(TypeDecorator[str]):
    """Text from programs that are not ours, such as a traceback.

    NUL and lone surrogates, which PostgreSQL refuses, become U+FFFD, so that a trial that failed
    with a strange message can be stored as failed.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """``value`` with what cannot be stored replaced."""
        if value is None:
            return None
        visible = value.replace("\0", "\ufffd")
        return visible.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
