"""Writes docs/training.md from TrainConfig and the training's tables: `make docs`; a test holds it.

Formulas and sources stand where they are computed: in the docstrings of the rules, or beside the
names of choices that need no function of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from workers.config import SECTIONS, TrainConfig
from workers.training.feed import sampling
from workers.training.loss import LOSSES
from workers.training.optimizers import OPTIMIZERS, VARIANTS
from workers.training.schedules import SCHEDULES

PAGE = Path(__file__).parents[1] / "training.md"
HEAD = """# The training stack

This page is written by `make docs` from the code, and a test holds it fresh. Every field below may
be fixed under `train:` or searched under `space:` of a spec. Numbers are vectors over the members
of a group: trials that differ in them train as one stacked model. Fields marked ▪ shape tensors or
the order of examples, so trials that differ in them train in groups of their own.

M trials, or M folds of fewer, are rows of one stack; each part below acts row by row, costs nothing
where no row has it on, and does not depend on what other rows do. Epochs t and updates count from
0.

How data are split, dealt into folds and preprocessed (centred, standardized, decorrelated,
whitened) is in [Data](data.md); what is watched while training, in [Diagnoses](diagnoses.md); what
is checked before it, in [Checks](checks.md).
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(text for section in SECTIONS for text in _section(section))])


def formulas(name: str) -> dict[str, str]:
    """What each choice of the field ``name`` means; {} for a field without choices."""
    (field,) = (field for field in fields(TrainConfig) if field.name == name)
    names = field.metadata["domain"].names
    said: Mapping[str, str] = field.metadata["formulas"]
    return {choice: said.get(choice) or _CODE[name](choice) for choice in names}


def _section(section: type) -> Iterator[str]:
    own = fields(section)
    yield f"## {(section.__doc__ or '').rstrip('.')}\n"
    yield "| field | values | default | what it is |\n|---|---|---|---|"
    yield from (_row(field) for field in own)
    yield ""
    for field in own:
        if field.metadata["domain"].names:
            yield f"**`{field.name}`**\n"
            yield from (_choice(field.name, *item) for item in formulas(field.name).items())
            yield ""


def _row(field: Field[Any]) -> str:
    values = "see below" if field.metadata["domain"].names else field.metadata["domain"].rule()
    default = "" if field.default is None else field.default
    shown = list(default) if isinstance(default, tuple) else str(default).lower()
    mark = " ▪" if field.metadata["shapes"] else ""
    return f"| `{field.name}`{mark} | {values} | {shown} | {_cell(field.metadata['help'])} |"


def _choice(field: str, choice: str, formula: str) -> str:
    reads = _READS.get(field, lambda _: ())(choice)
    also = f" Reads {', '.join(f'`{name}`' for name in reads)}." if reads else ""
    return f"- `{choice}`: {formula.rstrip('.')}.{also}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _doc(documented: object) -> str:
    return " ".join((documented.__doc__ or "").replace("``", "`").split())


def _optimizer(name: str) -> str:
    rules = {variant.update: None for key, variant in VARIANTS.items() if key.split()[0] == name}
    rule = "; or ".join(_doc(update).rstrip(".") for update in rules)
    optimizer = OPTIMIZERS[name]
    full = "the whole training part is one minibatch: " if name == "gradient_descent" else ""
    before = "w <- (1 - lr weight_decay) w, then " if optimizer.decoupled else ""
    return f"{full}{before}{rule}"


_CODE: dict[str, Callable[[str], str]] = {
    "optimizer": _optimizer,
    "lr_schedule": lambda name: _doc(SCHEDULES[name].factor),
    "loss": lambda name: _doc(LOSSES[name]),
    "sampling": lambda name: _doc(getattr(sampling, name)),
}
_READS: dict[str, Callable[[str], tuple[str, ...]]] = {
    "optimizer": lambda name: OPTIMIZERS[name].reads,
    "lr_schedule": lambda name: SCHEDULES[name].reads,
}


if __name__ == "__main__":
    PAGE.write_text(page())
