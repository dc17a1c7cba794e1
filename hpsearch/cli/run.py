"""``hpsearch run`` and ``hpsearch resume``: search here and now, with progress, to the end.

Added to the group in ``cli.main``; the work is done by ``hpsearch.api``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import click

from hpsearch.cli.options import (
    db_option,
    on_end_option,
    ray_option,
    search_argument,
    set_option,
    spec_argument,
    webhook_option,
)
from hpsearch.settings import command, database_url

if TYPE_CHECKING:
    from hpsearch.api import Result
    from hpsearch.running import Started

force_option = click.option(
    "--force", is_flag=True, help="Go on although a check of stage check failed."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.command()
@spec_argument
@db_option
@ray_option
@set_option
@click.option("--new", "anew", is_flag=True, help="Search again even if it was done already.")
@force_option
@json_option
@webhook_option
@on_end_option
def run(
    spec: str,
    db: str | None,
    ray: str | None,
    overrides: tuple[str, ...],
    anew: bool,
    force: bool,
    as_json: bool,
    webhook: str | None,
    on_end: str | None,
) -> None:
    """Carry out the search of SPEC, with progress.

    A search of the same name and spec that was stopped is gone on with. Ctrl-C stops it; nothing
    that was reported is lost.
    """
    from hpsearch.api import run as run_search

    carry_out = partial(run_search, spec, db=db, overrides=overrides, anew=anew, force=force)
    _with_progress(carry_out, db, ray, as_json, _teller(db, webhook, on_end))


@click.command()
@search_argument
@db_option
@ray_option
@force_option
@json_option
@webhook_option
@on_end_option
@click.option("--submit", is_flag=True, help="Leave it to the service: see `hpsearch submit`.")
def resume(
    search: str,
    db: str | None,
    ray: str | None,
    force: bool,
    as_json: bool,
    webhook: str | None,
    on_end: str | None,
    submit: bool,
) -> None:
    """Go on with SEARCH from where the database says it is."""
    from hpsearch.api import open_repository
    from hpsearch.api import resume as resume_search

    if submit:
        from hpsearch.storage.queue import Queue
        from hpsearch.storage.searches import check_is_trained_here

        repository = open_repository(db)
        record = repository.find_search(search)
        check_is_trained_here(record)
        Queue(repository.database).submit_again(record.id)
        click.echo(record.id)
        return

    carry_out = partial(resume_search, search, db=db, force=force)
    _with_progress(carry_out, db, ray, as_json, _teller(db, webhook, on_end))


def _teller(db: str | None, webhook: str | None, on_end: str | None) -> Callable[[int], None]:
    """What tells people that the search of an id has ended, if it has."""
    from hpsearch.service.channels import channels

    asked = channels(webhook, on_end)

    def tell(search_id: int) -> None:
        if not asked:
            return
        from hpsearch.api import open_repository
        from hpsearch.service.notifying import tell_now
        from hpsearch.storage.records import ENDED

        try:
            repository = open_repository(db)
            if repository.find_search(search_id).state in ENDED:
                tell_now(repository, search_id, asked, _say)
        except Exception as error:  # how the search ended is what this command ends with
            _say(f"not told: {error}")

    return tell


def _with_progress(
    carry_out: Callable[..., Result],
    db: str | None,
    ray: str | None,
    as_json: bool,
    tell: Callable[[int], None],
) -> None:
    from hpsearch.cli.progress import Progress
    from hpsearch.cli.summary import print_json, print_summary

    with ExitStack() as told:
        with ExitStack() as afterwards, Progress() as progress:
            result = carry_out(
                ray=(os.environ.get("RAY_ADDRESS") or None) if ray is None else ray,
                on_start=partial(_on_start, afterwards, lambda id: told.callback(tell, id), db),
                on_wait=progress.wait,
                observer=progress.observe,
            )
        (print_json if as_json else print_summary)(result, db)


def _on_start(
    afterwards: ExitStack, to_tell: Callable[[int], object], db: str | None, started: Started
) -> None:
    """Announce it; and see that Ray, which takes a second or two to end, does so behind it."""
    if started.search.state != "complete":
        to_tell(started.search.id)
    if started.backend is not None and started.backend.end is not None:
        afterwards.callback(Thread(target=started.backend.end).start)
    _announce(started, db)


def _announce(started: Started, db: str | None) -> None:
    """Say on stderr what begins, and how to get into the dashboard."""
    search, backend = started.search, started.backend
    what = "goes on from its database" if started.resumed else "starts"
    if search.state == "complete":
        what = "is complete already; --new searches again"
    _say(f"search {search.name} (id {search.id}) {what}")
    if started.namesake is not None:
        _say(
            f"its name now means this search; the one before it is {started.namesake}, as in "
            + command(f"best {started.namesake}", database_url(db))
        )
    if backend is not None and backend.dashboard is not None:
        _say(
            f"Ray dashboard while it runs: {backend.dashboard} (it asks for a token, which "
            f"`{_ray_command()} get-auth-token` prints)"
        )


def _ray_command() -> str:
    """``ray``, with its folder if a shell would not find it."""
    return "ray" if shutil.which("ray") else str(Path(sys.executable).with_name("ray"))


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more: no reason not to search
        click.echo(line, err=True)


COMMANDS = (run, resume)
