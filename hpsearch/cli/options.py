"""Arguments and options that several commands share.

Used as decorators by the command modules, so that one meaning has one spelling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

spec_argument: Decorator = click.argument("spec")
search_argument: Decorator = click.argument("search")
db_option: Decorator = click.option(
    "--db", metavar="URL", help="The database: sqlite:///PATH or postgresql://USER@HOST/NAME."
)
set_option: Decorator = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a key of the spec, e.g. data.path=FOLDER or stages.coarse.trials=50.",
)
ray_option: Decorator = click.option(
    "--ray",
    metavar="processes|local|ADDRESS|none",
    default=None,
    help="Train in worker processes of this machine (processes, the default), on a Ray that is "
    "started here for this search, with its dashboard (local), on the Ray cluster at ADDRESS (also "
    "RAY_ADDRESS; auto for one that runs on this machine), or in this process (none).",
)
address_option: Decorator = click.option(
    "--ray",
    "address",
    metavar="ADDRESS",
    envvar="RAY_ADDRESS",
    default="auto",
    show_default=True,
    help="The cluster: HOST:PORT, its dashboard's http://HOST:PORT, or the one that runs here.",
)
webhook_option: Decorator = click.option(
    "--webhook",
    metavar="URL",
    envvar="HPSEARCH_WEBHOOK",
    help="POST to this address, as JSON, that a search has ended (also HPSEARCH_WEBHOOK).",
)
on_end_option: Decorator = click.option(
    "--on-end",
    metavar="COMMAND",
    envvar="HPSEARCH_ON_END",
    help="Run this command, without a shell, when a search has ended, with the same JSON on its "
    "stdin (also HPSEARCH_ON_END).",
)
format_option: Decorator = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    help="How to print it.",
)
