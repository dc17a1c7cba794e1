"""Trainables of Ray Tune as users write them, good ones and bad ones."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ray import tune

Config = dict[str, Any]


def loss(config: Config, epoch: int) -> float:
    """Least at a rate of 0.01, and falling."""
    return abs(math.log10(config["rate"]) + 2) + 1 / epoch


def plain(config: Config) -> None:
    """Reports a loss each epoch, and keeps nothing."""
    for epoch in range(1, config["epochs"] + 1):
        tune.report({"loss": loss(config, epoch)})


def endless(config: Config) -> None:
    """Never ends by itself."""
    epoch = 0
    while True:
        epoch += 1
        tune.report({"loss": loss(config, epoch)})


def kept(config: Config) -> None:
    """Writes a checkpoint each epoch, with the epoch that this process began after."""
    begun = 0
    found = tune.get_checkpoint()
    if found is not None:
        with found.as_directory() as folder:
            begun = json.loads(Path(folder, "kept.json").read_text())["epoch"]
    for epoch in range(begun + 1, config["epochs"] + 1):
        time.sleep(config.get("pause", 0))
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "kept.json").write_text(json.dumps({"epoch": epoch, "begun": begun}))
            checkpoint = tune.Checkpoint.from_directory(folder)
            tune.report({"loss": loss(config, epoch)}, checkpoint=checkpoint)
        if epoch == config.get("dies_at") and not os.path.exists(config["mark"]):
            Path(config["mark"]).touch()
            os._exit(1)


class Trained(tune.Trainable):
    """The same as a class."""

    def setup(self, config: Config) -> None:
        self._settings, self._epoch = config, 0

    def step(self) -> Config:
        self._epoch += 1
        return {"loss": loss(self._settings, self._epoch)}

    def save_checkpoint(self, folder: str) -> None:
        Path(folder, "kept.json").write_text(json.dumps({"epoch": self._epoch}))

    def load_checkpoint(self, folder: str) -> None:
        self._epoch = json.loads(Path(folder, "kept.json").read_text())["epoch"]

    def reset_config(self, config: Config) -> bool:
        self.setup(config)
        return True


def diverging(config: Config) -> None:
    """High rates give no number from the second epoch on."""
    for epoch in range(1, config["epochs"] + 1):
        wild = epoch > 1 and config["rate"] > 0.01
        tune.report({"loss": math.nan if wild else loss(config, epoch)})


def ending(config: Config) -> None:
    """Ends by itself after two epochs."""
    for epoch in (1, 2):
        tune.report({"loss": loss(config, epoch)})


def silent(config: Config) -> None:
    """Reports nothing."""


def misspelt(config: Config) -> None:
    """Reports another name."""
    tune.report({"los": 1.0})


def wordy(config: Config) -> None:
    """Reports no number."""
    tune.report({"loss": "low"})


def raising(config: Config) -> None:
    """Raises after an epoch."""
    tune.report({"loss": 1.0})
    raise RuntimeError("the data are gone")


def dying(config: Config) -> None:
    """Its process dies."""
    tune.report({"loss": 1.0})
    os._exit(1)


def of_two(config: Config, data: Any) -> None:
    """Cannot be called with a config alone."""


def huge(config: Config) -> None:
    """Reports what no float holds."""
    tune.report({"loss": 10**400})


def counting(config: Config) -> None:
    """Reports a name of Ray Tune's own."""
    tune.report({"loss": 1.0, "training_iteration": 77})


class Unset(Trained):
    """Cannot be set up."""

    def setup(self, config: Config) -> None:
        raise ValueError("no data")


def exiting(config: Config) -> None:
    """Leaves as a script does that cannot go on."""
    tune.report({"loss": 1.0})
    sys.exit("no more data")


def leaving(config: Config) -> None:
    """Leaves as a script does that is done."""
    tune.report({"loss": 1.0})
    sys.exit()


class Exiting(Trained):
    """Leaves in its first step."""

    def step(self) -> Config:
        sys.exit(3)


class Unsaved(Trained):
    """Cannot save what it has."""

    def save_checkpoint(self, folder: str) -> None:
        raise OSError("the disk is gone")
