"""The tables, as SQLAlchemy 2 typed models; docs/design.md has their words.

Read and written through ``hpsearch.storage.repository`` only; every change here needs a migration.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hpsearch.storage.types import Message, Real, UtcDateTime

# Constraints are named by rule, so that migrations can name them on both databases.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
COMPLETE = text("state = 'complete'")
WAITING = text("served AND state IN ('submitted', 'running')")
TO_TELL = text("notice_at IS NOT NULL")


class Base(DeclarativeBase):
    """All tables. JSON and not JSONB, which would reorder keys and make 1e22 an integer."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a plain class attribute
        str: Text,
        float: Real,
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class SearchRow(Base):
    """A search, where it came from, and who owns it. ``lease_token`` only ever grows.

    One that is ``served`` is the service's to carry out: ``job`` is what Ray calls the process that
    does, ``workers`` how many it may have now (NULL: as many as it asks for). The id of one that
    was deleted is never used again, or what carried that one out could write to another.
    ``notice_at`` is when people are to be told that it has ended, NULL if they are not.
    """

    __tablename__ = "searches"
    __table_args__ = (
        Index(None, "priority", "id", sqlite_where=WAITING, postgresql_where=WAITING),
        Index(None, "notice_at", sqlite_where=TO_TELL, postgresql_where=TO_TELL),
        {"sqlite_autoincrement": True},  # a sequence, as PostgreSQL has it
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    spec: Mapped[dict[str, Any]]
    spec_hash: Mapped[str]
    state: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    hpsearch_version: Mapped[str]
    git_commit: Mapped[str | None]
    host: Mapped[str]
    user: Mapped[str]
    packages: Mapped[dict[str, Any]]
    lease_owner: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    lease_token: Mapped[int] = mapped_column(BigInteger)
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    priority: Mapped[int]
    served: Mapped[bool]
    cancel_requested_at: Mapped[datetime | None]
    workers: Mapped[int | None]
    job: Mapped[str | None]
    message: Mapped[str | None] = mapped_column(Message)
    notice_at: Mapped[datetime | None]
    notice_tries: Mapped[int]


class CodeRow(Base):
    """What a submitted search names in Python, as a ZIP archive; searches that name none have none.

    It is apart from the search, whose row is read often.
    """

    __tablename__ = "code"

    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), primary_key=True)
    zipped: Mapped[bytes]


class StageRow(Base):
    """A stage as it was opened, with its space and the reasons for it."""

    __tablename__ = "stages"
    __table_args__ = (UniqueConstraint("search_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"))
    position: Mapped[int]
    planned: Mapped[int]
    name: Mapped[str]
    kind: Mapped[str]
    epochs: Mapped[int]
    sampler: Mapped[str]
    branches: Mapped[list[Any]]
    reasons: Mapped[list[Any]]
    state: Mapped[str]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class TrialRow(Base):
    """A trial: what was asked for, and how far it got."""

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("search_id", "number"),
        # The best of a search. Of complete trials only: a report need not move the others in it.
        Index(None, "search_id", "value", sqlite_where=COMPLETE, postgresql_where=COMPLETE),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"))
    stage_id: Mapped[int] = mapped_column(ForeignKey("stages.id"), index=True)
    number: Mapped[int]
    branch: Mapped[str]
    generation: Mapped[int]
    group: Mapped[int]
    params: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    replicate: Mapped[int]
    start_epoch: Mapped[int]
    target_epochs: Mapped[int]
    until_epoch: Mapped[int]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("trials.id"), index=True)
    state: Mapped[str]
    failure_kind: Mapped[str | None]
    failure_message: Mapped[str | None] = mapped_column(Message)
    value: Mapped[float | None]
    spread: Mapped[float | None]
    best_epoch: Mapped[int | None]
    epochs: Mapped[int]
    stopped_early: Mapped[bool]
    checkpoint_file: Mapped[str | None]
    checkpoint_row: Mapped[int | None]
    checkpoint_epoch: Mapped[int]
    attempts: Mapped[int]
    seconds: Mapped[float]
    worker: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class MetricRow(Base):
    """What a trial measured in one epoch; epochs count from 1, seconds are the epoch's own.

    A column for each name in ``workers.metrics``; NULL where training does not report it. ``value``
    is an objective that has none of those names, of a search from elsewhere or a metric of the
    user's own; ``others`` are the user's metrics beside it, by name.
    """

    __tablename__ = "metrics"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy's own pattern

    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    train_loss: Mapped[float | None]
    train_accuracy: Mapped[float | None]
    train_r2: Mapped[float | None]
    val_loss: Mapped[float | None]
    val_accuracy: Mapped[float | None]
    val_balanced_accuracy: Mapped[float | None]
    val_f1: Mapped[float | None]
    val_r2: Mapped[float | None]
    val_mae: Mapped[float | None]
    spread: Mapped[float | None]
    learning_rate: Mapped[float | None]
    gradient_norm: Mapped[float | None]
    update_ratio: Mapped[float | None]
    dead_fraction: Mapped[float | None]
    saturated_fraction: Mapped[float | None]
    layer_gradient_norms: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    by_fold: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    seconds: Mapped[float | None]
    value: Mapped[float | None]
    others: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class GroupRow(Base):
    """How a group is trained, each time alike; ``width`` is NULL until it is known."""

    __tablename__ = "groups"

    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    device: Mapped[str]
    start_epoch: Mapped[int]
    measures: Mapped[bool]
    width: Mapped[int | None]
    created_at: Mapped[datetime]


class SpeedRow(Base):
    """What a step of so many rows took, when last measured; known to all searches."""

    __tablename__ = "speeds"

    kind: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(primary_key=True)
    width: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seconds: Mapped[float]
    bytes: Mapped[int] = mapped_column(BigInteger)
    measured_at: Mapped[datetime]


class DiagnosisRow(Base):
    """A finding about a trial, a stage or the search, with its evidence."""

    __tablename__ = "diagnoses"

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), index=True)
    trial_id: Mapped[int | None] = mapped_column(ForeignKey("trials.id"))
    stage_id: Mapped[int | None] = mapped_column(ForeignKey("stages.id"))
    kind: Mapped[str]
    message: Mapped[str] = mapped_column(Message)
    evidence: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class EventRow(Base):
    """A line of the event log; rows are only ever added."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), index=True)
    kind: Mapped[str]
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
