"""The winner's network: its confusions against plain NumPy, and a test score measured once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored_searches import begin

import hpsearch
from hpsearch.analysis.frames import Frames
from hpsearch.checkpoints import weights
from hpsearch.report.measuring import Network, network_of
from hpsearch.report.network import network
from hpsearch.report.reading import read
from hpsearch.report.section import PngImage, Text
from hpsearch.report.winner import winner
from hpsearch.spec import load_data
from hpsearch.storage.database import Database
from hpsearch.storage.repository import Repository

SIDE = 4
CLASSES = 3


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HPSEARCH_DATABASE_URL", "HPSEARCH_CHECKPOINTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def arrays(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of three classes that overlap, so that some are confused."""
    draw = np.random.default_rng(seed)
    y = np.arange(num) % CLASSES
    x = draw.normal(size=(num, SIDE, SIDE)) + 0.4 * y[:, None, None]
    return x.astype(np.float32), y


def searched(spec_data: dict[str, Any] | None = None, *, with_test: bool = True) -> Frames:
    x, y = arrays(120, 0)
    x_test, y_test = arrays(50, 1)
    held_back = {"x_test": x_test, "y_test": y_test} if with_test else {}
    np.savez("data.npz", x=x, y=y, **held_back)
    spec = {
        "name": "small",
        "data": {"source": "npz", "path": "data.npz", "validation": 40, **(spec_data or {})},
        "train": {"hidden_units": [8], "epochs": 2},
        "space": {"learning_rate": {"log_uniform": [1e-3, 1e-1]}},
        "stages": [{"name": "only", "trials": 3}],
    }
    return hpsearch.run(spec, ray="none").db


def found(frames: Frames) -> Network:
    reading = read(frames, "small")
    number = winner(reading)
    assert number is not None
    return network_of(reading, number)


def guesses(number: int, x: np.ndarray, frames: Frames) -> np.ndarray:
    """What the network takes each example for, by NumPy alone."""
    tensors = weights("small", number)
    data = load_data(frames.repository.find_search("small").spec)
    assert data is not None
    h = np.maximum(data.inputs(x) @ tensors["0.weight"].T + tensors["0.bias"], 0)
    return (h @ tensors["1.weight"].T + tensors["1.bias"]).argmax(1)


def test_confusions_and_test_score_are_those_of_the_network() -> None:
    frames = searched()
    own = found(frames)
    data, measured, test = own.dataset, own.measured, own.test
    assert data is not None
    assert measured is not None
    assert test is not None
    x, y = np.asarray(data.x_validation), data.y_validation
    counts = np.zeros((CLASSES, CLASSES), dtype=int)
    np.add.at(counts, (y, guesses(own.number, x, frames)), 1)
    assert measured.confusion == counts.tolist()
    last = frames.curves("small").query(f"number == {own.number}").iloc[-1]
    assert measured.metrics["val_accuracy"] == pytest.approx(last["val_accuracy"])
    x_test, y_test = arrays(50, 1)
    right = (guesses(own.number, x_test, frames) == y_test).mean()
    assert test.data["metrics"]["test_accuracy"] == pytest.approx(right)
    assert (test.data["number"], test.data["examples"]) == (own.number, 50)


def test_confusions_are_counted_over_all_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = searched({"validation": 0.6})
    whole = found(frames).measured
    monkeypatch.setattr("workers.training.group_training._NEAR_THE_CACHE", 8 * SIDE**2)
    monkeypatch.setattr("workers.training.monitoring.EXAMPLES", 10)
    parts = found(frames).measured
    assert whole is not None
    assert parts is not None
    assert parts.confusion == whole.confusion
    assert np.sum(parts.confusion) == 72


def test_the_test_part_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = searched()
    first = found(frames).test
    x, y = arrays(120, 0)
    np.savez("data.npz", x=x, y=y, x_test=x[:9], y_test=(y[:9] + 1) % CLASSES)
    assert found(frames).test == first
    said = " ".join(p.words for p in network(read(frames, "small")).parts if isinstance(p, Text))
    assert "was measured once" in said
    assert "50 examples" in said


def test_the_first_layer_is_a_picture() -> None:
    parts = network(read(searched(), "small")).parts
    (picture,) = [part for part in parts if isinstance(part, PngImage)]
    assert picture.png.startswith(b"\x89PNG")
    assert "8 of 8 units" in picture.words


def test_without_a_test_part_that_is_said() -> None:
    own = found(searched(with_test=False))
    assert own.test is None
    assert "npz has no test part" in own.untested


def test_folds_add_up_to_all_examples_and_have_no_test_score() -> None:
    own = found(searched({"validation": {"folds": 3}}))
    assert own.measured is not None
    assert np.sum(own.measured.confusion) == 120
    assert "with folds there is no one network" in own.untested


def test_a_search_that_is_not_complete_is_not_tested() -> None:
    frames = searched()
    with frames.repository.database.write() as connection:
        connection.exec_driver_sql("UPDATE searches SET state = 'stopped'")
    own = found(frames)
    assert own.test is None
    assert "once, when the search is complete" in own.untested


def test_data_that_have_changed_are_not_measured_on() -> None:
    frames = searched()
    x, y = arrays(120, 5)
    np.savez("data.npz", x=x, y=y)
    own = found(frames)
    assert own.measured is None
    assert "have changed" in own.why_not
    assert own.weights is not None


def test_data_that_are_gone_and_a_checkpoint_that_is_gone_are_told() -> None:
    frames = searched()
    Path("data.npz").unlink()
    why_not = found(frames).why_not
    assert "data are not at hand" in why_not
    assert "put them back where the search found them" in why_not
    assert "--set" not in why_not  # of which a report knows nothing
    for file in Path().rglob("*.safetensors"):
        file.unlink()
    own = found(frames)
    assert own.weights is None
    assert "network is not at hand" in own.why_not
    assert "\n" not in own.why_not


def test_test_classes_that_training_has_not_are_refused() -> None:
    frames = searched(with_test=False)
    x, y = arrays(120, 0)
    np.savez("data.npz", x=x, y=y, x_test=x[:3], y_test=np.array([0, 1, 7]))
    assert "has '7' too" in found(frames).untested


def test_a_test_part_of_another_shape_is_refused() -> None:
    frames = searched(with_test=False)
    x, y = arrays(120, 0)
    np.savez("data.npz", x=x, y=y, x_test=x[:3, :2], y_test=y[:3])
    assert "must be like the training part" in found(frames).untested


def test_the_first_score_that_is_stored_stays(database: Database) -> None:
    search = begin(database).search.id
    repository = Repository(database)
    assert repository.find_test(search) is None
    first = repository.keep_test(search, {"number": 1, "metrics": {"test_accuracy": 0.5}})
    again = repository.keep_test(search, {"number": 2, "metrics": {}})
    assert json.dumps(again.data) == json.dumps(first.data)
    assert repository.find_test(search) == first
    assert len([e for e in repository.events(search) if e.kind == "tested"]) == 1
