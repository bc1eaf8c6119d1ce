import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_pclmix.config import config_from_plans
from nnunetv2_pclmix.dataloading.mix import (
    Mix,
    apply_mix,
    draw_mix,
    images_of_a_step,
    inside_boxes,
    sample_nearest,
    scale_box,
)
from tests import oracles


@given(
    st.integers(0, 10_000),
    st.sampled_from([(8, 12), (7, 5), (5, 6, 7), (1, 9, 9)]),
    st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_equals_the_plain_loop(seed, patch_size, fraction):
    rng = np.random.default_rng(seed)
    mix = draw_mix(3, patch_size, fraction, rng)
    values, background = torch.from_numpy(rng.normal(size=(2, 3, 2, *patch_size)))
    for other in (None, background):
        expected = oracles.mix(
            values.numpy(), (values if other is None else other).numpy(), mix.partners.numpy(), mix.boxes.numpy()
        )
        assert np.array_equal(apply_mix(values, mix, other).numpy(), expected)


def test_the_box_covers_its_share_with_a_random_aspect():
    mix = draw_mix(500, (224, 192), 0.2, np.random.default_rng(0))
    sides = (mix.boxes[..., 1] - mix.boxes[..., 0]).double()
    share = sides.prod(1) / (224 * 192)
    assert share.mean().item() == pytest.approx(0.2, abs=0.005)
    assert share.min() > 0.18
    assert share.max() < 0.22
    aspect = sides[:, 0] / sides[:, 1]
    assert aspect.min() < 0.5
    assert aspect.max() > 2
    assert (mix.boxes[..., 0] >= 0).all()
    assert (mix.boxes[..., 1] <= torch.tensor([224, 192])).all()


def test_boxes_reach_every_voxel_and_partners_are_permutations():
    rng = np.random.default_rng(0)
    covered = np.zeros((6, 6), dtype=bool)
    for _ in range(200):
        mix = draw_mix(4, (6, 6), 0.2, rng)
        assert (mix.partners.sort(0).values == torch.arange(4)[:, None]).all()
        for (y0, y1), (x0, x1) in mix.boxes.tolist():
            covered[y0:y1, x0:x1] = True
    assert covered.all()


@pytest.mark.parametrize("patches", [2, 3])
def test_few_patches_are_never_mixed_with_themselves(patches):
    rng, met = np.random.default_rng(0), set()
    for twins in (1, patches):
        for _ in range(60):
            partners = draw_mix(patches, (6, 6), 0.2, rng, twins).partners
            assert (partners[:, 0] != partners[:, 1]).all()
            assert all(len(set(column)) == twins for column in partners.T.tolist())
            met |= set(map(tuple, partners.tolist()))
    assert len(met) == patches * (patches - 1)


@pytest.mark.parametrize(("fraction", "side"), [(0.0, 0), (1.0, 1)])
def test_empty_and_full_box(fraction, side):
    values = torch.randn(3, 1, 6, 5)
    mix = draw_mix(3, (6, 5), fraction, np.random.default_rng(1))
    assert torch.equal(apply_mix(values, mix), values[mix.partners[:, 1 - side]])


@given(st.integers(0, 10_000), st.sampled_from([(16, 12), (15, 9), (20, 14)]), st.sampled_from([2, 3, 4, 8]))
@settings(max_examples=60, deadline=None)
def test_mixing_then_downsampling_equals_downsampling_then_mixing(seed, patch_size, factor):
    """With the interpolation that nnU-Net makes its deep-supervision targets by."""
    rng = np.random.default_rng(seed)
    mix = draw_mix(3, patch_size, 0.3, rng)
    labels = torch.from_numpy(rng.integers(0, 9, (3, 1, *patch_size))).float()
    grid = [max(1, round(s / factor)) for s in patch_size]

    def downsample(x):
        return F.interpolate(x, grid, mode="nearest-exact")

    assert torch.equal(downsample(apply_mix(labels, mix)), apply_mix(downsample(labels), mix))


def test_scale_box_keeps_the_whole_patch_whole():
    assert scale_box([(0, 16), (0, 12)], (16, 12), (4, 5)) == [(0, 4), (0, 5)]


@given(st.integers(1, 5), st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_fewer_twins_than_patches(twins, seed):
    rng = np.random.default_rng(seed)
    mix = draw_mix(5, (6, 5), 0.3, rng, twins)
    assert mix.partners.shape == (twins, 2)
    assert mix.boxes.shape == (twins, 2, 2)
    assert all(len(set(column.tolist())) == twins for column in mix.partners.T)
    values = torch.from_numpy(rng.normal(size=(5, 2, 6, 5)))
    expected = oracles.mix(values.numpy(), values.numpy(), mix.partners.numpy(), mix.boxes.numpy())
    assert np.array_equal(apply_mix(values, mix).numpy(), expected)


@pytest.mark.parametrize(
    ("planned", "settings", "expected"),
    [
        (8, (0.75, 0.25), (6, 2)),
        (56, (0.75, 0.25), (42, 14)),
        (12, (0.5, 0.5), (6, 6)),
        (12, (1.0, 0.5), (12, 12)),
        (10, (0.75, 0.25), (8, 2)),
        (4, (0.75, 0.25), (3, 1)),
        (3, (0.75, 0.25), (2, 1)),
        (2, (0.75, 0.25), (2, 1)),
        (1, (0.5, 0.5), (2, 1)),
        (8, (0.25, 0.75), (2, 2)),
        (3, (0.5, 0.5), (2, 1)),
        (5, (0.5, 0.5), (3, 2)),
        (7, (0.5, 0.5), (4, 3)),
    ],
)
def test_images_of_a_step(planned, settings, expected):
    assert images_of_a_step(planned, *settings) == expected


def test_as_many_images_as_planned():
    for planned in range(3, 200):
        assert sum(images_of_a_step(planned, 0.75, 0.25)) == planned


@pytest.mark.parametrize(("preset", "expected"), [("default", (7, 1)), ("published", (4, 4))])
def test_presets_draw_as_many_images_as_planned(preset, expected):
    config = config_from_plans({"pclmix": {"preset": preset}}, {})
    shares = (config.patch_fraction, config.twin_share)
    assert images_of_a_step(8, *shares) == expected
    for planned in range(3, 200):
        assert sum(images_of_a_step(planned, *shares)) == planned


def test_default_weighs_supervision_by_the_shares_of_patches_and_twins():
    config = config_from_plans({}, {})
    assert (config.original_weight, config.mixed_weight) == (1 - config.twin_share, config.twin_share)


def test_wrong_shapes_are_named():
    mix = draw_mix(3, (6, 5), 0.2, np.random.default_rng(1))
    with pytest.raises(ValueError, match=r"expected 3 values or more with 2 spatial axes, got \(2, 1, 6, 5\)"):
        apply_mix(torch.zeros(2, 1, 6, 5), mix)
    with pytest.raises(ValueError, match="expected equal shapes"):
        apply_mix(torch.zeros(3, 1, 6, 5), mix, torch.zeros(3, 2, 6, 5))
    with pytest.raises(ValueError, match="expected 1 to 3 twins of 3 patches, got 4"):
        draw_mix(3, (6, 5), 0.2, np.random.default_rng(1), 4)
    with pytest.raises(ValueError, match="box fraction"):
        draw_mix(3, (6, 5), 1.2, np.random.default_rng(1))


def test_a_mix_of_integers_keeps_its_type():
    mix = Mix(torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[0, 1], [0, 1]]] * 2), (2, 2))
    assert apply_mix(torch.zeros(2, 1, 2, 2, dtype=torch.int16), mix).dtype == torch.int16


@given(st.lists(st.integers(1, 17), min_size=2, max_size=3), st.data())
@settings(max_examples=60, deadline=None)
def test_sampling_is_nearest_exact_interpolation(full, data):
    scaled = [data.draw(st.integers(1, size)) for size in full]
    values = torch.arange(float(np.prod(full))).reshape(1, 1, *full)
    expected = F.interpolate(values, scaled, mode="nearest-exact")
    assert torch.equal(sample_nearest(values, scaled), expected)
    assert torch.equal(sample_nearest(values.short(), scaled), expected.short())


@pytest.mark.parametrize("grid", [(7, 5), (4, 6, 5)])
def test_inside_boxes_is_where_the_mix_shows_the_first_partner(grid):
    for fraction in (0.0, 0.2, 1.0):
        mix = draw_mix(4, grid, fraction, np.random.default_rng(3), 3)
        values = torch.stack([torch.ones(1, *grid)] * 4)
        expected = apply_mix(values, mix, torch.zeros_like(values))[:, 0].bool()
        assert torch.equal(inside_boxes(mix.boxes, grid), expected)
