"""A search over a model and data of the user's own, from the command line to its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import own_nets
import torch
import yaml
from command_line import Hpsearch

import hpsearch as package

SPEC = {
    "name": "own",
    "data": {"source": "own_searched:examples"},
    "model": "own_nets:Perceptron",
    "train": {"depth": 1, "outputs": 3},
    "space": {
        "learning_rate": {"log_uniform": [1e-2, 1]},
        "width": {"choice": [4, 8]},
    },
    "stages": [
        {"name": "check"},
        {"name": "coarse", "trials": 6, "epochs": 2},
        {"name": "fine", "trials": 4, "epochs": 4, "continue": 2},
    ],
}
MODULE = """
import numpy as np

def examples():
    draw = np.random.default_rng(0)
    y = np.arange(120) % 3
    return draw.normal(size=(120, 12)) + 3 * y[:, None], y
"""


def test_a_model_of_ones_own_is_searched_resumed_and_exported(hpsearch: Hpsearch) -> None:
    """The module of the data lies in the working folder alone: workers find it there too."""
    Path("own_searched.py").write_text(MODULE)
    Path("own.yaml").write_text(yaml.safe_dump(SPEC))
    code, out, _ = hpsearch("run", "own.yaml", "--ray", "processes")
    assert code == 0, out
    frames = package.connect()
    trials = frames.trials("own")
    assert set(trials["state"]) == {"complete"}
    assert str(trials.dtypes["width"]) == "Int64"
    number = int(frames.best("own", n=1)["number"][0])
    width = int(frames.best("own", n=1)["width"][0])
    weights = package.weights("own", number)
    net = own_nets.Perceptron(width, outputs=3)
    net.load_state_dict({name: torch.as_tensor(array) for name, array in weights.items()})
    assert hpsearch("export", "own", "-o", "best")[0] == 0
    told = yaml.safe_load(Path("best/model.yaml").read_text())["train"]
    assert told["arguments"] == {"depth": 1, "outputs": 3, "width": width}
    x = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    assert net(torch.as_tensor(x)).shape == (5, 3)


def test_what_cannot_be_stacked_is_told_and_trained(hpsearch: Hpsearch) -> None:
    Path("own_searched.py").write_text(MODULE)
    stages = [{"name": "only", "trials": 3, "epochs": 1}]
    spec = {**SPEC, "name": "slow", "model": "own_nets:Recurrent", "train": {}, "stages": stages}
    spec["space"] = {"units": {"choice": [4, 5]}, "learning_rate": {"log_uniform": [1e-2, 1]}}
    spec["train"] = {"outputs": 3}
    Path("slow.yaml").write_text(yaml.safe_dump(spec))
    code, out, err = hpsearch("run", "slow.yaml", "--ray", "none")
    assert code == 0, err
    told = [line for line in (out + err).splitlines() if "cannot be stacked" in line]
    assert len(told) == 1, "once"
    assert told[0].startswith("model own_nets:Recurrent: its LSTM lstm cannot be stacked (")


STREAMED = """
import torch

class Noise(torch.utils.data.Dataset):
    def __len__(self):
        return 90

    def __getitem__(self, place):
        drawn = torch.Generator().manual_seed(place + SEED)
        return torch.randn(12, generator=drawn) + 2 * (place % 3), place % 3

def examples():
    return Noise()
"""


def test_a_dataset_is_streamed_in_worker_processes_and_trains_as_in_memory(
    hpsearch: Hpsearch,
) -> None:
    Path("own_streamed.py").write_text(STREAMED.replace("SEED", "0"))
    spec = {**SPEC, "resources": {"width": 2}, "data": {"source": "own_streamed:examples"}}
    Path("own.yaml").write_text(yaml.safe_dump(spec))
    for name, stream in (("streamed", "true"), ("held", "false")):
        options = "--set", f"name={name}", "--set", f"data.stream={stream}"
        loaders = ("--set", "data.loader_workers=1") * (name == "streamed")
        code, out, err = hpsearch("run", "own.yaml", "--ray", "processes", *options, *loaders)
        assert code == 0, out + err
    frames = package.connect()
    streamed, held = (frames.curves(name)["val_loss"].tolist() for name in ("streamed", "held"))
    assert streamed == held
    assert len(held) > 6


def test_data_that_are_streamed_must_be_those_a_search_began_with(hpsearch: Hpsearch) -> None:
    Path("own_changed.py").write_text(STREAMED.replace("SEED", "0"))
    stages = [{"name": "only", "trials": 2, "epochs": 1}]
    data = {"source": "own_changed:examples", "stream": True, "loader_workers": 0}
    Path("own.yaml").write_text(yaml.safe_dump({**SPEC, "data": data, "stages": stages}))
    assert hpsearch("run", "own.yaml", "--ray", "none")[0] == 0
    (event,) = [e for e in package.api.open_repository().events(1) if e.kind == "data_read"]
    assert event.data["fingerprint"] is None
    assert len(event.data["sample"]) == 32


def test_a_model_that_always_raises_ends_its_search_as_failed(hpsearch: Hpsearch) -> None:
    """In groups that are refused at once, more of them than ``max_failures``."""
    Path("own_searched.py").write_text(MODULE)
    broken = {"train": {"depth": 1, "outputs": 5}, "max_failures": 3}
    stages = [{"name": "coarse", "trials": 12, "epochs": 2}]
    spec = {**SPEC, **broken, "name": "broken", "stages": stages}
    Path("broken.yaml").write_text(yaml.safe_dump(spec))
    for form in ([], ["--json"]):
        code, _, said = hpsearch("run", "broken.yaml", "--ray", "none", *form)
        assert code == 1
        assert "Error: " in said
        assert "[3, 5]" in said
    (row,) = package.connect().searches().itertuples()
    assert (row.state, row.failed) == ("failed", 12)
    assert "12 failed as error, all with: " in row.message
    assert hpsearch("retry-failed", "broken")[0] == 0
    assert package.connect().searches()["state"][0] == "stopped"
    assert hpsearch("resume", "broken", "--ray", "none")[0] == 1
    assert package.connect().searches()["state"][0] == "failed"
