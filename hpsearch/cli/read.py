"""Commands that read the database and print a table: list, status, best, trials, widths, ...

Each is the pandas frame of the same name in ``hpsearch.connect()``; diagnose sums its frame up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from hpsearch.cli.options import db_option, format_option, search_argument

if TYPE_CHECKING:
    from pandas import DataFrame

    from hpsearch.analysis.frames import Frames

# Left out of tables on the screen, which they would only widen; CSV and JSON have them.
_DETAILS = {
    *(
        "trial",
        "replicate",
        "seed",
        "parent",
        "failure_message",
        "worker",
        "created_at",
        "finished_at",
    ),
    *("host", "user", "git_commit", "hpsearch_version"),
}
# What a screen too narrow for all does without first.
_LEAST = {
    "trials": ("seconds", "epochs", "best_epoch", "spread", "failure_kind", "stage"),
    "stages": ("kind", "sampler", "pruner", "epochs", "trials", "action"),
    "status": ("pruned", "kind", "epochs", "waiting", "trained", "state"),
    "searches": ("mode", "created_at", "finished_at", "seed", "failed", "pruned", "complete"),
    "widths": ("measured_at", "MB", "µs a step"),
}


def opened(url: str | None) -> Frames:
    from hpsearch.api import connect

    return connect(url)


def echo(
    frame: DataFrame,
    form: str,
    title: str | None = None,
    *,
    least: Sequence[str] = (),
    below: Sequence[str] = (),
) -> None:
    from hpsearch.cli.tables import echo_frame

    if form == "table":
        frame = frame.drop(columns=[name for name in _DETAILS if name in frame.columns])
        frame = frame.dropna(axis="columns", how="all") if len(frame) else frame
    if form == "table" and frame.empty:
        click.echo("Nothing to show.")
    else:
        echo_frame(frame, form, title, least=least, below=below)


def _echo_trials(frame: DataFrame, form: str) -> None:
    """A table of trials has no branch, which repeats their choices, and no state all share."""
    if form == "table":
        said = ["branch"] + ["state"] * bool((frame["state"] == "complete").all())
        frame = frame.drop(columns=said)
    echo(frame, form, least=_LEAST["trials"])


def _echo_forgotten(number: int, form: str) -> None:
    if form == "table":
        click.echo(f"forgot {number} measurements; what is trained next measures again")
        return
    from pandas import DataFrame

    echo(DataFrame({"forgotten": [number]}), form)


@click.command("list")
@db_option
@format_option
def list_searches(db: str | None, form: str) -> None:
    """All searches of the database."""
    echo(opened(db).searches(), form, least=_LEAST["searches"])


@click.command()
@search_argument
@db_option
@format_option
def status(search: str, db: str | None, form: str) -> None:
    """How far SEARCH is: its trials by stage and state."""
    from hpsearch.cli import outcome

    frames = opened(db)
    found = frames.repository.find_search(search)
    title = outcome.standing(found)
    frame = frames.status(found.id)
    if form == "table" and frame.empty:
        click.echo(outcome.not_begun(frames, found))
    else:
        echo(frame, form, title, least=_LEAST["status"])
    if form == "table" and found.state == "complete" and not frame["complete"].sum():
        click.echo(outcome.why_nothing(frames, found.id))


@click.command()
@search_argument
@click.option("-n", type=click.IntRange(0, 10**6), default=10, show_default=True, help="How many.")
@db_option
@format_option
def best(search: str, n: int, db: str | None, form: str) -> None:
    """The best trials of SEARCH.

    Those that a confirm stage repeated come first, by the mean over their other seeds. Within noise
    are those that chance may have put behind the best. The table leaves out what says nothing.
    """
    from hpsearch.analysis.repeats import telling
    from hpsearch.cli.outcome import no_best, so_far

    frames = opened(db)
    record = frames.repository.find_search(search)
    found = frames.best(record.id, n=n)
    if form == "table" and found.empty and n:
        click.echo(no_best(frames, record))
    elif form == "table":
        _echo_trials(telling(found), form)
        if (told := so_far(frames, record)) is not None:
            click.echo(told)
    else:
        _echo_trials(found, form)


@click.command()
@search_argument
@db_option
@format_option
def trials(search: str, db: str | None, form: str) -> None:
    """All trials of SEARCH, with the kind and text of each failure in csv and json."""
    _echo_trials(opened(db).trials(search), form)


@click.command()
@search_argument
@click.option(
    "-n", type=click.IntRange(1, 10**6), default=20, show_default=True, help="Curves in a table."
)
@click.option("--metric", metavar="NAME", help="Draw this metric, not the objective.")
@db_option
@format_option
def curves(search: str, n: int, metric: str | None, db: str | None, form: str) -> None:
    """Learning curves of the best trials of SEARCH, a line each; csv and json have all epochs."""
    frames = opened(db)
    record = frames.repository.find_search(search)
    if form != "table":
        echo(frames.curves(record.id), form)
        return
    from hpsearch.cli.sparklines import best_or_begun, metric_column, sparklines

    best = best_or_begun(frames, record, n)
    numbers = ", ".join(map(str, best["number"])) or "-1"  # which no trial has
    found = frames.curves(record.id, where=f"number IN ({numbers})")
    column, is_max = metric_column(found, record.spec.objective, metric)
    lines = sparklines(best, found, column, is_max=is_max)
    echo(lines, form, f"{record.name}: {metric or record.spec.objective.metric} by epoch")


@click.command()
@search_argument
@db_option
@format_option
def stages(search: str, db: str | None, form: str) -> None:
    """The ranges that SEARCH went through, with the reasons."""
    frame = opened(db).stages(search)
    echo(frame, form, least=_LEAST["stages"], below=("choices", "reason"))


@click.command()
@search_argument
@db_option
@format_option
def importance(search: str, db: str | None, form: str) -> None:
    """Which parameters of SEARCH matter: how far its best trials lie from where all lie.

    By PED-ANOVA, along each parameter alone, in shares that add up to 1. Of a trial counts its
    place among those of its stage. Chance is what 95 of 100 shuffles of the parameter's values do
    not exceed: a share within it says nothing. n trials had the parameter, and merged are those
    that repeat one of them or go on with it. The note says why there is nothing to tell.
    """
    echo(opened(db).importance(search), form, below=("note",))


@click.command()
@search_argument
@click.option("--trial", "number", type=int, help="The findings about the trial of this number.")
@db_option
@format_option
def diagnose(search: str, number: int | None, db: str | None, form: str) -> None:
    """What a person should know before believing SEARCH, and what is wrong with its trials.

    The table has a line for each kind of finding, with the best trial that shows it; csv and json
    have every finding about every trial. Before SEARCH has ended, they are of the trials so far;
    with --trial, of one that still runs too.
    """
    frames = opened(db)
    if number is None:
        _diagnose_search(frames, search, form)
    else:
        _diagnose_trial(frames, search, number, form)


def _diagnose_search(frames: Frames, search: str, form: str) -> None:
    from hpsearch.analysis.diagnosis import tables
    from hpsearch.cli.outcome import no_finding_of_search

    found = tables.findings(frames, search)
    if form != "table":
        echo(found, form)
    elif found.empty:
        click.echo(no_finding_of_search(frames, frames.repository.find_search(search)))
    else:
        echo(tables.summary(frames, search, found), form)


def _diagnose_trial(frames: Frames, search: str, number: int, form: str) -> None:
    from hpsearch.analysis.diagnosis import one_trial
    from hpsearch.cli.outcome import no_finding_of_trial

    record, trial = one_trial.find(frames, search, number)
    found = one_trial.findings(frames, record, trial)
    if form == "table" and found.empty:
        click.echo(no_finding_of_trial(record, trial))
    else:
        echo(found, form)


@click.command()
@db_option
@format_option
@click.option("--forget", is_flag=True, help="Forget what was measured, of all kinds and devices.")
def widths(db: str | None, form: str, forget: bool) -> None:
    """How long a step of several rows at once took, by kind of trial and by device.

    Measured in the first steps of the first trials of a kind; the best width, with the least
    time a row, is what later searches of the database train it with. MB is the memory beyond the
    rows' own, 0 where none could be told. In csv and json all is in seconds and bytes. "no
    memory" stands where a group of so many rows found none: groups of the kind have fewer now,
    until --forget has all be measured again.
    """
    from hpsearch.cli.widths import widths_shown

    frames = opened(db)
    if forget:
        _echo_forgotten(frames.repository.forget_speeds(), form)
        return
    frame = frames.widths()
    if form != "table" or frame.empty:
        echo(frame, form)
        return
    for (kind, device), rows in frame.groupby(["kind", "device"], sort=False):
        rows = widths_shown(rows).drop(columns=["kind", "device"])
        echo(rows, form, f"{kind}, on {device}", least=_LEAST["widths"])


COMMANDS = (
    list_searches,
    status,
    best,
    trials,
    curves,
    stages,
    importance,
    diagnose,
    widths,
)
