"""Writes docs/cli.md from the commands' own ``--help``: `make docs`; a test holds it fresh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from hpsearch.cli.main import cli


def reference() -> str:
    """The page: the help of every command, in their order."""
    helps = [("", cli.get_help(_context(cli, "hpsearch"))), *_helps(cli, "")]
    parts = [f"## {f'hpsearch {name}'.strip()}\n\n```text\n{text}\n```\n" for name, text in helps]
    head = "# Commands\n\nThis page is written by `make docs` from each command's `--help`.\n"
    return "\n".join([head, *parts])


def _helps(group: click.Group, path: str) -> Iterator[tuple[str, str]]:
    shown = ((name, each) for name, each in group.commands.items() if not each.hidden)
    for name, command in shown:
        full = f"{path}{name}"
        if isinstance(command, click.Group):
            yield from _helps(command, f"{full} ")
        else:
            yield full, command.get_help(_context(command, f"hpsearch {full}"))


def _context(command: click.Command, name: str) -> click.Context:
    return click.Context(command, info_name=name, max_content_width=88)


if __name__ == "__main__":
    (Path(__file__).parents[1] / "cli.md").write_text(reference())
