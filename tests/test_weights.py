"""``hpsearch.weights``: a trained network leaves the service as ordinary arrays."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import hpsearch
from hpsearch.errors import HpsearchError
from hpsearch.export import export
from hpsearch.spec import load, load_data
from hpsearch.storage.errors import StorageError

PAGE = (Path(__file__).parent.parent / "docs" / "specs.md").read_text()
SPEC: dict[str, Any] = {
    "name": "small",
    "data": {"source": "digits", "preprocess": ["zero_center"]},
    "train": {"hidden_units": [20], "epochs": 2, "optimizer": "adam"},
    "space": {"learning_rate": {"log_uniform": [1e-3, 1e-2]}},
    "stages": [{"name": "coarse", "trials": 3}],
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPSEARCH_DATABASE_URL", "HPSEARCH_CHECKPOINTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Carries out SPEC with fields of train and data changed; gives its final metrics by number."""
    monkeypatch.chdir(tmp_path)

    def search(data: dict[str, Any] | None = None, **train: Any) -> Any:
        spec = {**SPEC, "data": SPEC["data"] | (data or {}), "train": SPEC["train"] | train}
        curves = hpsearch.run(spec, ray="none").db.curves("small")
        return spec, curves.groupby("number").last()

    return search


def _logits(found: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    """Of two layers with relu, and with batch normalization where its statistics are there."""
    tensors = {name: torch.from_numpy(array) for name, array in found.items()}
    h = functional.linear(x, tensors["0.weight"], tensors.get("0.bias"))
    if "0.running_mean" in tensors:
        kinds = ("running_mean", "running_var", "gain", "shift")
        h = functional.batch_norm(h, *(tensors[f"0.{kind}"] for kind in kinds))
    return functional.linear(h.relu(), tensors["1.weight"], tensors["1.bias"])


@pytest.mark.parametrize(
    "train", [{}, {"ema_decay": 0.9}, {"normalization": "batch"}], ids=["plain", "average", "batch"]
)
def test_an_ordinary_network_with_these_weights_gives_the_stored_metrics(
    searched: Any, train: dict[str, Any]
) -> None:
    spec, last = searched(**train)
    data = load_data(load(spec))
    x, y = torch.from_numpy(data.inputs(data.x_validation)), torch.from_numpy(data.y_validation)
    for number, row in last.iterrows():
        logits = _logits(hpsearch.weights("small", number), x)
        assert (logits.argmax(1) == y).double().mean().item() == pytest.approx(row["val_accuracy"])
        loss = functional.cross_entropy(logits, y.long()).item()
        assert loss == pytest.approx(row["val_loss"], rel=1e-4)


def test_each_fold_of_a_trial_has_weights_whose_losses_average_to_the_stored_one(
    searched: Any,
) -> None:
    spec, last = searched(data={"validation": {"folds": 3}})
    data = load_data(load(spec))
    for number, row in last.iterrows():
        losses = []
        for fold in range(3):
            held_out = data.fold_rows[fold]
            x = torch.from_numpy(data.inputs(data.x_train[held_out], fold))
            logits = _logits(hpsearch.weights("small", number, fold=fold), x)
            y = torch.from_numpy(data.y_train[held_out]).long()
            losses.append(functional.cross_entropy(logits, y).item())
        assert np.mean(losses) == pytest.approx(row["val_loss"], rel=1e-4)
    with pytest.raises(HpsearchError, match="fold must be from 0 to 2, but got 3"):
        hpsearch.weights("small", 0, fold=3)


def test_weights_that_are_not_there_are_told_in_a_sentence(searched: Any, tmp_path: Path) -> None:
    searched()
    with pytest.raises(HpsearchError, match="has no number 99"):
        hpsearch.weights("small", 99)
    with pytest.raises(StorageError, match="other"):
        hpsearch.weights("other", 0)
    for file in tmp_path.glob("hpsearch-checkpoints/*/*.safetensors"):
        file.write_bytes(b"damaged")
    with pytest.raises(HpsearchError, match="must be readable, but is not"):
        hpsearch.weights("small", 0)
    for file in tmp_path.glob("hpsearch-checkpoints/*/*.safetensors"):
        os.remove(file)
    with pytest.raises(HpsearchError, match="is gone"):
        hpsearch.weights("small", 0)


def test_no_file_of_another_folder_is_exported(searched: Any, tmp_path: Path) -> None:
    searched()
    (stored,) = tmp_path.glob("hpsearch-checkpoints/*/*.safetensors")
    elsewhere = stored.rename(tmp_path / "elsewhere.safetensors")
    for name in ("../../elsewhere.safetensors", str(elsewhere)):
        with closing(sqlite3.connect("hpsearch.db")) as connection, connection:
            connection.execute("UPDATE trials SET checkpoint_file = ?", [name])
        with pytest.raises(HpsearchError, match="must be a file of the folder"):
            export("small", tmp_path / "out")


def test_the_snippet_of_the_docs_prints_the_stored_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (snippet,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    train = {**SPEC["train"], "hidden_units": [100]}
    found = hpsearch.run({**SPEC, "name": "digits", "train": train}, ray="none")
    exec(snippet, {})
    best = found.db.curves("digits").groupby("number").last().loc[found.best(1)["number"][0]]
    assert float(capsys.readouterr().out) == pytest.approx(best["val_accuracy"])
