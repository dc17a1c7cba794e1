"""Augmentation: geometry against closed forms, noise against its moments, rows against company."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import affine_grid
from torch.utils._python_dispatch import TorchDispatchMode
from training_cases import CPU, config, device_data, folded, images

from workers.data.dataset import Transform
from workers.training.columns import Columns
from workers.training.feed import Batch, Feed
from workers.training.feed.augmentation import mixup_shares
from workers.training.feed.geometry import outside_squares, sampling_grid, warp
from workers.training.keyed import generator

DOUBLE = torch.float64
AMOUNTS = {
    "translation": 0.3,
    "rotation": 40.0,
    "scaling": 0.4,
    "flip": 0.5,
    "cutout": 0.5,
    "input_noise": 0.7,
    "corruption": 0.3,
    "mixup": 0.8,
}


def _columns(*amounts: dict[str, float], folds: list[int] | None = None) -> Columns:
    configs = [config(**own) for own in amounts]
    return Columns(configs, range(len(configs)), folds or [0] * len(configs), CPU, DOUBLE)


def _batches(columns: Columns, feed: Feed | None = None, epoch: int = 0) -> list[Batch]:
    feed = feed or Feed(device_data(images()), 7)
    return list(feed.minibatches(columns, epoch, DOUBLE))


def _inputs(columns: Columns, feed: Feed | None = None, epoch: int = 0) -> Tensor:
    return torch.cat([batch.x_mBF for batch in _batches(columns, feed, epoch)], 1)


def _warped(pictures: Tensor, scale: float, angle: float, right: float, down: float) -> Tensor:
    """All pictures [N, C, H, W] changed alike; the angle in degrees."""
    count = len(pictures)
    numbers = torch.tensor([scale, math.radians(angle)], dtype=DOUBLE)
    shift = torch.tensor([[right, down]], dtype=DOUBLE).expand(count, 2)
    return warp(pictures, numbers[0].expand(count), numbers[1].expand(count), shift)


def _pictures(height: int = 6, width: int = 6) -> Tensor:
    return torch.rand(3, 2, height, width, dtype=DOUBLE, generator=generator("pictures"))


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_quarter_turns_are_rot90(quarters: int) -> None:
    turned = _warped(_pictures(), 1.0, 90.0 * quarters, 0, 0)
    assert torch.allclose(turned, torch.rot90(_pictures(), quarters, (2, 3)), atol=1e-12)


def test_half_a_turn_of_an_oblong_image_flips_both_axes() -> None:
    oblong = _pictures(4, 7)
    assert torch.allclose(_warped(oblong, 1.0, 180.0, 0, 0), oblong.flip(2, 3), atol=1e-12)


def test_a_shift_by_whole_pixels_moves_the_array_and_leaves_zeros() -> None:
    oblong = _pictures(4, 8)
    expected = torch.zeros_like(oblong)
    expected[:, :, :-1, 3:] = oblong[:, :, 1:, :-3]
    assert torch.allclose(_warped(oblong, 1.0, 0, 3 / 8, -1 / 4), expected, atol=1e-12)


def test_a_pixel_comes_from_where_the_inverse_of_scale_turn_and_shift_puts_it() -> None:
    height, width, scale, angle, right, down = 5, 9, 1.3, 0.6, 0.2, -0.15
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    shift = np.array([right * width, down * height])
    one = torch.ones(1, dtype=DOUBLE)
    shift_12 = torch.tensor([[right, down]], dtype=DOUBLE)
    grid = sampling_grid(height, width, scale * one, angle * one, shift_12)[0]
    for row in range(height):
        for column in range(width):
            pixel = np.array([column + 0.5 - width / 2, row + 0.5 - height / 2])
            source = np.linalg.solve(scale * turn, pixel - shift)
            expected = source / np.array([width / 2, height / 2])
            np.testing.assert_allclose(grid[row, column], expected, atol=1e-12)


def test_the_grid_of_a_square_image_is_affine_grids() -> None:
    angle, scale = torch.tensor([0.4, -2.0], dtype=DOUBLE), torch.tensor([0.7, 1.2], dtype=DOUBLE)
    shift = torch.tensor([[0.1, 0.0], [-0.2, 0.3]], dtype=DOUBLE)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(2, 2, 2)
    inverse = turn / scale[:, None, None]
    theta = torch.cat([inverse, -inverse @ (2 * shift)[:, :, None]], 2)
    expected = affine_grid(theta, [2, 1, 6, 6], align_corners=False)
    assert torch.allclose(sampling_grid(6, 6, scale, angle, shift), expected, atol=1e-12)


def test_squares_cut_their_area_where_they_lie_inside_and_less_at_the_edge() -> None:
    side = torch.tensor([0, 1, 4, 10])
    centre = torch.tensor([[0.5, 0.5], [0.01, 0.01], [0.99, 0.5]], dtype=DOUBLE)
    cut = (~outside_squares(10, 10, side, centre)).sum((2, 3))
    assert cut.tolist() == [[0, 0, 0], [1, 1, 1], [16, 4, 12], [100, 25, 60]]


def test_cutout_sets_a_square_of_all_channels_to_zero_after_the_preprocessing() -> None:
    shift = np.full(128, 5, np.float32)
    dataset = replace(images(), transforms=(Transform(shift=shift),))
    feed = Feed(device_data(dataset), 7)
    plain, cut = (_inputs(_columns({"cutout": share}), feed) for share in (0.0, 0.5))
    is_cut = (cut == 0).view(60, 2, 8, 8)
    assert torch.equal(cut[0], plain[0].masked_fill(is_cut.flatten(1), 0))
    assert torch.equal(is_cut[:, 0], is_cut[:, 1])
    sides = is_cut[:, 0].any(2).sum(1), is_cut[:, 0].any(1).sum(1)
    assert (is_cut[:, 0].sum((1, 2)) == sides[0] * sides[1]).all()
    assert {int(side) for side in torch.cat(sides)} == {2, 3, 4}


def test_images_are_moved_before_the_preprocessing_so_that_edges_are_black() -> None:
    white = replace(
        images(),
        x_train=np.full((60, 8, 8), 255, np.uint8),
        unit=1 / 255,
        transforms=(Transform(shift=np.full(64, 0.25, np.float32)),),
    )
    moved = _inputs(_columns({"translation": 0.6}), Feed(device_data(white), 7))
    assert float(moved.min()) == -0.25
    assert float(moved.max()) == pytest.approx(0.75)


def _centres(pictures_NHW: Tensor) -> Tensor:
    """Centres of mass [N, 2] (down, right) in pixels from the middle."""
    place = torch.arange(pictures_NHW.shape[1], dtype=DOUBLE) - (pictures_NHW.shape[1] - 1) / 2
    mass = pictures_NHW.sum((1, 2))
    moments = (pictures_NHW.sum(2) * place).sum(1), (pictures_NHW.sum(1) * place).sum(1)
    return torch.stack(moments, 1) / mass[:, None]


def test_translations_are_uniform_up_to_the_rows_share_of_the_side() -> None:
    dots = np.zeros((600, 32, 32), np.float32)
    dots[:, 15:17, 15:17] = 1
    data = device_data(replace(images(), x_train=dots, y_train=np.zeros(600, np.int64)))
    columns = _columns({"translation": 0.25}, {"translation": 0.125})
    moved = _inputs(columns, Feed(data, 7)).view(2, 600, 32, 32)
    far, near = _centres(moved[0]), _centres(moved[1])
    assert torch.allclose(far, 2 * near, atol=1e-9)
    assert 7.9 < float(far.abs().max()) <= 8
    assert torch.allclose(far.mean(0), torch.zeros(2, dtype=DOUBLE), atol=4 * 8 / math.sqrt(1800))
    assert torch.allclose(far.std(0), torch.full((2,), 8 / math.sqrt(3), dtype=DOUBLE), rtol=0.1)


def test_scaling_changes_lengths_by_factors_in_the_rows_range() -> None:
    squares = np.zeros((600, 32, 32), np.float32)
    squares[:, 10:22, 10:22] = 1
    data = device_data(replace(images(), x_train=squares, y_train=np.zeros(600, np.int64)))
    scaled = _inputs(_columns({"scaling": 0.5}), Feed(data, 7)).view(600, 32, 32)
    factors = (scaled.sum((1, 2)) / 144).sqrt()
    assert float(factors.min()) == pytest.approx(0.5, abs=0.05)
    assert float(factors.max()) == pytest.approx(1.5, abs=0.05)
    assert float(factors.mean()) == pytest.approx(1.0, abs=0.05)


def test_a_flip_mirrors_left_and_right_with_the_rows_chance() -> None:
    chances = (0.0, 0.3, 1.0)
    feed, flipped = Feed(device_data(images()), 7), torch.zeros(3)
    columns = _columns(*({"flip": chance} for chance in chances))
    for epoch in range(30):
        plain = _inputs(_columns({}), feed, epoch).view(1, 60, 2, 8, 8)
        seen = _inputs(columns, feed, epoch).view(3, 60, 2, 8, 8)
        is_flipped = (seen == plain.flip(4)).flatten(2).all(2)
        assert (is_flipped ^ (seen == plain).flatten(2).all(2)).all()
        flipped += is_flipped.sum(1)
    shares = flipped / 1800
    assert shares[0] == 0
    assert shares[1] == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 1800))
    assert shares[2] == 1


def test_noise_has_mean_0_and_the_rows_deviation_and_is_one_draw_for_all() -> None:
    deviations = (0.5, 2.0)
    columns = _columns({}, *({"input_noise": deviation} for deviation in deviations))
    seen = _inputs(columns)
    noise = seen[1:] - seen[:1]
    count = noise[0].numel()
    for own, deviation in zip(noise, deviations, strict=True):
        assert float(own.mean()) == pytest.approx(0, abs=4 * deviation / math.sqrt(count))
        assert float(own.std()) == pytest.approx(deviation, rel=4 / math.sqrt(2 * count))
    assert torch.allclose(4 * noise[0], noise[1], atol=1e-9)


def test_corruption_sets_the_rows_share_to_zero_and_does_not_rescale_the_rest() -> None:
    shares = (0.0, 0.2, 0.9)
    seen = _inputs(_columns(*({"corruption": share} for share in shares)))
    plain, lost = seen[0], seen == 0
    count = plain.numel()
    for own, is_lost, share in zip(seen, lost, shares, strict=True):
        expected = pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / count))
        assert float(is_lost.double().mean()) == expected
        assert torch.equal(own[~is_lost], plain[~is_lost])
    assert (lost[2] | ~lost[1]).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_shares_have_the_moments_of_their_beta(alpha: float) -> None:
    shares = mixup_shares([alpha, 0.0], 7, 0, 40_000)
    assert (shares[:, 1] == 1).all()
    assert shares[:, 0].mean() == pytest.approx(0.5, abs=0.01)
    assert shares[:, 0].var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.02)


def test_mixup_shares_of_a_row_do_not_depend_on_the_others() -> None:
    together = mixup_shares([0.3, 2.0, 0.0], 7, 3, 50)
    np.testing.assert_array_equal(together[:, 1:2], mixup_shares([2.0], 7, 3, 50))
    assert not np.array_equal(together[:, 1:2], mixup_shares([2.0], 7, 4, 50))


def test_mixup_mixes_each_input_with_that_of_the_partner_whose_target_it_names() -> None:
    plain = _batches(_columns({}))
    mixed = _batches(_columns({"mixup": 0.8}, {"mixup": 0.0}))
    places = {tuple(x.tolist()): i for i, x in enumerate(torch.cat([b.x_mBF for b in plain], 1)[0])}
    targets = torch.cat([b.y_mB for b in plain], 1)[0]
    for before, after in zip(plain, mixed, strict=True):
        assert after.share_M is not None
        assert after.partner_mB is not None
        share = float(after.share_M[0])
        partners = (after.x_mBF[0] - share * before.x_mBF[0]) / (1 - share)
        found = torch.cdist(partners, torch.cat([b.x_mBF for b in plain], 1)[0]).argmin(1)
        assert sorted(found.tolist()) == sorted(places[tuple(x.tolist())] for x in before.x_mBF[0])
        assert torch.equal(targets[found], after.partner_mB[0])
        assert torch.equal(after.x_mBF[1], before.x_mBF[0])
        assert after.share_M[1] == 1
        assert torch.equal(after.y_mB, before.y_mB)


@pytest.mark.parametrize("name", AMOUNTS)
def test_a_row_without_it_sees_what_it_sees_where_nobody_has_it(name: str) -> None:
    # A side of 7: resampling by the identity would already round.
    feed = Feed(device_data(images(side=7)), 7)
    alone = _inputs(_columns({}), feed)
    company = _inputs(_columns({name: AMOUNTS[name]}, {}), feed)
    assert alone.shape[0] == 1
    assert torch.equal(company[1:], alone)
    assert not torch.equal(company[:1], alone)


@pytest.mark.parametrize("name", [*AMOUNTS, "all"])
def test_a_row_sees_the_same_alone_and_in_any_company(name: str) -> None:
    own = AMOUNTS if name == "all" else {name: AMOUNTS[name]}
    others = {key: amount / 2 for key, amount in AMOUNTS.items()}
    company = _columns(others, own, {}, folds=[0, 1, 2])
    dataset = replace(folded(), x_train=images(90).x_train)
    feed = Feed(device_data(dataset), 7)
    alone, together = _inputs(_columns(own, folds=[1]), feed), _inputs(company, feed)
    assert torch.equal(alone, together[1:2])


@pytest.mark.parametrize("name", AMOUNTS)
def test_draws_differ_between_minibatches_epochs_and_seeds_and_repeat_with_their_key(
    name: str,
) -> None:
    constant = np.broadcast_to(images().x_train[:1], (64, 2, 8, 8))
    ordered = constant + np.arange(64, dtype=np.float32)[:, None, None, None] * (name == "mixup")
    data = device_data(replace(images(), x_train=ordered, y_train=np.arange(64) % 3))
    columns = _columns({name: AMOUNTS[name], "batch_size": 32})
    first, second = (batch.x_mBF for batch in _batches(columns, Feed(data, 7)))
    assert not torch.equal(first, second)
    assert torch.equal(first, _batches(columns, Feed(data, 7))[0].x_mBF)
    assert not torch.equal(first, _batches(columns, Feed(data, 8))[0].x_mBF)
    assert not torch.equal(first, _batches(columns, Feed(data, 7), epoch=1)[0].x_mBF)


class _Reads(TorchDispatchMode):
    """Counts what would make a device wait for the host."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_minibatch_with_everything_on_reads_nothing_from_the_device() -> None:
    dataset = replace(folded(), x_train=images(90).x_train)
    columns = _columns(*[{**AMOUNTS, "sampling": "hard"}] * 3, folds=[0, 1, 2])
    losses = torch.rand(3, 60, generator=generator("losses"))
    minibatches = Feed(device_data(dataset), 7).minibatches(columns, 0, DOUBLE, losses)
    next(minibatches)  # what is read once an epoch is read by now
    with _Reads() as reads:
        next(minibatches)
    assert "aten.grid_sampler_2d.default" in reads.operations
    waits = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero")
    assert not [name for name in reads.operations if any(wait in name for wait in waits)]


def test_validation_is_never_augmented() -> None:
    feed = Feed(device_data(images()), 7)
    (seen, _), (plain, _) = (
        next(feed.validation(columns, 100, DOUBLE)) for columns in (_columns(AMOUNTS), _columns({}))
    )
    assert torch.equal(seen, plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_augmented_inputs_have_the_type_that_was_asked_for(dtype: torch.dtype) -> None:
    columns = Columns([config(**AMOUNTS)], [0], [0], CPU, dtype)
    batch = next(Feed(device_data(images()), 7).minibatches(columns, 0, dtype))
    assert batch.share_M is not None
    assert {batch.x_mBF.dtype, batch.share_M.dtype} == {dtype}
