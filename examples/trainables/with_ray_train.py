"""A trial on several processes by Ray Train: ``hpsearch run with_ray_train.yaml`` in this folder.

The function that the search calls only starts them; each trains on its part of every minibatch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ray import train, tune
from ray.train.torch import TorchTrainer, prepare_data_loader, prepare_model
from ray.tune.integration.ray_train import TuneReportCallback
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def fit(config: dict[str, Any]) -> None:
    """Train on ``config["workers"]`` processes; on GPUs, a ScalingConfig with ``use_gpu=True``."""
    trial = tune.get_context()
    TorchTrainer(
        _train_one,
        train_loop_config=config,
        scaling_config=train.ScalingConfig(
            num_workers=config["workers"], resources_per_worker={"CPU": config["cpus"]}
        ),
        run_config=train.RunConfig(
            name=trial.get_trial_id(),
            storage_path=str(Path(trial.get_trial_dir(), "ray_train")),
            callbacks=[TuneReportCallback()],
        ),
    ).fit()


def _train_one(config: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(config["seed"])
    x, y = load_digits(return_X_y=True)
    x_N, y_N = torch.as_tensor(x / 16, dtype=torch.float32), torch.as_tensor(y)
    examples = TensorDataset(x_N[:1400], y_N[:1400])
    loader = prepare_data_loader(DataLoader(examples, batch_size=config["batch"], shuffle=True))
    net = prepare_model(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)))
    optimizer = torch.optim.Adam(net.parameters(), lr=config["rate"])
    for _ in range(config["epochs"]):
        for x_BF, y_B in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x_BF), y_B).backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = (net(x_N[1400:]).argmax(1) == y_N[1400:]).double().mean().item()
        train.report({"val_accuracy": accuracy})
