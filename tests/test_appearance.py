"""The grey values of strokes: against plain loops, and what they are for."""

import numpy as np
import pytest
import torch

from nnunetv2_pclmix import appearance
from nnunetv2_pclmix.appearance import margins, stroke_appearance
from nnunetv2_pclmix.label_space import ClassSpace, RegionSpace
from nnunetv2_pclmix.neighbourhood import any_around, bits_around, mean_around, unpacked
from nnunetv2_pclmix.voxels import Voxels
from tests import oracles

C, IGNORE = 3, 3
NONE = torch.zeros(1, C, C)


def _sample(grid, channels=1, seed=0, share=0.3):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(2, channels, *grid)).astype(np.float32)
    scribbles = rng.integers(0, C, (2, *grid))
    scribbles[rng.random(scribbles.shape) > share] = IGNORE
    return torch.from_numpy(images), torch.from_numpy(scribbles)


@pytest.mark.parametrize(("grid", "channels"), [((5, 6), 1), ((4, 5), 2), ((2, 3, 4), 1), ((1, 1), 1)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_densities_and_overlaps_equal_the_plain_loops(grid, channels, share):
    images, scribbles = _sample(grid, channels, share=share)
    log_density, overlap = oracles.stroke_appearance(
        images.double().numpy(),
        scribbles.numpy(),
        C,
        appearance.BINS,
        appearance.RANGE,
        appearance.BANDWIDTH,
        appearance.PRIOR_VOXELS,
    )
    found = stroke_appearance(images.double(), scribbles, C, IGNORE)
    assert found.log_density().numpy() == pytest.approx(log_density, rel=1e-9)
    assert found.overlap.numpy() == pytest.approx(overlap, rel=1e-9)


def test_what_lies_far_from_most_strokes_counts_as_much():
    """Two small structures, alike and so bright that they fill the last bin."""
    generator = torch.Generator().manual_seed(0)
    images, scribbles = 0.05 * torch.randn(1, 1, 24, 24, generator=generator), torch.full((1, 24, 24), IGNORE)
    scribbles[0, :6], scribbles[0, 10, 2:5], scribbles[0, 10, 8:11] = 0, 1, 2
    images[0, :, 10] += 1
    found = stroke_appearance(images, scribbles, C, IGNORE).overlap
    settings = appearance.BINS, appearance.RANGE, appearance.BANDWIDTH, appearance.PRIOR_VOXELS
    _, expected = oracles.stroke_appearance(images.double().numpy(), scribbles.numpy(), C, *settings)
    assert found.numpy() == pytest.approx(expected, abs=1e-5)
    assert found[0, 1, 2] == pytest.approx(1, abs=1e-5)
    ones = appearance.smoothed(torch.eye(appearance.BINS)).sum(1)
    assert ones.numpy() == pytest.approx(1, abs=1e-6)


def test_a_margin_is_for_what_looks_alike():
    images, scribbles = torch.zeros(1, 1, 3, 400), torch.arange(3)[None, :, None].expand(-1, -1, 400)
    images[:, :, 2] = 1.0  # classes 0 and 1 look alike, 2 does not
    images += 0.01 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    found = margins(stroke_appearance(images, scribbles, C, IGNORE).overlap, 4.0)[0]
    assert (found.diagonal() == 0).all()
    assert torch.equal(found, found.T)
    assert found[0, 1] == pytest.approx(4.0, abs=0.3)
    assert found[:2, 2].max() < 0.01


def test_half_an_overlap_is_a_sixteenth_of_the_margin():
    overlap = torch.tensor([[[1.0, 0.5], [0.5, 1.0]]])
    assert margins(overlap, 4.0).tolist() == [[[0.0, 0.25], [0.25, 0.0]]]


def test_density_without_strokes_prefers_no_class_and_without_contrast_is_finite():
    images, scribbles = _sample((6, 7))
    none = stroke_appearance(images, torch.full_like(scribbles, IGNORE), C, IGNORE).log_density()
    assert (none == none[:, :1]).all()
    extreme = [torch.zeros_like(images), images * 1e4]
    for value in (torch.nan, torch.inf):
        extreme.append(images.clone())
        extreme[-1][0, 0, 2] = value
    for each in extreme:
        assert all(part.isfinite().all() for part in stroke_appearance(each, scribbles, C, IGNORE))


def test_a_class_without_strokes_claims_no_more_than_all_strokes_together():
    images, scribbles = _sample((20, 20))
    scribbles[scribbles == 2] = IGNORE
    density = stroke_appearance(images, scribbles, C, IGNORE).log_density()
    others = density[:, :2].exp()
    assert (density[:, 2].exp() <= others.amax(1) + 1e-6).all()
    assert (density[:, 2].exp() >= others.amin(1) - 1e-6).all()


def test_brightness_and_contrast_of_the_image_do_not_matter():
    images, scribbles = _sample((8, 9))
    density = stroke_appearance(images.double(), scribbles, C, IGNORE).log_density()
    other = stroke_appearance(images.double() * 50 - 7, scribbles, C, IGNORE).log_density()
    assert torch.allclose(other, density)


def test_half_precision_does_not_reach_the_counts():
    images, scribbles = torch.zeros(1, 1, 300, 300), torch.zeros(1, 300, 300, dtype=torch.long)
    with torch.autocast("cpu", torch.bfloat16):
        density = stroke_appearance(images, scribbles, C, IGNORE).log_density()
    assert density.dtype == torch.float32
    assert torch.equal(density, stroke_appearance(images, scribbles, C, IGNORE).log_density())


@pytest.mark.parametrize("radius", [(0, 0), (1, 0), (2, 3), (9, 20)])
def test_around_equals_the_plain_loops(radius):
    rng = np.random.default_rng(1)
    values, mask = rng.normal(size=(2, 3, 6, 8)), rng.random((2, 3, 6, 8)) < 0.1
    means, anys = mean_around(torch.from_numpy(values), radius), any_around(torch.from_numpy(mask), radius)
    for y, x in np.ndindex(6, 8):
        box = np.s_[:, :, max(0, y - radius[0]) : y + radius[0] + 1, max(0, x - radius[1]) : x + radius[1] + 1]
        assert means[:, :, y, x].numpy() == pytest.approx(values[box].mean((2, 3)), abs=1e-12)
        assert np.array_equal(anys[:, :, y, x].numpy(), mask[box].any((2, 3)))


@pytest.mark.parametrize("grid", [(6, 8), (3, 4, 5)])
@pytest.mark.parametrize("num_labels", [2, 8, 9])
def test_labels_around_equal_the_plain_loops(num_labels, grid):
    labels = np.random.default_rng(num_labels).integers(0, num_labels, (2, *grid))
    radius = [2, 1, 0][: len(grid)]
    found = unpacked(bits_around(torch.from_numpy(labels), num_labels, radius), num_labels).numpy()
    assert found.shape == (2, num_labels, *grid)
    for n, *place in np.ndindex(2, *grid):
        box = labels[(n, *(slice(max(0, p - r), p + r + 1) for p, r in zip(place, radius, strict=True)))]
        assert found[(n, slice(None), *place)].tolist() == [c in box for c in range(num_labels)]


def _less(evidence, margins, space, logits):
    return evidence - Voxels(None, None).rows_of(margins, space.labels_of_logits(logits))


def test_evidence_moves_the_borders_of_classes_and_no_more():
    logits = torch.zeros(1, C, 1, 12)
    logits[:, 0, :, :6], logits[:, 1, :, 6:] = 1.0, 1.0  # class 0 left, class 1 right of voxel 6, class 2 nowhere
    evidence = torch.zeros(1, C, 1, 12)
    evidence[:, 1] = 5.0
    evidence[:, 2] = 9.0
    space = ClassSpace(C, IGNORE)
    near = unpacked(bits_around(space.labels_of_logits(logits), C, (0, 2)), C)
    labels = space.labels_of_logits(space.with_evidence(logits, evidence, near))
    assert labels.flatten().tolist() == [0] * 4 + [1] * 8
    wary = NONE.clone()
    wary[:, 0, 1] = 4.5  # 5 nats are not enough against 1 + 4.5
    labels = space.labels_of_logits(space.with_evidence(logits, _less(evidence, wary, space, logits), near))
    assert labels.flatten().tolist() == [0] * 6 + [1] * 6
    labels = space.labels_of_logits(space.with_evidence(logits, _less(evidence, wary.mT, space, logits), near))
    assert labels.flatten().tolist() == [0] * 4 + [1] * 8
    without = space.labels_of_logits(space.with_evidence(logits, torch.zeros_like(evidence), near))
    assert without.flatten().tolist() == [0] * 6 + [1] * 6


def test_evidence_moves_the_borders_of_regions_and_no_more():
    space = RegionSpace([(1, 2), 2], [1, 2], C, IGNORE)
    logits = torch.full((1, 2, 1, 12), -1.0)
    logits[:, 0, :, 6:] = 1.0  # the whole right of voxel 6, its core nowhere
    evidence = torch.zeros(1, C, 1, 12)
    evidence[:, 1] = 5.0
    near = unpacked(bits_around(space.labels_of_logits(logits), C, (0, 2)), C)
    new = space.with_evidence(logits, evidence, near)
    assert space.labels_of_logits(new).flatten().tolist() == [0] * 4 + [1] * 8
    inside = 5.0  # density of label 1 over that of 0; 2 is not near
    assert new[0, 0, 0, 5].item() == pytest.approx(-1 + inside, rel=1e-5)
    assert torch.equal(new[:, 1], logits[:, 1])
    wary = NONE.clone()
    wary[:, 0, 1] = 0.5
    new = space.with_evidence(logits, _less(evidence, wary, space, logits), near)
    assert new[0, 0, 0, 5].item() == pytest.approx(-1 + 4.5, rel=1e-5)
    assert new[0, 0, 0, 6].item() == pytest.approx(1 + inside, rel=1e-5)
    absent = space.only_present(logits, torch.tensor([[False, True]]))
    near = unpacked(bits_around(space.labels_of_logits(absent), C, (0, 2)), C)
    assert (space.labels_of_logits(space.with_evidence(absent, evidence, near)) == 0).all()


def test_margins_are_largest_between_classes_that_look_alike_and_none_where_negligible():
    overlap = torch.tensor([[[1.0, 1.0, 0.5], [1.0, 1.0, 1e-3], [0.5, 1e-3, 1.0]]])
    assert margins(overlap, 16.0).tolist() == [[[0, 16, 1], [16, 0, 0], [1, 0, 0]]]
