"""``export``: a trial's network for use elsewhere: its weights, and all that it was trained with.

Called by ``hpsearch export``; nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from safetensors.numpy import save

from hpsearch.checkpoints import weights
from hpsearch.coordinator.packing import train_config
from hpsearch.errors import HpsearchError
from hpsearch.settings import command
from hpsearch.storage.records import SearchRecord, TrialRecord
from workers.config import TrainConfig

if TYPE_CHECKING:
    from hpsearch.analysis.frames import Frames

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "model.yaml"


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
    tensors = weights(record.id, number, db=db)  # refuses what has none
    trial = frames.repository.find_trial(record.id, number)
    assert trial is not None  # it has weights
    text = yaml.safe_dump(_configuration(record, trial), sort_keys=False, allow_unicode=True)
    _write(folder, {WEIGHTS_FILE: save(tensors), CONFIG_FILE: text.encode()})
    return number


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """As ordinary files: safetensors' own are for their owner alone, whatever the umask says."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
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
        "train": _training(train_config(spec.train, trial.params)),
    }


def _training(config: TrainConfig) -> dict[str, Any]:
    """Every field, and the arguments of a model of the user's own."""
    values = asdict(config) | {"arguments": dict(config.arguments)}
    return _plain({name: value for name, value in values.items() if value != {}})


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """With lists for tuples, which YAML has no word for."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }
