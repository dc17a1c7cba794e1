"""What is asked of several searches, of the log, and in SQL of one's own.

Called by ``hpsearch.cli.main``.
"""

from __future__ import annotations

import click

from hpsearch.cli.options import db_option, format_option, search_argument
from hpsearch.cli.read import echo, opened
from hpsearch.errors import HpsearchError

LEAST = ("seconds", "pruned", "complete", "state", "search")  # what compare does without first

DIFFER = (
    "These searches have different data, or parts of them (column data): the order says nothing of "
    "which is better on the same examples."
)


@click.command()
@click.argument("searches", nargs=-1, required=True)
@db_option
@format_option
def compare(searches: tuple[str, ...], db: str | None, form: str) -> None:
    """The best trial of each of SEARCHES, the best search first, and what it took to find it.

    They must have the same objective. Behind is how far from the first one a search is, within
    noise whether that may be chance; trained are epochs. Where searches have different data, the
    column data says which: then their values say less of each other.
    """
    frame = opened(db).compare(searches)
    differ = frame["data"].nunique() > 1
    echo(frame if differ or form != "table" else frame.drop(columns="data"), form, least=LEAST)
    if differ:
        click.echo(DIFFER, err=form != "table")


@click.command()
@search_argument
@db_option
@format_option
def events(search: str, db: str | None, form: str) -> None:
    """The log of SEARCH: who carried it out, its stages, its rungs, and what went wrong."""
    frame = opened(db).events(search)
    if form == "table":
        frame = frame[["kind", "data"]].assign(time=frame["created_at"])
        frame["data"] = [", ".join(f"{k}={v}" for k, v in each.items()) for each in frame["data"]]
        frame = frame[["time", "kind", "data"]]
    echo(frame, form, below=("data",))


@click.command()
@click.argument("query")
@db_option
@format_option
def sql(query: str, db: str | None, form: str) -> None:
    """What the SELECT that QUERY is gives; nothing can be changed by it.

    The views best_trials and trial_curves are made for it: docs/analysis.md has their columns.
    """
    from hpsearch.cli.tables import echo_frame

    found = opened(db).sql(query)
    twice = found.columns[found.columns.duplicated()]
    if len(twice) and form != "csv":
        raise HpsearchError(
            f"columns must have names of their own, but {twice[0]!r} comes twice: name one with "
            "AS, or ask for --format csv"
        )
    if form == "table" and not len(found):
        click.echo("Nothing to show.")
    else:
        echo_frame(found, form)


COMMANDS = (compare, events, sql)
