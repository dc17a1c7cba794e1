"""The winner: the best trials, the one to take, its spec ready to run, and how to repeat it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from hpsearch.analysis.repeats import over_seeds, telling
from hpsearch.checkpoints import checkpoint_of
from hpsearch.errors import HpsearchError
from hpsearch.report.section import Code, Part, Section, Table, Text
from hpsearch.settings import command

if TYPE_CHECKING:
    from hpsearch.report.reading import Reading

BEFORE = ("number", "value", "mean", "spread", "n", "within_noise")  # of the parameters
AFTER = ("stage", "best_epoch", "epochs")
TOP = ("model", "loss", "trainable")  # keys of ``Search.train`` that a spec has at its top


def winner(reading: Reading) -> int | None:
    """The number of the trial to take; None where no trial is complete with a value."""
    return None if reading.best.empty else int(reading.best["number"].iloc[0])


def best_trials(reading: Reading) -> Section:
    """The table of the best trials and, if some were repeated, what their seeds say."""
    found = reading.best
    if found.empty:
        text = Text("No trial is complete with a value yet.")
        return Section(key="best", title="The best trials", parts=(text,))
    told = telling(found)
    names = [*BEFORE, *reading.record.spec.space.parameters, *AFTER]
    there = [name for name in names if name in told and told[name].notna().any()]
    parts: list[Part] = [Table(told[there])]
    repeated = over_seeds(reading.trials, is_max=reading.is_max)
    if len(repeated):
        words = "Trained again with other seeds; std is the standard deviation between them."
        parts += [Text(words), Table(repeated[["number", "mean", "std", "min", "max", "size"]])]
    return Section(key="best", title="The best trials", parts=tuple(parts))


def winning_spec(reading: Reading) -> Section:
    """The winner's YAML, and the command that trains it again."""
    number, record = winner(reading), reading.record
    title, key = "Train the winner again", "spec"
    if number is None:
        return Section(key=key, title=title, parts=(Text("There is no winner yet."),))
    if record.spec.is_from_elsewhere:
        source = record.spec.data.source
        elsewhere = Text(f"The trials are from {source}: number {number} is trained again there.")
        return Section(key=key, title=title, parts=(elsewhere,))
    row = reading.trials.set_index("number").loc[number]
    document = spec_of(reading, row)
    text = yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True, default_flow_style=None, width=10_000
    )
    url = reading.frames.repository.database.url
    parts = (
        Text(
            f"Save this as winner.yaml. It trains number {number} again, from new initial weights:"
        ),
        Code(text),
        Code(command("run winner.yaml", url).strip("`")),
        *_export(reading, number),
    )
    return Section(key=key, title=title, parts=parts)


def _export(reading: Reading, number: int) -> list[Part]:
    """How the network that was trained is had, if its checkpoint is at hand."""
    repository, record = reading.frames.repository, reading.record
    try:
        checkpoint_of(repository, record, number, repository.database.url)
    except HpsearchError:
        return [Text("The network that was trained is not at hand: it has no checkpoint here.")]
    export = command(f"export {record.id} --trial {number} -o winner", repository.database.url)
    return [Text("The network that was trained:"), Code(export.strip("`"))]


def spec_of(reading: Reading, row: Any) -> dict[str, Any]:
    """A spec of one trial with the parameters of ``row``: each is a choice of one value."""
    spec = reading.record.spec
    train = dict(spec.train)
    top = {name: train.pop(name) for name in TOP if name in train}
    document: dict[str, Any] = {"name": f"{spec.name[:92]}-winner", **top}
    document["objective"] = spec.objective.model_dump(exclude_defaults=False)
    if spec.metrics:
        document["metrics"] = dict(spec.metrics)
    if spec.tune is None:
        document["data"] = _data(spec)
    params = _params(reading, int(row.name))
    document["train"] = train
    document["space"] = {name: {"choice": [value]} for name, value in params.items()}
    document["stages"] = [{"name": "winner", "trials": 1, "epochs": int(row["epochs"])}]
    document["seed"] = spec.seed
    return {key: _plain(value) for key, value in document.items() if value != {}}


def _params(reading: Reading, number: int) -> dict[str, Any]:
    """As they were sampled, to the last digit."""
    trial = reading.frames.repository.find_trial(reading.record.id, number)
    assert trial is not None  # it is a row of the same table
    return dict(trial.params)


def _data(spec: Any) -> dict[str, Any]:
    """As a spec says it: folds are a kind of validation there."""
    given = spec.data.model_dump(exclude_defaults=True)
    folds = given.pop("folds", None)
    return given if folds is None else {**given, "validation": {"folds": folds}}


def _plain(value: Any) -> Any:
    """With lists for tuples, which YAML has no word for, and without sections that are empty."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item != {}}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
