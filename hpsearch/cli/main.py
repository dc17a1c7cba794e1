"""``hpsearch``: the group of all commands, and what becomes of an error.

The console script of the distribution.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Any

import click

from hpsearch import __version__
from hpsearch.cli import (
    ask,
    check,
    cluster,
    database,
    export,
    plan,
    read,
    report,
    run,
    service,
    watch,
)
from hpsearch.cli.interrupted import INTERRUPTED
from hpsearch.errors import HpsearchError, Stopped

GARBAGE = 100_000  # objects between two looks for cycles; at Python's 700 imports take 0.2 s more


class _Group(click.Group):
    """Commands in the order in which a person meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Group)
@click.version_option(__version__, prog_name="hpsearch")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Hyperparameter search, coarse to fine, many trials trained as one stacked model.

    SPEC is a YAML file, or the name of a packaged search space such as digits. SEARCH is the name
    of a search (the newest of that name) or its id. The database is --db, else
    HPSEARCH_DATABASE_URL, else sqlite:///hpsearch.db in the working folder.
    """
    _check_folder()


def _check_folder() -> None:
    """Refuse a working folder that is gone: paths mean nothing there, and libraries end at once."""
    try:
        os.getcwd()
    except OSError as error:
        raise HpsearchError(
            f"the working folder must be there, but it was deleted or cannot be entered "
            f"({error.strerror}): change to another one with cd"
        ) from error


for family in (run, check, plan, read, ask, report, watch, export, service, cluster, database):
    for command in family.COMMANDS:
        cli.add_command(command)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and exit: 0, 1 for an error, 2 for wrong usage, 130 if stopped."""
    arguments = sys.argv[1:] if arguments is None else arguments
    gc.set_threshold(GARBAGE)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _check_text(arguments)
        cli.main(args=arguments, prog_name="hpsearch", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe, `head` say, has had enough
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        _show(_unprinted(error), "--debug" in arguments)
        sys.exit(1)
    except Exception as error:  # whatever a library raises: one line, a traceback on demand
        _show(error, "--debug" in arguments)
        sys.exit(INTERRUPTED if isinstance(error, Stopped) else 1)
    finally:
        gc.freeze()  # or Python looks through all modules for garbage as it ends: 0.3 s


def _check_text(arguments: list[str]) -> None:
    """Refuse bytes that are no text: neither a database nor a spec can hold them."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            got = f"arguments must be text in UTF-8, but got {argument!a}: rename it"
            raise click.UsageError(got) from error


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """A SIGTERM stops a search as cleanly as Ctrl-C does."""
    raise KeyboardInterrupt


def _unprinted(error: OSError) -> OSError | HpsearchError:
    """What came of printing, as an error that names no file does, in words; any other as it is."""
    if error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF) or error.filename is not None:
        return error
    return HpsearchError(
        f"what hpsearch says must be written, but that fails ({error.strerror}): give its output "
        "another place"
    )


def _show(error: Exception, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    text = str(error)
    if not isinstance(error, HpsearchError):
        first_line = text.strip().partition("\n")[0]
        text = f"unexpected {type(error).__name__}: {first_line} (`hpsearch --debug` shows where)"
    prefix = "" if isinstance(error, Stopped) else "Error: "
    for line in text.splitlines():
        click.echo(f"{prefix}{line}", err=True)
