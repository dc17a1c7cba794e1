"""A LightningModule under Ray Tune: ``hpsearch run with_lightning.yaml`` in this folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning
import torch
from ray import tune
from ray.tune.integration.pytorch_lightning import TuneReportCheckpointCallback
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Digits(lightning.LightningModule):
    """A hidden layer; rate and width from the search."""

    def __init__(self, rate: float, width: int) -> None:
        super().__init__()
        self.rate = rate
        self.net = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        x, y = batch
        outputs = self.net(x)
        self.log("val_loss", nn.functional.cross_entropy(outputs, y))
        self.log("val_accuracy", (outputs.argmax(1) == y).double().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.rate)


def fit(config: dict[str, Any]) -> None:
    """Train to ``config["epochs"]``, from the checkpoint where there is one."""
    torch.set_num_threads(1)
    lightning.seed_everything(config["seed"], verbose=False)
    x, y = load_digits(return_X_y=True)
    examples = TensorDataset(torch.as_tensor(x / 16, dtype=torch.float32), torch.as_tensor(y))
    parts = random_split(examples, [0.8, 0.2], torch.Generator().manual_seed(0))
    metrics = {"val_loss": "val_loss", "val_accuracy": "val_accuracy"}
    trainer = lightning.Trainer(
        max_epochs=config["epochs"],
        callbacks=[TuneReportCheckpointCallback(metrics, on="train_epoch_end")],
        accelerator="auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    train = DataLoader(parts[0], config["batch"], shuffle=True)
    validation = DataLoader(parts[1], config["batch"])
    net = Digits(config["rate"], config["width"])
    found = tune.get_checkpoint()
    if found is None:
        trainer.fit(net, train, validation)
    else:
        with found.as_directory() as folder:
            trainer.fit(net, train, validation, ckpt_path=str(Path(folder, "checkpoint")))
