"""What stands on top: the state of the search, its result in a few numbers, and what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from hpsearch.report.section import Part, Section, Table, Text
from hpsearch.report.values import words
from hpsearch.report.winner import winner
from hpsearch.settings import command
from hpsearch.storage.failures import headline
from hpsearch.storage.records import ENDED, FINISHED

if TYPE_CHECKING:
    from hpsearch.report.reading import Reading

STATES = ("complete", "pruned", "running", "waiting", "failed")
HAS_ENDED = {"complete": "is complete", "failed": "has failed"}
MOST_KINDS = 20


def overview(reading: Reading) -> Section:
    """The state in a sentence, the winner in another, and the failures by kind."""
    parts: list[Part] = [Text(state(reading)), Text(result(reading))]
    failed = failures(reading)
    if len(failed):
        parts += [Text("What failed, by kind, each with the first message:"), Table(failed)]
    return Section(key="overview", title="In short", parts=tuple(parts))


def state(reading: Reading) -> str:
    """Whether it has ended, and what the report has of it."""
    record, trials = reading.record, reading.trials
    counted = trials["state"].astype(str).value_counts()
    counts = ", ".join(f"{counted[name]} {name}" for name in STATES if name in counted)
    epochs = int(trials["own_epochs"].sum())
    has = f"{len(trials):,} trials ({counts}) in {epochs:,} epochs" if len(trials) else "no trial"
    said = f" ({record.message})" if record.message else ""
    if record.state in HAS_ENDED:
        return f"The search {HAS_ENDED[record.state]}{said}: {has}."
    again = command(f"report {record.id}", reading.frames.repository.database.url)
    return (
        f"The search is {record.state}{said} and so far has {has}. This report is of what was "
        f"stored when it was written; {again} writes it anew."
    )


def result(reading: Reading) -> str:
    """The value and the parameters of the trial to take."""
    number = winner(reading)
    if number is None:
        return _nothing(reading)
    row = reading.best.iloc[0]
    params = row[list(reading.record.spec.space.parameters)].dropna()
    chosen = ", ".join(f"{name} {words(value)}" for name, value in params.items())
    over = f" over {row['n']} other seeds" if row["confirmed"] else ""
    value = f"{reading.metric} {row['mean']:.5g}{over}"
    so_far = "" if reading.record.state in ENDED else _so_far(reading)
    return f"The trial to take{so_far} is number {number}, with {value}: {chosen}."


def _so_far(reading: Reading) -> str:
    trials = reading.trials
    ended = int(trials["state"].astype(str).isin(FINISHED).sum())
    return f" so far, with {ended:,} of {len(trials):,} trials ended,"


def failures(reading: Reading) -> pd.DataFrame:
    """One row a kind of failure: how many trials, and what the first says."""
    failed = reading.trials[reading.trials["state"].astype(str) == "failed"]
    failed = failed.assign(kind=failed["failure_kind"].astype("string").fillna("error"))
    rows = [
        (str(kind).replace("_", " "), len(own), _first(own["failure_message"]))
        for kind, own in failed.groupby("kind", sort=False)
    ]
    return pd.DataFrame(rows[:MOST_KINDS], columns=["kind", "trials", "first message"])


def _first(messages: pd.Series[str]) -> str:
    """What the first message says; of a traceback the line that names the error."""
    told = [message for message in messages.dropna() if message.strip()]
    return headline(told[0]) if told else ""


def _nothing(reading: Reading) -> str:
    trials = reading.trials
    if trials.empty:
        return "No trial was begun: there is nothing to compare yet."
    if (trials["state"].astype(str) == "failed").all():
        return "All trials failed; the messages below say how."
    return "No trial is complete with a value, so there is no winner yet."
