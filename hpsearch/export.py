"""``export``: a trial's network for use elsewhere: its weights, and all that it was trained with.

Called by ``hpsearch export``; nothing here needs torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from safetensors.numpy import save

from hpsearch.checkpoints import checkpoint_of, weights_in
from hpsearch.coordinator.packing import train_config
from hpsearch.errors import HpsearchError
from hpsearch.settings import command
from hpsearch.storage.records import SearchRecord, TrialRecord
from workers.config import TrainConfig

if TYPE_CHECKING:
    from hpsearch.analysis.frames import Frames

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "model.yaml"
CHECKPOINT_FOLDER = "checkpoint"  # as a trainable wrote it


def export(
    search: str | int, folder: Path, number: int | None = None, db: str | None = None
) -> int:
    """Write the network of trial ``number``, or of the best one, into ``folder``; its number.

    Raises StorageError for a search that does not exist, HpsearchError for one without a best
    trial, a trial without weights, or a folder that cannot be written.
    """
    from hpsearch.api import connect

    frames = connect(db)
    record = frames.repository.find_search(search)
    if number is None:
        number = _best(frames, record)
    source = checkpoint_of(frames.repository, record, number, db)  # refuses what has none
    trial = frames.repository.find_trial(record.id, number)
    assert trial is not None  # it has a checkpoint
    text = yaml.safe_dump(_configuration(record, trial), sort_keys=False, allow_unicode=True)
    files = {CONFIG_FILE: text.encode()}
    if record.spec.trainable is None:
        files[WEIGHTS_FILE] = save(weights_in(source))
    with _writing(folder):
        for name, content in files.items():
            (folder / name).write_bytes(content)
        if record.spec.trainable is not None:
            shutil.copytree(source.file, folder / CHECKPOINT_FOLDER, dirs_exist_ok=True)
    return number


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """As ordinary files: safetensors' own are for their owner alone, whatever the umask says."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise HpsearchError(
            f"{str(folder)!r} must be a folder that can be written, but that fails "
            f"({error.strerror}): mend it, or give another one with --output"
        ) from error


def _best(frames: Frames, record: SearchRecord) -> int:
    numbers = frames.best(record.id, n=1)["number"].tolist()
    if not numbers:
        status = command(f"status {record.id}", frames.repository.database.url)
        raise HpsearchError(
            f"search {record.name} (id {record.id}) must have a complete trial to export, but has "
            f"none: see how far it is with {status}"
        )
    return int(numbers[0])


def _configuration(record: SearchRecord, trial: TrialRecord) -> dict[str, Any]:
    spec = record.spec
    return {
        "search": {"name": record.name, "id": record.id, "seed": spec.seed},
        "trial": {
            "number": trial.number,
            spec.objective.metric: trial.value,
            "best_epoch": trial.best_epoch,
            "epochs": trial.epochs,
            "weights_epoch": trial.checkpoint_epoch,
            "seed": trial.seed,
        },
        "data": _plain(spec.data.model_dump()),
        "train": _training(train_config(spec.train, trial.params), spec.trainable),
    }


def _training(config: TrainConfig, trainable: str | None) -> dict[str, Any]:
    """Every field, and the arguments of a model of the user's own; a trainable's config."""
    if trainable is not None:
        return _plain(dict(config.arguments))
    values = asdict(config) | {"arguments": dict(config.arguments)}
    return _plain({name: value for name, value in values.items() if value != {}})


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """With lists for tuples, which YAML has no word for."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }
