"""``hpsearch check``: what an experienced person looks at before a search is started.

Added to the group in ``cli.main``; the work is done by ``hpsearch.api.check``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpsearch.cli.options import db_option, set_option, spec_argument
from hpsearch.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpsearch.api import Checked
    from hpsearch.coordinator.costs import StageCost
    from workers.messages import CheckResult

COLOURS = {"pass": "green", "warn": "yellow", "fail": "red", "skip": "dim"}


@click.command()
@spec_argument
@set_option
@db_option
@click.option(
    "--ray",
    metavar="none|processes|local|ADDRESS",
    default="none",
    help="Where to check: in this process (none, the default), in a worker process of this machine "
    "(processes), on Ray here (local), or on a worker of the cluster at ADDRESS.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    help="How to print it.",
)
def check(spec: str, overrides: tuple[str, ...], db: str | None, ray: str, form: str) -> None:
    """Check SPEC before it is searched, and estimate its cost; nothing is stored.

    One configuration of each branch is looked at. The database is only read, if there is one, for
    the trials that a warm start names. The exit code is 1 if a check failed.
    """
    from hpsearch.api import check as check_search
    from hpsearch.coordinator.checking import failed, failure
    from hpsearch.coordinator.costs import stage_costs
    from hpsearch.errors import HpsearchError

    done = check_search(spec, db=db, ray=ray, overrides=overrides)
    costs = stage_costs(done.search, done.results, done.num_workers)
    (_print_json if form == "json" else _print_tables)(done, costs)
    broken = failed(done.results)
    if broken:
        raise HpsearchError(failure(broken))


def _print_tables(done: Checked, costs: Sequence[StageCost]) -> None:
    from rich import box
    from rich.table import Table

    from hpsearch.cli.tables import console
    from hpsearch.coordinator.checking import tally

    table = Table(title=f"{done.search.name}: checks", box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("check", "probe", "verdict", "what was seen"):
        table.add_column(name, overflow="fold")
    for result in done.results:
        table.add_row(*_cells(result))
    console().print(table)
    click.echo(f"{tally(done.results)}\n")
    _print_costs(done, costs)


def _cells(result: CheckResult) -> tuple[str, str, str, str]:
    from rich.markup import escape

    verdict = f"[{COLOURS[result.verdict]}]{result.verdict}[/]"
    probe, text = (escape(one_line(text)) for text in (result.probe or "", result.text))
    return result.name, probe, verdict, text


def _print_costs(done: Checked, costs: Sequence[StageCost]) -> None:
    from dataclasses import asdict

    from pandas import DataFrame

    from hpsearch.cli.tables import print_table
    from hpsearch.coordinator.costs import at_most, duration

    if not costs:
        return
    rows = [{**asdict(row), "time": duration(row.seconds)} for row in costs]
    frame = DataFrame(rows).drop(columns="seconds")
    print_table(frame, f"{done.search.name}: cost", all_with="--format json")
    workers = f"{done.num_workers} worker" + ("s" if done.num_workers > 1 else "")
    total = duration(sum(row.seconds for row in costs))
    about = f"{at_most(done.search)}about {total} on {workers}"
    click.echo(f"{about}, without the extensions that stages may make")


def _print_json(done: Checked, costs: Sequence[StageCost]) -> None:
    import json
    from dataclasses import asdict

    document = {
        "name": done.search.name,
        "workers": done.num_workers,
        "checks": [asdict(result) for result in done.results],
        "cost": [asdict(row) for row in costs],
        "seconds": sum(row.seconds for row in costs) if costs else None,
    }
    click.echo(json.dumps(document, indent=1))


COMMANDS = (check,)
