"""What benchmarks rest on: that peers train the same trials, and that limits are counted right."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from hpsearch.spec import load
from workers.config import TrainConfig
from workers.config.combination import DataShape
from workers.messages import Member, TrialGroup
from workers.training.models import build_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import contestants  # noqa: E402 - the folder is no package
import judging  # noqa: E402
import limit  # noqa: E402
import overhead  # noqa: E402
import peers  # noqa: E402
import plain  # noqa: E402
import record  # noqa: E402
import scaling  # noqa: E402
import soak  # noqa: E402
import vitals  # noqa: E402

PARAMS = [
    {"learning_rate": 0.05, "weight_decay": 1e-4, "batch_size": 32, "optimizer": "sgd"},
    {"learning_rate": 0.02, "weight_decay": 1e-5, "batch_size": 64, "optimizer": "momentum"},
    {"learning_rate": 0.003, "weight_decay": 1e-6, "batch_size": 32, "optimizer": "adam"},
    {"learning_rate": 0.001, "weight_decay": 1e-3, "batch_size": 128, "optimizer": "rmsprop"},
]


@pytest.fixture(scope="module")
def digits() -> plain.Examples:
    return plain.read_examples(peers.DIGITS.data, images=False)


@pytest.mark.parametrize("kind", limit.KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("batch", [1, 7])
def test_operations_are_those_that_pytorch_counts(kind: limit.Kind, batch: int) -> None:
    example = torch.rand(1, *kind.image)
    net = plain.network(example, kind.train)
    x = example.expand(batch, 1, *kind.image)
    x = x if kind.train.get("model") == "cnn" else x.flatten(1)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(net(x), torch.zeros(batch, dtype=torch.int64)).backward()
    products = limit.multiplications(net, example)
    assert limit.step_operations(products, batch) == counter.get_total_flops()


@pytest.mark.parametrize("kind", limit.KINDS, ids=lambda kind: kind.name)
def test_the_peers_network_has_the_parameters_of_ours(kind: limit.Kind) -> None:
    shape = DataShape(
        num_features=kind.image[0] * kind.image[1],
        image=(1, *kind.image),
        num_outputs=10,
        is_regression=False,
        num_train=kind.num_train,
    )
    ours = [spec.shape for spec in build_model(TrainConfig(**kind.train), shape).parameters]
    net = plain.network(torch.rand(1, *kind.image), kind.train)
    assert [tuple(p.shape) for p in net.parameters()] == [tuple(shape) for shape in ours]


def test_no_byte_moves_while_weights_gradients_and_momenta_fit() -> None:
    assert limit.step_bytes(100, cache=1200) == 0
    assert limit.step_bytes(100, cache=1199) == 1600


@pytest.mark.parametrize("params", PARAMS, ids=lambda params: params["optimizer"])
def test_the_plain_loop_learns(params: dict[str, object], digits: plain.Examples) -> None:
    torch.manual_seed(0)
    training = plain.epochs(params, digits, peers.MLP)
    curve = [next(training) for _ in range(5)]
    assert curve[-1] > max(0.8, curve[0])


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("contest", peers.CONTESTS, ids=lambda contest: contest.name)
def test_the_spec_of_a_contest_asks_for_what_the_peers_train(
    contest: judging.Contest, pruned: bool
) -> None:
    spec = peers.search_spec(
        replace(contest, data={"path": "mnist", **contest.data})
        if contest.data["source"] == "mnist"
        else contest,
        pruned=pruned,
    )
    search = load(spec)
    assert set(search.space.parameters) == set(peers.SEARCHED)
    (stage,) = search.stages
    assert (stage.trials, stage.epochs) == (contest.trials, contest.epochs)
    assert (stage.pruner is not None) == pruned


@given(
    start=st.floats(0, 10), each=st.floats(0.01, 5), sample=st.integers(1, 50), n=st.integers(1, 99)
)
def test_a_sample_stands_for_all_trials_where_each_costs_the_same(
    start: float, each: float, sample: int, n: int
) -> None:
    def timed(tool: str, task: contestants.Task) -> judging.Outcome:
        training_s = each * len(task.params)
        return judging.Outcome(
            seconds=start + training_s, training_s=training_s, values=[], epochs=0, idle=1.0
        )

    task = contestants.Task(data={}, train={}, params=[{}] * n, epochs=1, folder="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers, "_timed", timed)
        found = peers._sampled("plain", task, sample)
    assert found.seconds == pytest.approx(start + each * n)
    assert found.is_whole == (sample >= n)


@given(n=st.integers(1, 200), share=st.floats(0.01, 1))
def test_a_sample_is_spread_over_all_trials(n: int, share: float) -> None:
    count = max(1, int(n * share))
    places = [params["place"] for params in peers._spread([{"place": i} for i in range(n)], count)]
    gaps = [b - a for a, b in zip(places, [*places[1:], n], strict=True)]
    assert len(set(places)) == count
    assert max(gaps) - min(gaps) <= 1


def test_optuna_trains_the_trials_that_it_is_given(tmp_path: Path) -> None:
    found = _contest("optuna", tmp_path)
    assert found["epochs"] == 2 * len(PARAMS)
    study = optuna.load_study(study_name="peers", storage=f"sqlite:///{tmp_path}/optuna.db")
    assert [trial.params for trial in sorted(study.trials, key=lambda t: t.number)] == PARAMS
    assert sorted(found["values"]) == sorted(
        max(trial.intermediate_values.values()) for trial in study.trials
    )


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["plain", "ray", "ray_reused"])
def test_a_contestant_trains_every_trial(tool: str, tmp_path: Path) -> None:
    found = _contest(tool, tmp_path)
    assert len(found["values"]) == len(PARAMS)
    assert found["epochs"] == 2 * len(PARAMS)
    assert max(found["values"]) > 0.8


def test_the_idle_share_is_what_the_system_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = iter([[100, 0, 50, 800, 50, 0, 0, 0], [160, 0, 70, 900, 70, 0, 0, 0]])
    monkeypatch.setattr(record, "_ticks", lambda stat: next(counted))
    assert record.idle_share(0, 0) == pytest.approx((100 + 20) / 200)


@given(start=st.floats(0.1, 10), each=st.floats(1e-4, 0.1))
def test_points_on_a_line_are_fitted_without_residual(start: float, each: float) -> None:
    points = [scaling.Point(trials=n, seconds=start + each * n, mib=0) for n in scaling.NUM_TRIALS]
    found_start, found_each, residual = scaling.fit(points)
    assert (found_start, found_each) == pytest.approx((start, each), rel=1e-6)
    assert residual < 1e-6
    assert scaling.slope(*points[2:]) == pytest.approx(each)


def test_a_curve_is_not_taken_for_a_line() -> None:
    points = [scaling.Point(trials=n, seconds=1 + n**1.5, mib=0) for n in scaling.NUM_TRIALS]
    assert scaling.fit(points)[2] > 0.1
    assert scaling.slope(*points[2:]) > scaling.TIME_TARGET * scaling.slope(*points[1:3])


def test_the_simulated_worker_and_ray_tunes_trainable_train_the_same_trial() -> None:
    config = TrainConfig(learning_rate=0.003)
    member = Member(trial=0, seed=5, config=config)
    group = TrialGroup(name="one", members=(member,), order_seed=0, start_epoch=0, end_epoch=4)
    reports = list(overhead.SimulatedWorker().train(group))
    trainable = overhead.Trainable({"params": {"learning_rate": 0.003, "seed": 5}})
    results = [trainable.train() for _ in range(4)]
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    curve = [result["val_accuracy"] for result in results]
    assert curve == [report.metrics["val_accuracy"][0] for report in reports]
    assert results[-1]["best"] == max(curve)


def test_the_searches_of_the_soak_are_good() -> None:
    search = load({**soak.SPEC, "name": "soak"})
    assert search.resources.width != "auto", "or tables would not be equal"


@given(
    slope=st.floats(-50, 50),
    seed=st.integers(0, 2**32 - 1),
    spread=st.floats(0.01, 2),
)
def test_growth_is_seen_through_noise_and_noise_is_no_growth(
    slope: float, seed: int, spread: float
) -> None:
    hours = np.linspace(0, 1, 120)
    noise = np.random.default_rng(seed).normal(0, spread, 120)
    found = vitals.growth(list(hours), list(100 + slope * hours + noise))
    assert abs(found.an_hour - slope) < 6 * found.error
    if slope > 40:
        assert found.is_unbounded
    if slope < 5:
        assert not found.is_unbounded


def test_what_grew_at_first_alone_is_bounded() -> None:
    hours = np.linspace(0, 1, 120)
    assert not vitals.growth(list(hours), list(np.minimum(hours, 0.4) * 1000)).is_unbounded


def _contest(tool: str, folder: Path) -> dict[str, object]:
    task = contestants.Task(
        data=peers.DIGITS.data, train=peers.MLP, params=PARAMS, epochs=2, folder=str(folder)
    )
    file = folder / "task.json"
    file.write_text(json.dumps(asdict(task)))
    command = [sys.executable, str(BENCHMARKS / "contestants.py"), tool, str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, object] = json.loads((folder / "values.json").read_text())
    return found
