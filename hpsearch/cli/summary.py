"""What a finished search says: its best trials, the ranges and why, warnings, and how to read on.

Called at the end of ``hpsearch run`` and ``hpsearch resume``; all of it is read from the database.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from hpsearch.cli import outcome
from hpsearch.cli.tables import cell, print_table
from hpsearch.cli.widths import is_auto, width_lines, widths_known
from hpsearch.errors import HpsearchError
from hpsearch.plain_text import one_line
from hpsearch.settings import DEFAULT_DATABASE, command, database_url
from hpsearch.spec.reason import TOLD

if TYPE_CHECKING:
    from pandas import DataFrame

    from hpsearch.api import Result
    from hpsearch.storage.records import TrialRecord

SHOWN = ("number", "stage", "value", "mean", "spread", "n", "best_epoch", "epochs")
LEAST = ("epochs", "best_epoch", "stage")  # of SHOWN, what a narrow screen does without first
BEST_KNOWN = "The fastest numbers of rows at once, by all that this database has measured"
FIXED = "How many rows were trained at once"


def print_summary(result: Result, db: str | None) -> None:
    """The result for a person, on stdout."""
    found = result.db.best(result.id, n=10)
    if found.empty:
        raise HpsearchError(outcome.why_nothing(result.db, result.id))
    alone = () if found["n"].gt(1).any() else ("mean", "spread", "n")
    columns = [
        name
        for name in (*SHOWN, *result.parameters)
        if name not in alone and found[name].notna().any()
    ]
    title = f"{result.name}: the best trials"
    all_with = command(f"best {result.id} --format csv", database_url(db))
    print_table(found[columns], title, least=LEAST, all_with=all_with)
    _say(outcome.line(_trials(result)))
    _say()
    if message := result.db.repository.find_search(result.id).message:
        _say(f"It ended early: {message}.")
        _say()
    chosen = _print_repeats(result)
    _print_reasons(result.db.stages(result.id))
    _print_findings(result, int(found["number"].iloc[0]) if chosen is None else chosen, db)
    _print_widths(result)
    _print_where(result, db)


def print_json(result: Result, db: str | None) -> None:
    """The result for a program, on stdout; HpsearchError after it if there is none to take."""
    from hpsearch.analysis.diagnosis import tables
    from hpsearch.storage.urls import masked_url

    best = json.loads(result.db.best(result.id).to_json(orient="records", date_format="iso"))
    found, trials = tables.findings(result.db, result.id), _trials(result)
    trained, in_all = outcome.epochs(trials)
    document = {
        "search": result.id,
        "name": result.name,
        "database": masked_url(database_url(db)),
        "trials": outcome.by_state(trials),
        "epochs": {"trained": trained, "in_all": in_all},
        "best": best,
        "warnings": list(found.loc[found["number"].isna(), "message"]),
        "findings": tables.counts(found),
        "widths": widths_known(result),
    }
    click.echo(json.dumps(document, indent=1))
    if not best:
        raise HpsearchError(outcome.why_nothing(result.db, result.id))


def _trials(result: Result) -> list[TrialRecord]:
    return result.db.repository.load(result.id)[1]


def _print_findings(result: Result, chosen: int, db: str | None) -> None:
    """What is said of the search and of the trial to take; of the others, how many have what."""
    from hpsearch.analysis.diagnosis import tables

    found = tables.findings(result.db, result.id)
    general = found[found["number"].isna()]
    for kind, message in zip(general["kind"], general["message"], strict=True):
        _say(f"{'Note' if kind in tables.NOTES else 'Warning'}: {message}")
    mine = found[found["number"] == chosen]
    for kind, message in zip(mine["kind"], mine["message"], strict=True):
        _say(f"Number {chosen}: {tables.words(kind)}: {message}")
    total = tables.num_diagnosed(result.db, result.id)
    counted = [f"{tables.words(kind)}: {n}" for kind, n in tables.counts(found).items()]
    if counted:
        of_which = f"Of {total} trials, those that are complete or failed as diverged: "
        more = command(f"diagnose {result.id}", database_url(db))
        _say(f"{of_which}{', '.join(counted)} ({more})")


def _print_repeats(result: Result) -> int | None:
    """Mean and spread over the seeds of a confirm stage, best first; the number to take from it."""
    from hpsearch.analysis.repeats import over_seeds

    trials = result.db.trials(result.id)
    found = over_seeds(trials, is_max=result.mode == "max")
    if found.empty:
        return None
    for row in found.itertuples():
        size = int(str(row.size))
        about = f" ± {row.std:.4f} (a standard deviation; from {row.min:.4f} to {row.max:.4f})"
        seeds = f"number {row.number} with {size} other seed{'s' * (size > 1)}"
        _say(f"{seeds}: {row.mean:.4f}{about * (size > 1)}")
    number = int(found["number"].iloc[0])
    best = trials.set_index("number").loc[number, list(result.parameters)].dropna()
    chosen = ", ".join(f"{name}={cell(value)}" for name, value in best.items())
    _say(f"Best over seeds: number {number}: {chosen}")
    return number


def _print_reasons(stages: DataFrame) -> None:
    decides = stages["action"].fillna("").str.contains("|".join(TOLD))  # may name several
    decided = stages[decides].drop_duplicates(["stage", "reason"])
    _say()
    _say("The ranges that it went through:" if len(decided) else "No range was changed.")
    for stage, reason in zip(decided["stage"], decided["reason"], strict=True):
        _say(f"  {stage}: {reason}")


def _print_widths(result: Result) -> None:
    spec = result.db.repository.find_search(result.id).spec
    lines = width_lines(result) if spec.trainable is None else []
    if lines:
        _say()
        _say(f"{BEST_KNOWN if is_auto(result) else FIXED}:")
    for line in lines:
        _say(f"  {line}")


def _say(line: str = "") -> None:
    """A line on stdout, whatever is in the words of others."""
    click.echo(one_line(line))


def _print_where(result: Result, db: str | None) -> None:
    from hpsearch.storage.urls import masked_url

    url = masked_url(database_url(db))
    argument = "" if url == DEFAULT_DATABASE else repr(url)
    _say()
    _say(f"Database: {url}, search {result.id}")
    newest = result.db.repository.find_search(result.name).id == result.id
    search = repr(result.name) if newest else result.id
    _say(f"In pandas: hpsearch.connect({argument}).trials({search})")
