"""Which trials of a search are asked for, as a condition that the database tests.

Called by ``hpsearch.analysis.frames`` for ``state=``, ``stage=`` and ``where=``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

from sqlalchemy import ColumnElement, Connection, and_, literal_column, select
from sqlalchemy.exc import DBAPIError

from hpsearch.errors import HpsearchError, did_you_mean
from hpsearch.given import in_short, names
from hpsearch.spec.space import Parameter, value_types
from hpsearch.storage.errors import StorageError
from hpsearch.storage.hints import column_hint
from hpsearch.storage.records import SearchRecord, TrialState
from hpsearch.storage.tables import StageRow, TrialRow

Names = str | Sequence[str]
STATES: tuple[str, ...] = get_args(TrialState)
_WHERE = (
    'where must be a condition in SQL over the columns of trials, such as "learning_rate < 0.01"'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Trials in one of these states, of one of these stages, of which ``where`` is true.

    ``where`` is a condition in SQL over the columns of ``Frames.trials``, parameters among them.
    Raises HpsearchError for what is of another type.
    """

    state: Names | None = None
    stage: Names | None = None
    where: str | None = None

    def __post_init__(self) -> None:
        for what, given in (("state", self.state), ("stage", self.stage)):
            if given is not None:
                object.__setattr__(self, what, names(what, given))
        if not isinstance(self.where, str | None):
            raise HpsearchError(f"{_WHERE}, but got {in_short(self.where)}")


def chosen_by(connection: Connection, search: SearchRecord, given: Filter) -> ColumnElement[bool]:
    """The condition on TrialRow for the trials of ``search`` that ``given`` lets through.

    Raises StorageError for a state or a stage that there is not, with the closest one.
    """
    conditions = [TrialRow.search_id == search.id]
    if given.state is not None:
        conditions.append(TrialRow.state.in_(_known("state", given.state, STATES)))
    if given.stage is not None:
        opened = connection.scalars(select(StageRow.name).where(StageRow.search_id == search.id))
        stages = [*(stage.name for stage in search.spec.stages), *opened]
        of = select(StageRow.id).where(
            StageRow.search_id == search.id,
            StageRow.name.in_(_known("stage", given.stage, stages)),
        )
        conditions.append(TrialRow.stage_id.in_(of))
    if given.where is not None:
        conditions.append(_where(connection, search, given.where))
    return and_(*conditions)


@contextmanager
def telling_of(search: SearchRecord, given: Filter) -> Iterator[None]:
    """Say in a sentence what the database says of a ``where`` that it does not understand."""
    try:
        yield
    except DBAPIError as error:
        if given.where is None:
            raise
        reason = " ".join(str(error.orig).split())
        hint = column_hint(reason, [*_PLAIN, *_NAMED, *search.spec.space.parameters])
        raise StorageError(
            f"{_WHERE}, but of {given.where!r} the database says: {reason}{hint}"
        ) from error


def _known(what: str, asked: Names, known: Sequence[str]) -> Names:
    """Raises StorageError unless all that are asked for are known."""
    for name in asked:
        if name not in known:
            hint = did_you_mean(name, known)
            raise StorageError(f"{what} must be one that there is, but got {name!r}: {hint}")
    return asked


def _where(connection: Connection, search: SearchRecord, where: str) -> ColumnElement[bool]:
    parameters = search.spec.space.parameters.items()
    named = (
        select(
            *(getattr(TrialRow, name) for name in _PLAIN),
            TrialRow.id.label("trial"),
            TrialRow.parent_id.label("parent"),
            StageRow.name.label("stage"),
            *(_value(name, parameter).label(name) for name, parameter in parameters),
        )
        .join(StageRow, StageRow.id == TrialRow.stage_id)
        .where(TrialRow.search_id == search.id)
        .subquery()
    )
    # By itself at the end of a statement first: there it can close no parenthesis of ours.
    connection.execute(select(named.c.trial).where(literal_column(f"{where}\n")).limit(0))
    condition: ColumnElement[bool] = literal_column(f"({where}\n)")  # it may end in a comment
    return TrialRow.id.in_(select(named.c.trial).where(condition))


_PLAIN = (
    *("number", "branch", "state", "value", "spread", "best_epoch", "epochs", "seed", "replicate"),
    *("seconds", "failure_kind", "failure_message", "created_at", "finished_at", "worker"),
)
_NAMED = ("trial", "parent", "stage")


def _value(name: str, parameter: Parameter) -> ColumnElement[Any]:
    """A parameter out of the JSON, as the number or the text that it is; NULL where inactive."""
    value: Any = TrialRow.params[name]
    types = value_types(parameter)
    if types == {bool}:
        return value.as_boolean()  # type: ignore[no-any-return]
    if types == {int}:
        return value.as_integer()  # type: ignore[no-any-return]
    return value.as_float() if types and types <= {int, float} else value.as_string()  # type: ignore[no-any-return]
