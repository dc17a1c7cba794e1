"""What an update does beside the optimizer's rule: each part against PyTorch or a plain loop."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from training_cases import CPU, config, shape

from workers.messages import Member
from workers.training.models import build_model
from workers.training.stack import Stack

ROWS = 3


def _stack(**fields: object) -> Stack:
    """Three rows; a field given as a list differs from row to row."""
    configs = [
        config(
            **{
                "optimizer": "sgd",
                "learning_rate": 0.1,
                **{name: v[i] if isinstance(v, list) else v for name, v in fields.items()},
            }
        )
        for i in range(ROWS)
    ]
    members = [Member(trial=i, seed=i, config=c) for i, c in enumerate(configs)]
    stack = Stack(build_model(configs[0], shape()), members, CPU, torch.float64)
    stack.initialize()
    return stack


def _random_gradients(stack: Stack, seed: int = 0, scale: float = 1.0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(view.shape, generator=draw, dtype=torch.float64) * scale
        for name, view in stack.views("weights").items()
    }


def _weights(stack: Stack) -> dict[str, Tensor]:
    return {name: view.clone() for name, view in stack.views("weights").items()}


def _update(stack: Stack, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    stack.accumulate(gradients.values(), 16)
    return stack.update(watched=True)


def _twin(
    weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], row: int
) -> nn.ParameterDict:
    """One row's parameters as PyTorch has them, with their gradients."""
    names = {name: name.replace(".", "_") for name in weights}
    twin = nn.ParameterDict({names[name]: weights[name][row].clone() for name in weights})
    for name, parameter in names.items():
        twin[parameter].grad = gradients[name][row].clone()
    return twin


def _assert_equals_twin(stack: Stack, twin: nn.ParameterDict, row: int) -> None:
    for name, view in stack.views("weights").items():
        expected = twin[name.replace(".", "_")]
        torch.testing.assert_close(view[row], expected.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("fields", "clip"),
    [
        (
            {"gradient_clip_norm": [0.5, 3.0, None]},
            lambda p, i: nn.utils.clip_grad_norm_(p, [0.5, 3.0, float("inf")][i]),
        ),
        (
            {"gradient_clip_value": [0.1, 0.7, None]},
            lambda p, i: nn.utils.clip_grad_value_(p, [0.1, 0.7, float("inf")][i]),
        ),
    ],
    ids=["norm", "value"],
)
def test_clipping_is_that_of_torch_nn_utils(fields: dict[str, object], clip: object) -> None:
    stack = _stack(**fields)
    before, gradients = _weights(stack), _random_gradients(stack)
    _update(stack, gradients)
    for row in range(ROWS):
        twin = _twin(before, gradients, row)
        clip(twin.parameters(), row)
        torch.optim.SGD(twin.parameters(), lr=0.1).step()
        _assert_equals_twin(stack, twin, row)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "lion"])
@pytest.mark.parametrize("biases_too", [False, True])
def test_weight_decay_spares_biases_unless_asked(optimizer: str, biases_too: bool) -> None:
    decay = [0.0, 0.1, 0.3]
    stack = _stack(optimizer=optimizer, weight_decay=decay, decay_biases=biases_too, bias_init=0.5)
    plain = _stack(optimizer=optimizer, bias_init=0.5)
    before, gradients = _weights(stack), _random_gradients(stack)
    decoupled = optimizer in ("adamw", "lion")
    _update(stack, gradients)
    for name in gradients:
        included = biases_too or name.endswith("weight")
        amount = torch.tensor(decay, dtype=torch.float64).view(-1, *[1] * (before[name].dim() - 1))
        if included and decoupled:
            plain.views("weights")[name].mul_(1 - 0.1 * amount)
        elif included:
            gradients[name] = gradients[name] + amount * before[name]
    _update(plain, gradients)
    torch.testing.assert_close(stack.weights_MP, plain.weights_MP, rtol=1e-12, atol=1e-14)


def test_the_elastic_net_adds_both_penalties_gradient() -> None:
    """Against the finite difference of l1 |w| + l2 / 2 w^2."""
    stack = _stack(l1=[0.0, 0.2, 0.3], weight_decay=[0.0, 0.0, 0.4])
    before = _weights(stack)
    _update(stack, {name: torch.zeros_like(w) for name, w in before.items()})
    for row, (l1, l2) in enumerate([(0.0, 0.0), (0.2, 0.0), (0.3, 0.4)]):
        w = before["0.weight"][row]

        def penalty(x: Tensor, l1: float = l1, l2: float = l2) -> Tensor:
            return l1 * x.abs() + l2 / 2 * x * x

        slope = (penalty(w + 1e-7) - penalty(w - 1e-7)) / 2e-7
        moved = (before["0.weight"] - stack.views("weights")["0.weight"])[row] / 0.1
        torch.testing.assert_close(moved, slope, rtol=1e-5, atol=1e-7)
        assert torch.equal(stack.views("weights")["0.bias"][row], before["0.bias"][row])


def test_max_norm_is_torch_renorm_of_the_weights_into_each_unit() -> None:
    stack = _stack(max_norm=[0.3, 1.5, None])
    plain = _stack()
    gradients = _random_gradients(stack)
    _update(stack, gradients)
    _update(plain, gradients)
    for name, expected in plain.views("weights").items():
        found = stack.views("weights")[name]
        for row, limit in enumerate([0.3, 1.5]):
            if name.endswith("weight"):
                torch.testing.assert_close(found[row], expected[row].renorm(2, 0, limit))
            else:
                assert torch.equal(found[row], expected[row])
        assert torch.equal(found[2], expected[2])


def test_the_average_is_torchs_exponential_moving_average() -> None:
    decays = [0.9, 0.5, 0.0]
    stack = _stack(ema_decay=decays)
    averages = [
        torch.optim.swa_utils.AveragedModel(
            _twin(_weights(stack), _random_gradients(stack), row),
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay),
        )
        for row, decay in enumerate(decays)
    ]
    for step in range(6):
        _update(stack, _random_gradients(stack, step))
        for row, average in enumerate(averages):
            average.update_parameters(_twin(_weights(stack), _random_gradients(stack), row))
    for row, average in enumerate(averages):
        for name, view in stack.evaluated().items():
            expected = average.module[name.replace(".", "_")]
            torch.testing.assert_close(view[row], expected.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_layer_multipliers_are_torchs_parameter_groups(optimizer: str) -> None:
    stack = _stack(
        optimizer=optimizer, lr_multipliers=[(0.1, 2.0), (1.0, 0.5), ()], weight_decay=0.1
    )
    make = {
        "sgd": torch.optim.SGD,
        "momentum": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9),
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }[optimizer]
    before = _weights(stack)
    gradients = [_random_gradients(stack, seed) for seed in range(4)]
    for each in gradients:
        _update(stack, each)
    for row, rates in enumerate([(0.1, 2.0), (1.0, 0.5), (1.0, 1.0)]):
        twin = _twin(before, gradients[0], row)
        groups = [
            {
                "params": [twin[f"{layer}_{kind}"]],
                "lr": 0.1 * rate,
                "weight_decay": 0.1 if kind == "weight" else 0.0,
            }
            for layer, rate in enumerate(rates)
            for kind in ("weight", "bias")
        ]
        rule = make(groups, lr=0.1)
        for each in gradients:
            for name in each:
                twin[name.replace(".", "_")].grad = each[name][row]
            rule.step()
        _assert_equals_twin(stack, twin, row)


def test_frozen_layers_stay_to_the_last_bit() -> None:
    stack = _stack(optimizer="adamw", frozen_layers=[0, 1, 1], weight_decay=0.1)
    before = _weights(stack)
    _update(stack, _random_gradients(stack))
    after = stack.views("weights")
    for name in ("0.weight", "0.bias"):
        assert not torch.equal(after[name][0], before[name][0])
        assert torch.equal(after[name][1:], before[name][1:])
    assert not torch.equal(after["1.weight"][1], before["1.weight"][1])


def test_accumulated_gradients_weigh_by_their_examples() -> None:
    stack, whole = _stack(), _stack()
    parts = [_random_gradients(stack, seed) for seed in range(3)]
    counts = [16, 16, 5]
    for part, num_examples in zip(parts, counts, strict=True):
        stack.accumulate(part.values(), num_examples)
    stack.update()
    mean = {
        name: sum(n * part[name] for part, n in zip(parts, counts, strict=True)) / sum(counts)
        for name in parts[0]
    }
    _update(whole, mean)
    torch.testing.assert_close(stack.weights_MP, whole.weights_MP, rtol=1e-12, atol=1e-14)
    assert stack.updates == 1


def test_gradient_noise_has_the_variance_of_neelakantan() -> None:
    stack = _stack(gradient_noise=[0.0, 0.3, 2.0], hidden_units=(400,))
    for step in range(1, 4):
        before = stack.weights_MP.clone()
        _update(stack, {n: torch.zeros_like(w) for n, w in stack.views("weights").items()})
        moved_MP = (before - stack.weights_MP) / 0.1
        assert torch.equal(moved_MP[0], torch.zeros_like(moved_MP[0]))
        for row, eta in ((1, 0.3), (2, 2.0)):
            expected = eta / (1 + (step - 1)) ** 0.55
            assert moved_MP[row].var().item() == pytest.approx(expected, rel=0.1)
            assert abs(moved_MP[row].mean().item()) < 0.1
        correlation = torch.corrcoef(moved_MP[1:])[0, 1].item()
        assert abs(correlation) < 0.1, "rows of different trials have noise of their own"


def test_a_row_is_updated_alone_as_in_company() -> None:
    fields = {
        "gradient_clip_norm": [0.5, None, 2.0],
        "gradient_noise": [0.1, 0.0, 0.2],
        "max_norm": [None, 1.0, 2.0],
        "ema_decay": [0.0, 0.9, 0.5],
        "l1": [0.1, 0.0, 0.0],
        "optimizer": ["adam", "sgd", "lion"],
        "lr_multipliers": [(), (0.5, 1.0), ()],
    }
    together = _stack(**fields)
    for trial in range(ROWS):
        place = [member.trial for member in together.members].index(trial)
        one = {name: values[trial] for name, values in fields.items()}
        member = Member(trial=trial, seed=trial, config=config(**{"learning_rate": 0.1, **one}))
        alone = Stack(together.model, [member], CPU, torch.float64)
        alone.initialize()
        company = _stack(**fields)
        for step in range(3):
            gradients = _random_gradients(company, step)
            _update(company, gradients)
            _update(alone, {name: g[place : place + 1] for name, g in gradients.items()})
        torch.testing.assert_close(
            company.weights_MP[place], alone.weights_MP[0], rtol=1e-12, atol=1e-14
        )


def test_what_is_watched_of_an_update_is_what_it_was() -> None:
    stack = _stack(optimizer="momentum", gradient_clip_norm=0.01)
    before, gradients = stack.weights_MP.clone(), _random_gradients(stack)
    seen = _update(stack, gradients)
    flat_MP = torch.cat([g.flatten(1) for g in gradients.values()], dim=1)
    torch.testing.assert_close(seen["gradient_norm"], flat_MP.norm(dim=1))
    for layer in range(2):
        parts = [gradients[f"{layer}.{kind}"].flatten(1) for kind in ("weight", "bias")]
        expected = torch.cat(parts, dim=1).norm(dim=1)
        torch.testing.assert_close(seen["layer_gradient_norms"][:, layer], expected)
    ratio_M = (stack.weights_MP - before).norm(dim=1) / before.norm(dim=1)
    torch.testing.assert_close(seen["update_ratio"], ratio_M)


def test_the_ratio_of_zero_weights_is_not_a_number() -> None:
    stack = _stack(initialization="zeros")
    assert _update(stack, _random_gradients(stack))["update_ratio"].isnan().all()


def test_frozen_layers_count_in_no_norm_and_no_other_part_moves_them() -> None:
    stack = _stack(
        frozen_layers=[0, 1, 1], gradient_clip_norm=0.5, max_norm=0.5, gradient_noise=0.1
    )
    before, gradients = _weights(stack), _random_gradients(stack)
    seen = _update(stack, gradients)
    head = torch.cat([gradients[f"1.{kind}"].flatten(1) for kind in ("weight", "bias")], dim=1)
    torch.testing.assert_close(seen["gradient_norm"][1:], head.norm(dim=1)[1:])
    for name in ("0.weight", "0.bias"):
        assert torch.equal(stack.views("weights")[name][1:], before[name][1:])


def test_the_head_of_a_frozen_network_is_clipped_as_if_it_were_alone() -> None:
    stack = _stack(frozen_layers=1, gradient_clip_norm=0.1)
    before, gradients = _weights(stack), _random_gradients(stack)
    _update(stack, gradients)
    moved = [before[f"1.{k}"] - stack.views("weights")[f"1.{k}"] for k in ("weight", "bias")]
    step_M = torch.cat([m.flatten(1) for m in moved], dim=1).norm(dim=1)
    torch.testing.assert_close(step_M, torch.full_like(step_M, 0.1 * 0.1), rtol=1e-4, atol=0)


def test_one_multiplier_stands_for_all_layers_and_zero_freezes() -> None:
    stack = _stack(lr_multipliers=[0.0, 0.5, ()])
    plain = _stack()
    before, gradients = _weights(stack), _random_gradients(stack)
    _update(stack, gradients)
    _update(plain, gradients)
    for name, was in before.items():
        now, full = stack.views("weights")[name], plain.views("weights")[name]
        assert torch.equal(now[0], was[0])
        torch.testing.assert_close(now[1] - was[1], 0.5 * (full[1] - was[1]))
        assert torch.equal(now[2], full[2])
