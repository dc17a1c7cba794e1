"""``hpsearch submit``, ``serve``, ``cancel``: searches that the service carries out on a cluster.

Added to the group in ``cli.main``; the work is done by ``hpsearch.storage.queue`` and
``hpsearch.service``.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from hpsearch.cli.options import (
    address_option,
    db_option,
    on_end_option,
    search_argument,
    set_option,
    spec_argument,
    webhook_option,
)
from hpsearch.errors import HpsearchError
from hpsearch.settings import DATABASE_VARIABLE, MOST_SEARCHES

if TYPE_CHECKING:
    from hpsearch.storage.queue import Queue
    from hpsearch.storage.records import SearchRecord

priority_option = click.option(
    "--priority",
    type=click.IntRange(-10, 10),
    default=0,
    show_default=True,
    help="Higher goes first, and has twice the workers for each step up.",
)


@click.command()
@spec_argument
@db_option
@set_option
@priority_option
def submit(spec: str, db: str | None, overrides: tuple[str, ...], priority: int) -> None:
    """Store the search of SPEC for the service, and print its id.

    It is begun once `hpsearch serve` runs on the same database and there is a free worker. The
    paths in SPEC are those of the cluster. A model or data of your own travel with it: all files of
    the folder that they are in.
    """
    from hpsearch.own_code import packed
    from hpsearch.settings import database_url
    from hpsearch.spec import load
    from hpsearch.storage.database import Database
    from hpsearch.storage.provenance import Provenance
    from hpsearch.storage.queue import Queue

    search = load(spec, overrides)
    code = packed(search)
    queue = Queue(Database(database_url(db)))
    _echo_id(queue.submit(search, Provenance.collect(), priority, code))


def _echo_id(record: SearchRecord) -> None:
    """Print the id of a search that is stored, whatever becomes of the printing."""
    try:
        click.echo(record.id)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HpsearchError(
            f"the id of search {record.name} must be printed, but that fails ({error.strerror}); "
            f"the search is submitted, its id is {record.id}"
        ) from error


@click.command()
@db_option
@address_option
@click.option(
    "--searches",
    type=click.IntRange(1, 1000),
    default=MOST_SEARCHES,
    show_default=True,
    help="How many searches run side by side at most.",
)
@webhook_option
@on_end_option
def serve(
    db: str | None, address: str, searches: int, webhook: str | None, on_end: str | None
) -> None:
    """Carry out what is submitted, each search as a job of the Ray cluster, until stopped.

    Several may run on one database; one goes on with what another that died has left. Searches
    that run outlive this command.
    """
    from hpsearch.cli.logs import log_to_stderr
    from hpsearch.service.channels import channels
    from hpsearch.service.serving import serve as serve_searches

    log_to_stderr()
    serve_searches(db, address, searches, channels(webhook, on_end))


@click.command()
@search_argument
@db_option
def cancel(search: str, db: str | None) -> None:
    """End SEARCH: what was reported stays, what is training ends within seconds.

    `hpsearch resume --submit` has the service go on with it, `hpsearch resume` this machine.
    """
    queue, record = _found(search, db)
    said = queue.cancel(record.id)
    what = "is cancelled" if said == "cancelled" else "will end within seconds"
    click.echo(f"search {record.name} (id {record.id}) {what}")


@click.command("retry-failed")
@search_argument
@db_option
def retry_failed(search: str, db: str | None) -> None:
    """Let the failed trials of SEARCH wait again, but for those that diverged.

    `hpsearch resume --submit` has the service train them, `hpsearch resume` this machine.
    """
    from hpsearch.settings import command, database_url
    from hpsearch.storage.searches import check_is_trained_here

    queue, record = _found(search, db)
    check_is_trained_here(record)
    count = queue.retry_failed(record.id)
    if not count:
        click.echo(
            f"search {record.name} (id {record.id}) has no failed trial to try again: those that "
            "diverged would do so again"
        )
        return
    click.echo(
        f"{count} trials of search {record.name} (id {record.id}) wait again: train them with "
        f"{command(f'resume {record.id}', database_url(db))}, or add --submit and leave it to the "
        "service"
    )


@click.command()
@search_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@db_option
def delete(search: str, yes: bool, db: str | None) -> None:
    """Delete SEARCH, with all its results and checkpoints."""
    import shutil

    from hpsearch.coordinator.resources import checkpoint_folder
    from hpsearch.settings import checkpoint_root, database_url

    queue, record = _found(search, db)
    what = f"search {record.name} (id {record.id}, {record.state}) with all its results"
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise click.UsageError(
                "delete asks first, and there is no terminal to ask at: give --yes to delete "
                f"{what}"
            )
        click.confirm(f"Delete {what} and checkpoints?", abort=True)
    queue.delete(record.id)
    shutil.rmtree(checkpoint_folder(checkpoint_root(database_url(db)), record), ignore_errors=True)
    click.echo(f"deleted {what}")


@click.command("carry-out", hidden=True)
@click.argument("search_id", type=click.IntRange(0, 2**31 - 1))  # what a database's columns hold
@click.argument("token", type=click.IntRange(0, 2**62))
@db_option
def carry_out(search_id: int, token: int, db: str | None) -> None:
    """What a job of the service does."""
    from hpsearch.cli.logs import log_to_stderr
    from hpsearch.errors import Cancelled
    from hpsearch.service.carrying import LOG
    from hpsearch.service.carrying import carry_out as carry_out_search
    from hpsearch.storage.errors import LeaseLost

    log_to_stderr()
    if db is None and DATABASE_VARIABLE not in os.environ:
        raise HpsearchError(
            f"a job must be told its database, but its machine has no {DATABASE_VARIABLE}, and one "
            "with a password is sent to no cluster: set it where the head of the cluster is started"
        )
    try:
        carry_out_search(search_id, token, db)
    except (Cancelled, LeaseLost) as ended:  # the latter: another job has it; nothing went wrong
        LOG.info("%s", ended)


def _found(search: str, db: str | None) -> tuple[Queue, SearchRecord]:
    """The search, and the queue of its database."""
    from hpsearch.api import open_repository
    from hpsearch.storage.queue import Queue

    repository = open_repository(db)
    return Queue(repository.database), repository.find_search(search)


COMMANDS = (submit, serve, cancel, retry_failed, delete, carry_out)
