"""Frames: what is stored of searches, as pandas DataFrames.

``hpsearch.connect`` gives one to notebooks; the CLI prints the same frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
from sqlalchemy import ColumnElement, Connection

from hpsearch.analysis.best_of_n import best_of_n
from hpsearch.analysis.collection import no_collection
from hpsearch.analysis.columns import to_frame, trials_frame
from hpsearch.analysis.comparison import compared
from hpsearch.analysis.curve_frames import curves_frame, stored_columns, wanted_columns
from hpsearch.analysis.layout import DIAGNOSES, EVENTS, SEARCHES, STAGES, STATUS, WIDTHS
from hpsearch.analysis.ranking import best_frame
from hpsearch.analysis.rows import search_row, stage_rows
from hpsearch.given import search_refs, whole
from hpsearch.storage import queries, trials
from hpsearch.storage.curves import MOST_ROWS, read_curves
from hpsearch.storage.filters import Filter, Names, chosen_by, telling_of
from hpsearch.storage.records import SearchRecord
from hpsearch.storage.repository import Repository

SearchRef = str | int  # a name or an id, as in Repository.find_search


class Frames:
    """The tables of a database. A search is given by its id, or by name: the newest of that name.

    The columns and dtypes of a frame do not depend on how many rows it has. StorageError is raised
    for a search that does not exist and for a database that cannot be read.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    def best(
        self,
        search: SearchRef,
        n: int = 10,
        *,
        stage: Names | None = None,
        where: str | None = None,
    ) -> pd.DataFrame:
        """The ``n`` best complete trials, best first, ties by number; the filters of trials.

        Trials that were repeated with other seeds come first: they are ``confirmed`` and rank by
        the ``mean`` over the repeats, which are no rows of their own, with their ``spread`` and
        ``n``. The others rank by their value, which with folds is a mean too. ``within_noise`` are
        those that chance may have put behind the best. A trial that another one continues is left
        out, and so is one whose value is NaN.
        """
        most, given = whole("n", n, least=0), Filter(stage=stage, where=where)
        record = self.repository.find_search(search)
        with self._chosen(record, given) as (connection, chosen):
            return best_frame(connection, record, chosen, most)

    def trials(
        self,
        search: SearchRef,
        *,
        state: Names | None = None,
        stage: Names | None = None,
        where: str | None = None,
    ) -> pd.DataFrame:
        """One row a trial, by number, with a column for each parameter by its own name.

        ``state`` and ``stage`` are names or lists of names; ``where`` is a condition in SQL over
        the columns of this frame. The database tests all three.
        """
        given = Filter(state=state, stage=stage, where=where)
        record = self.repository.find_search(search)
        with no_collection(), self._chosen(record, given) as (connection, chosen):
            rows = queries.trials(connection, chosen)
            return trials_frame(record.spec.space, rows, [row.params for row in rows])

    def iter_trials(
        self,
        search: SearchRef,
        chunksize: int = 100_000,
        *,
        state: Names | None = None,
        stage: Names | None = None,
        where: str | None = None,
    ) -> Iterator[pd.DataFrame]:
        """:meth:`trials` in pieces of ``chunksize`` rows, for what does not fit into memory.

        What is wrong with an argument is told at the call, before the first piece is read.
        """
        size = whole("chunksize", chunksize, least=1)
        given = Filter(state=state, stage=stage, where=where)
        record = self.repository.find_search(search)
        self._check(record, given)
        return self._pieces_of_trials(record, given, size)

    def curves(
        self,
        search: SearchRef,
        *,
        columns: Names | None = None,
        state: Names | None = None,
        stage: Names | None = None,
        where: str | None = None,
    ) -> pd.DataFrame:
        """One row per trial and epoch: the metrics, the user's own last, and the epoch's seconds.

        What training did not report is NaN; what it reports of each layer or fold is a list, or
        None. A trial that continues another one has the epochs of that one too, under its own id.
        Of the metrics only ``columns`` are read, if they are given; the filters are those of
        :meth:`trials`, and choose trials.
        """
        pieces = list(
            self.iter_curves(search, columns=columns, state=state, stage=stage, where=where)
        )
        return pieces[0] if len(pieces) == 1 else pd.concat(pieces, ignore_index=True)

    def iter_curves(
        self,
        search: SearchRef,
        chunksize: int = MOST_ROWS,
        *,
        columns: Names | None = None,
        state: Names | None = None,
        stage: Names | None = None,
        where: str | None = None,
    ) -> Iterator[pd.DataFrame]:
        """:meth:`curves` in pieces of whole trials, of at most ``chunksize`` rows where that goes.

        There is at least one piece. As :meth:`iter_trials` it tells at the call what is wrong.
        """
        size = whole("chunksize", chunksize, least=1)
        given = Filter(state=state, stage=stage, where=where)
        record = self.repository.find_search(search)
        wanted = wanted_columns(record.spec, columns)
        self._check(record, given)
        return self._pieces_of_curves(record, given, wanted, size)

    def stages(self, search: SearchRef) -> pd.DataFrame:
        """One row per stage, branch and parameter: its range, and why it is so.

        What was decided about a branch as a whole has a row without parameter. ``pruner`` is the
        name of the stage's, NA where it has none.
        """
        record = self.repository.find_search(search)
        with self.repository.database.read() as connection:
            opened = trials.stages(connection, record.id)
        rows = [
            (*row, None if pruner is None else pruner.name)
            for stage in opened
            for pruner in [record.spec.stages[stage.planned].pruner]
            for row in stage_rows(stage)
        ]
        return to_frame(rows, STAGES)

    def status(self, search: SearchRef) -> pd.DataFrame:
        """One row a stage that was opened: its trials by state, and its best value.

        ``epochs`` is what each trial is to be trained, ``trained`` what all were so far.
        A stage that has not ended is stopped while nobody carries the search out.
        """
        record = self.repository.find_search(search)
        with self.repository.database.read() as connection:
            rows = queries.status(connection, record.id, record.spec.objective.mode)
        frame = to_frame(rows, STATUS)
        if record.state == "running":
            return frame
        return frame.assign(state=frame["state"].cat.rename_categories({"running": "stopped"}))

    def diagnoses(self, search: SearchRef) -> pd.DataFrame:
        """One row a finding, with the number of the trial that it is about, and its id.

        Both are NA where it is about a stage, and the stage too where it is about the search.
        """
        record = self.repository.find_search(search)
        with self.repository.database.read() as connection:
            rows = queries.diagnoses(connection, record.id)
        return to_frame(rows, DIAGNOSES)

    def importance(self, search: SearchRef) -> pd.DataFrame:
        """One row a parameter, those beyond chance first: its share of the importance of all.

        PED-ANOVA: how far the best trials, a tenth of them or at least 20, lie from where all lie,
        along it alone; the shares add up to 1. ``chance`` is what 95 of 100 shuffles of its values
        among the trials do not exceed, on the same scale, ``beyond_chance`` whether the share does.
        ``n`` trials had it; ``merged`` more repeat one of these or go on with it. Where nothing can
        be told the share is NA, and ``note`` says why: fewer than 20 trials had it, or all of them
        with the same value.
        """
        from hpsearch.analysis.importance import importance_frame  # it needs SciPy

        record = self.repository.find_search(search)
        return importance_frame(record, *self.repository.load(record.id))

    def events(self, search: SearchRef) -> pd.DataFrame:
        """The log of a search, oldest first: who owned it, stages, rungs, failures, and when."""
        record = self.repository.find_search(search)
        with self.repository.database.read() as connection:
            return to_frame(queries.events(connection, record.id), EVENTS)

    def compare(self, searches: Sequence[SearchRef]) -> pd.DataFrame:
        """One row a search, best first: its best trial, how far behind it is, and what was spent.

        ``mean``, ``spread``, ``n`` and ``confirmed`` are those of the best trial, ``behind`` its
        distance from the first row, and ``within_noise`` whether that may be chance. ``data`` is
        the source of the examples with the start of their fingerprint: where it differs, values do
        not compare. Raises HpsearchError for searches that do not rank by the same objective.
        """
        refs = search_refs("compare", searches)
        return compared(self.repository, [self.repository.find_search(each) for each in refs])

    def best_of_n(self, search: SearchRef, stage: str | None = None) -> pd.DataFrame:
        """The best of n trials that one may expect, by n: would more trials have paid?

        Of the trials that were drawn anew in one stage, by default the first that searches, which
        all came from the same ranges. ``expected`` is the mean of a bootstrap, ``low`` and ``high``
        its quantiles 0.05 and 0.95; ``gain`` is by how much n trials are better than half of them.
        """
        record = self.repository.find_search(search)
        first = next((s.name for s in record.spec.stages if s.kind == "search"), None)
        given = Filter(stage=first if stage is None else stage)
        with self._chosen(record, given) as (connection, chosen):
            values = queries.drawn(connection, chosen)
        return best_of_n(values, record.spec.objective.mode)

    def searches(self) -> pd.DataFrame:
        """One row a search, oldest first; ``best`` is the mean that :meth:`best` has first."""
        with self.repository.database.read() as connection:
            rows = queries.searches(connection)
        return to_frame([search_row(row) for row in rows], SEARCHES)

    def sql(self, query: str) -> pd.DataFrame:
        """What a SELECT of your own gives; docs/analysis.md has the views and tables.

        Nothing can be changed by it. Raises StorageError for one that the database refuses.
        """
        names, rows = self.repository.database.query(query)
        return pd.DataFrame(rows, columns=names)

    def widths(self) -> pd.DataFrame:
        """One row per kind of group, device and width that was measured, in any search.

        ``seconds`` is what a step of ``width`` rows together took, ``bytes`` the memory beyond the
        rows' own; the ``best`` width of a kind on a device has the least ``seconds_per_row``. Where
        a group of so many rows found no memory, there are no seconds.
        """
        with self.repository.database.read() as connection:
            return to_frame(queries.widths(connection), WIDTHS)

    @contextmanager
    def _chosen(
        self, record: SearchRecord, given: Filter
    ) -> Iterator[tuple[Connection, ColumnElement[bool]]]:
        """A connection, and the condition for the trials that are asked for."""
        with self.repository.database.read_only() as connection, telling_of(record, given):
            yield connection, chosen_by(connection, record, given)

    def _check(self, record: SearchRecord, given: Filter) -> None:
        """Raises HpsearchError for filters that choosing would refuse."""
        with self._chosen(record, given):
            pass

    def _pieces_of_trials(
        self, record: SearchRecord, given: Filter, size: int
    ) -> Iterator[pd.DataFrame]:
        with self._chosen(record, given) as (connection, chosen):
            last = -1
            while rows := queries.trials(connection, chosen, last, size):
                yield trials_frame(record.spec.space, rows, [row.params for row in rows])
                last = rows[-1].number

    def _pieces_of_curves(
        self, record: SearchRecord, given: Filter, wanted: Sequence[str], size: int
    ) -> Iterator[pd.DataFrame]:
        stored = stored_columns(record.spec, wanted)
        with self._chosen(record, given) as (connection, chosen):
            pieces = read_curves(connection, chosen, stored, size)
            while True:
                with no_collection():  # of the lists in it
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield curves_frame(record.spec, piece, wanted)
