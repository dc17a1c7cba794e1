"""Writes docs/cli.md from the commands' own ``--help``: `make docs`; a test holds it fresh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from hpsearch.cli.main import cli


def reference() -> str:
    """The page: the help of every command, in their order."""
    parts = [f"## hpsearch {name}\n\n```text\n{text}\n```\n" for name, text in _helps(cli, "")]
    head = "# Commands\n\nThis page is written by `make docs` from each command's `--help`.\n"
    return "\n".join([head, *parts])


def _helps(group: click.Group, path: str) -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        full = f"{path}{name}"
        if isinstance(command, click.Group):
            yield from _helps(command, f"{full} ")
        else:
            context = click.Context(command, info_name=f"hpsearch {full}", max_content_width=88)
            yield full, command.get_help(context)


if __name__ == "__main__":
    (Path(__file__).parents[1] / "cli.md").write_text(reference())
