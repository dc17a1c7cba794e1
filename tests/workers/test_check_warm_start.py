"""Checks of a probe that starts warm: from the weights that were found, or what is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from check_cases import a_plan, a_subject, look
from safetensors.torch import save_file
from training_cases import blobs, config, device_data, folded, group

from workers.data import Dataset
from workers.messages import CheckpointSlice
from workers.training.checks import CHECKS, check
from workers.training.checks.subject import Network
from workers.training.loop import train

WARM = "digits/3"
FROM_START = {"initial_loss", "regularized_loss", "signal", "fit_twenty", "rate_range"}
# From such a start nothing is learned: what passes has seen the weights that were found.
DEAD = {"hidden_units": (9, 9), "initialization": "zeros", "warm_start": WARM}


def _trained(folder: Path, dataset: Dataset | None = None, **fields: object) -> CheckpointSlice:
    """The checkpoint of the second of two trials that have learned the data."""
    first, second = (config(learning_rate=rate, **fields) for rate in (1e-3, 0.05))
    one = group(first, second, epochs=30, checkpoint_stem=str(folder / "first"))
    file = list(train(one, device_data(dataset)))[-1].checkpoint
    assert file is not None
    return CheckpointSlice(file=file, row=1)


def test_checks_start_from_the_weights_that_were_found(tmp_path: Path) -> None:
    start = _trained(tmp_path, hidden_units=(9, 9))
    found = list(check(a_plan(config(**DEAD), warm_start=start), device_data()))
    assert {r.name for r in found} == {*CHECKS, "classes"} - {"targets"}
    assert not [r.text for r in found if r.verdict == "fail"]
    by_name = {r.name: r for r in found}
    assert (
        by_name["initial_loss"].evidence["loss"] < 0.5 * by_name["initial_loss"].evidence["chance"]
    )
    assert {by_name[name].verdict for name in ("signal", "fit_twenty")} == {"pass"}
    cold = list(check(a_plan(config(**{**DEAD, "warm_start": None})), device_data()))
    assert {"signal", "fit_twenty"} <= {r.name for r in cold if r.verdict == "fail"}


@pytest.mark.parametrize("dataset", [blobs, folded])
def test_every_row_has_the_weights_of_the_trial(dataset: type[Dataset], tmp_path: Path) -> None:
    start = _trained(tmp_path, dataset())
    subject = a_subject(device_data(dataset()), warm_start=WARM, start=start)
    stack = Network(subject, subject.config, subject.seeds(3)).stack
    alone = a_subject(warm_start=WARM, start=start)
    other = Network(alone, alone.config, alone.seeds(1)).stack
    assert torch.equal(stack.weights_MP, other.weights_MP.expand(3, -1))
    fresh = a_subject(warm_start=None, start=start)
    cold = Network(fresh, fresh.config, fresh.seeds(1)).stack
    assert not torch.equal(cold.weights_MP, other.weights_MP)


def test_what_depends_on_weights_that_were_not_found_is_skipped() -> None:
    found = list(check(a_plan(config(weight_decay=1e-3, **DEAD)), device_data()))
    skipped = [r for r in found if r.verdict == "skip"]
    assert {r.name for r in skipped} == FROM_START
    assert all(f"starts from {WARM}, whose weights were not found" in r.text for r in skipped)
    assert {r.name for r in found if r.verdict == "pass"} >= {"inputs", "gradients", "cost"}


def test_a_warm_start_of_another_network_is_said_to_fail(tmp_path: Path) -> None:
    start = _trained(tmp_path)
    for fields, source, said in (
        ({"hidden_units": (8,)}, start, "same layers and normalization: such trials fail"),
        ({}, CheckpointSlice(file=str(tmp_path / "none"), row=0), "cannot be read"),
    ):
        plan = a_plan(config(warm_start=WARM, **fields), warm_start=source)
        (found,) = check(plan, device_data())
        assert (found.name, found.verdict) == ("configuration", "fail")
        assert found.text.startswith("warm_start: ")
        assert said in found.text


def _of_numbers(folder: Path, scale: float) -> CheckpointSlice:
    """Weights of a network that is sure of what it says, and wrong."""
    draw = torch.Generator().manual_seed(0)
    shapes = {"0.weight": (9, 12), "0.bias": (9,), "1.weight": (4, 9), "1.bias": (4,)}
    tensors = {n: scale * torch.randn(s, generator=draw) for n, s in shapes.items()}
    save_file(tensors, str(folder / "sure.safetensors"))
    return CheckpointSlice(file=str(folder / "sure.safetensors"), row=0)


def test_a_warm_start_worse_than_guessing_warns_as_it_may_be_unlearned(tmp_path: Path) -> None:
    start = _of_numbers(tmp_path, 5.0)
    found = look("initial_loss", warm_start=WARM, start=start)
    assert found.evidence["loss"] > 10 * found.evidence["chance"]
    assert found.verdict == "warn"
    assert "all_but_head" in found.text
    broken = _of_numbers(tmp_path, float("inf"))
    assert look("initial_loss", warm_start=WARM, start=broken).verdict == "fail"


def test_weights_that_fit_already_have_no_signal_to_lose(tmp_path: Path) -> None:
    # A hinge is exactly 0 where every example is beyond the margin, and so is its gradient.
    fields = {"loss": "hinge", "hinge_margin": 0.5, "hidden_units": (40, 40)}
    start = _trained(tmp_path, blobs(num_train=8), **fields)
    data = device_data(blobs(num_train=8))
    found = look("signal", data, warm_start=WARM, start=start, **fields)
    assert (found.verdict, set(found.evidence["gradients"])) == ("skip", {0.0})
    assert "fit these examples already" in found.text
