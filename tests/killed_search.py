"""A search over blobs that is killed in tests: its spec and data, and how far it is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from training_cases import blobs

from hpsearch.spec import load
from hpsearch.spec.search import Search
from hpsearch.storage import groups
from hpsearch.storage.database import Database
from hpsearch.storage.records import SpeedRecord
from hpsearch.storage.repository import Repository
from workers.training.device_name import device_name

SPEC: dict[str, Any] = {
    "name": "killed",
    "data": {"source": "npz", "path": "blobs.npz"},
    "train": {"hidden_units": [16]},
    "space": {
        "optimizer": {"choice": ["momentum", "adam"]},
        "learning_rate": {"log_uniform": [1e-4, 1e4]},  # the upper part of it diverges
        "batch_size": {"choice": [8, 16]},
        "patience": {"choice": [None, 10]},  # half of the trials may stop early
    },
    "stages": [
        {"name": "check"},
        {"name": "coarse", "trials": 40, "epochs": 24, "sampler": "qmc"},
        {
            **{"name": "fine", "trials": 24, "epochs": 60, "continue": 6, "sampler": "tpe"},
            **{"batch": 6, "pruner": {"name": "hyperband", "reduction_factor": 2}},
        },
        {"name": "confirm", "top": 2, "seeds": 3},
    ],
    "resources": {"checkpoint_every": 4},
}
WIDTH = 3  # the best one, as if it had been measured: what each run measures differs a little


def write_search(folder: Path) -> Path:
    """Put the spec and its data into ``folder``; the spec's path."""
    data = blobs(num_train=320)
    np.savez(folder / "blobs.npz", x=data.x_train, y=data.y_train)
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(SPEC))
    return path


def a_search(folder: Path, name: str = "killed", **changes: Any) -> Search:
    """The search, its data in ``folder`` and its width fixed: no path is in the prepared speeds."""
    data = {**SPEC["data"], "path": str(folder / "blobs.npz")}
    resources = {**SPEC["resources"], "width": WIDTH}
    return load({**SPEC, "name": name, "data": data, "resources": resources, **changes})


def num_writes(repository: Repository) -> int:
    """Rows that grow with every write of a search: epochs of all trials, and events."""
    try:
        record = repository.find_search("killed")
    except Exception:  # there is no search yet
        return 0
    _, trials = repository.load(record.id)
    return sum(trial.epochs for trial in trials) + len(repository.events(record.id))


def prepared(url: str) -> Repository:
    """A database that knows the speeds of the search's groups; WIDTH is best."""
    database = Database(url)
    database.check_revision()
    cpu = device_name(torch.device("cpu")).rpartition(",")[0]
    devices = [f"{cpu}, 1 thread", f"{cpu}, 2 threads"]
    devices += [device_name(torch.device("cuda"))] if torch.cuda.is_available() else []
    speeds = [
        SpeedRecord(
            kind=f"mlp 16, batch {batch_size}, float32 on npz blobs.npz",
            device=device,
            width=width,
            seconds=1e-3 * (width + abs(width - WIDTH)),
            bytes=0,
        )
        for device in devices
        for batch_size in (8, 16)
        for width in (1, WIDTH, 9)
    ]
    with database.write() as connection:
        groups.add_speeds(connection, speeds, datetime.now(UTC))
    return Repository(database)
