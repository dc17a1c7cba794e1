"""The table of training fields in docs/specs.md, from ``TrainConfig``; a test holds it fresh."""

from __future__ import annotations

from dataclasses import fields

from workers.config import TrainConfig


def table() -> str:
    """A row a field: its name, its domain in words, its default."""
    rows = []
    for field in fields(TrainConfig):
        default = "" if field.default is None else field.default
        shown = list(default) if isinstance(default, tuple) else default
        rows.append(f"| `{field.name}` | {field.metadata['domain'].rule()} | {shown} |")
    return "\n".join(rows)
