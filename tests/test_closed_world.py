import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnunetv2_pclmix import closed_world
from nnunetv2_pclmix.closed_world import _any_in_cells, _grow_by_pooling, _of_cells, grow_from_seeds, vouch
from nnunetv2_pclmix.neighbourhood import packed, unpacked

IGNORE = 4
IGNORE_MANY = 255


def _grow(seeds, mask, steps):
    """Of planes."""
    return unpacked(grow_from_seeds(packed(seeds), packed(mask), steps), mask.shape[1])


def _grow_compiled(seeds, mask, steps):
    """As on a GPU where the objective is compiled, but for the compiling."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closed_world, "_is_never_looked_at", lambda device: True)
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        patch.setattr(torch, "equal", None)
        return _grow(seeds, mask, steps)


GROW = [_grow, _grow_by_pooling, _grow_compiled]  # on the CPU, on a GPU


@given(st.integers(0, 10_000), st.sampled_from([(12, 9), (5, 6, 7), (1, 8, 9), (2, 9, 6), (7, 1, 2), (1, 1)]))
@settings(max_examples=80, deadline=None)
def test_growing_finds_the_components_that_hold_a_seed(seed, grid):
    rng = np.random.default_rng(seed)
    mask, seeds = rng.random(grid) < 0.4, rng.random(grid) < 0.05
    components, _ = ndimage.label(mask, np.ones([3] * len(grid)))
    expected = np.isin(components, np.unique(components[seeds & mask])) & mask
    for grow in GROW:
        grown = grow(*(torch.from_numpy(a)[None, None] for a in (seeds, mask)), steps=int(mask.size))
        assert np.array_equal(grown[0, 0].numpy(), expected)


@pytest.mark.parametrize("grow", GROW)
def test_growing_ends_after_its_steps(grow):
    mask = torch.ones(1, 1, 5, 30, dtype=torch.bool)
    seeds = torch.zeros_like(mask)
    seeds[0, 0, 2, 3] = True
    grown = grow(seeds, mask, steps=11)
    assert grown[0, 0].nonzero()[:, 1].max() == 3 + 11
    assert grown[0, 0, :, :15].all()


@pytest.mark.parametrize("grow", GROW)
@pytest.mark.parametrize("channels", [1, 8, 9, 17])
def test_channels_grow_each_by_itself(grow, channels):
    rng = np.random.default_rng(channels)
    mask, seeds = (torch.from_numpy(rng.random((2, channels, 9, 7)) < share) for share in (0.5, 0.1))
    alone = [grow(seeds[:, [c]], mask[:, [c]], 20) for c in range(channels)]
    assert torch.equal(grow(seeds, mask, 20), torch.cat(alone, 1))


@pytest.mark.parametrize(
    ("grid", "stride"), [((8, 8), (4, 4)), ((9, 6), (4, 4)), ((3, 33, 5), (1, 4, 1)), ((1, 1), (4, 4))]
)
def test_cells_hold_what_is_in_them(grid, stride):
    planes = np.random.default_rng(0).random((2, 3, *grid)) < 0.1
    coarse = np.zeros((2, 3, *[-(-size // factor) for size, factor in zip(grid, stride, strict=True)]), bool)

    def cell(place):
        return (*place[:2], *(p // factor for p, factor in zip(place[2:], stride, strict=True)))

    for place in np.argwhere(planes):
        coarse[cell(place)] = True
    bits = _any_in_cells(packed(torch.from_numpy(planes)), stride)
    cells = unpacked(bits, 3)
    assert np.array_equal(cells.numpy(), coarse)
    fine = unpacked(_of_cells(bits, stride, grid), 3).numpy()
    assert fine.shape == planes.shape
    assert all(fine[place] == coarse[cell(place)] for place in np.ndindex(*planes.shape))


def _scene():
    """A heart with strokes (RV 1 beside LV 3) and an island of LV far away; 64 x 64."""
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[:, 8:24, 8:24], labels[:, 8:24, 24:40], labels[:, 48:60, 48:60] = 1, 3, 3
    scribbles = torch.full_like(labels, IGNORE)
    scribbles[:, 12:20, 12], scribbles[:, 12:20, 32], scribbles[:, 30, 4:50] = 1, 3, 0
    return labels, scribbles


def test_an_island_without_a_stroke_becomes_background_and_the_rest_stays():
    labels, scribbles = _scene()
    vouched, weights = vouch(labels, scribbles, 4, IGNORE)
    assert (vouched[:, 48:60, 48:60] == 0).all()
    assert torch.equal(vouched[:, :44], labels[:, :44])
    assert (weights == 1).all()


def test_a_structure_connected_to_strokes_of_another_class_only_is_in_doubt():
    labels, scribbles = _scene()
    scribbles[scribbles == 1] = IGNORE
    vouched, weights = vouch(labels, scribbles, 4, IGNORE)
    assert torch.equal(vouched[labels == 1], labels[labels == 1])
    assert (weights[labels == 1] == 0).all()
    assert (weights[labels != 1] == 1).all()


def test_an_image_nobody_annotated_stays_as_it_is():
    labels, scribbles = _scene()
    vouched, weights = vouch(labels, torch.full_like(scribbles, IGNORE), 4, IGNORE)
    assert torch.equal(vouched, labels)
    assert (weights == 1).all()


def test_background_alone_does_not_say_that_an_image_was_annotated():
    """Padding may be background."""
    labels, scribbles = _scene()
    padded = torch.full_like(scribbles, IGNORE)
    padded[:, :10] = 0
    vouched, sure = vouch(labels, padded, 4, IGNORE, torch.tensor([False]))
    assert torch.equal(vouched, labels)
    assert sure.all()
    vouched, _ = vouch(labels, scribbles, 4, IGNORE, torch.tensor([False]))  # but strokes in structures do
    assert torch.equal(vouched, vouch(labels, scribbles, 4, IGNORE)[0])
    assert not torch.equal(vouched, labels)


def test_what_lies_between_dense_labels_stays_as_it_is():
    labels, scribbles = _scene()
    scribbles[:, :40] = labels[:, :40]  # most of the image, with an island in the rest
    for annotated in (None, torch.tensor([True])):
        vouched, weights = vouch(labels, scribbles, 4, IGNORE, annotated)
        assert torch.equal(vouched, labels)
        assert (weights == 1).all()


def test_images_of_a_batch_do_not_vouch_for_each_other():
    labels, scribbles = _scene()
    only_background = torch.full_like(scribbles, IGNORE)
    only_background[:, 30, 4:50] = 0
    vouched, _ = vouch(torch.cat([labels, labels]), torch.cat([scribbles, only_background]), 4, IGNORE)
    assert (vouched[0] > 0).any()
    assert (vouched[1] == 0).all()


def _vouched_by_components(labels, scribbles, num_classes, annotated, outside, lost):
    """One image at a time, by connected components of coarse masks."""
    grid = labels.shape[1:]
    stride = [4 if size >= 32 else 1 for size in grid]
    result, doubtful = labels.copy(), np.zeros(labels.shape, bool)

    def coarse(mask):
        cells = np.zeros([-(-size // s) for size, s in zip(grid, stride, strict=True)], bool)
        for place in np.argwhere(mask):
            cells[tuple(p // s for p, s in zip(place, stride, strict=True))] = True
        return cells

    def connected(mask, seeds):
        components, _ = ndimage.label(mask, np.ones([3] * len(grid)))
        kept = np.isin(components, np.unique(components[seeds & mask])) & mask
        return kept.repeat(stride[0], 0)[: grid[0]].repeat(stride[1], 1)[:, : grid[1]]

    for n in np.flatnonzero(annotated):
        foreground, strokes = labels[n] > 0, (scribbles[n] > 0) & (scribbles[n] != IGNORE_MANY)
        border = np.ones(coarse(foreground).shape, bool)
        border[1:-1, 1:-1] = False
        cut = np.zeros_like(border)
        for c in np.flatnonzero(outside[n]) + 1:
            cut |= coarse(labels[n] == c) & border
        for c in np.flatnonzero(lost[n]) + 1:
            cut |= coarse(labels[n] == c)
        of_any = connected(coarse(foreground), coarse(strokes) | cut)
        of_own = np.zeros(grid, bool)
        for c in range(1, num_classes):
            of_own |= (labels[n] == c) & connected(coarse(labels[n] == c), coarse(scribbles[n] == c))
        result[n][foreground & ~of_any] = 0
        doubtful[n] = foreground & of_any & ~of_own
    return result, ~doubtful


@pytest.mark.parametrize("num_classes", [2, 4, 8, 9, 18])
def test_many_classes_as_by_components(num_classes):
    rng = np.random.default_rng(num_classes)
    blobs = rng.integers(0, num_classes, (3, 7, 6)) * (rng.random((3, 7, 6)) < 0.4)
    labels = blobs.repeat(7, 1).repeat(7, 2)[:, :45, :38]
    strokes = rng.integers(0, num_classes, labels.shape)
    scribbles = np.where(
        rng.random(labels.shape) < 0.005, np.where(rng.random(labels.shape) < 0.5, labels, strokes), 255
    )
    annotated = np.array([True, True, False])
    scribbles[2] = IGNORE_MANY
    outside, lost = (rng.random((3, num_classes - 1)) < share for share in (0.3, 0.1))
    known = (torch.from_numpy(each) for each in (annotated, outside, lost))
    vouched, sure = vouch(torch.from_numpy(labels), torch.from_numpy(scribbles), num_classes, IGNORE_MANY, *known)
    expected = _vouched_by_components(labels, scribbles, num_classes, annotated, outside, lost)
    assert np.array_equal(vouched.numpy(), expected[0])
    assert np.array_equal(sure.numpy(), expected[1])
    assert (expected[0] != labels).any()
    assert num_classes == 2 or not expected[1].all()


@pytest.mark.parametrize("grid", [(50, 37), (3, 33, 40), (1, 1)])
def test_any_grid(grid):
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 4, (2, *grid)))
    scribbles = torch.where(torch.from_numpy(rng.random((2, *grid)) < 0.05), labels, IGNORE)
    vouched, weights = vouch(labels, scribbles, 4, IGNORE)
    assert vouched.shape == weights.shape == labels.shape
    assert torch.equal(vouched[vouched > 0], labels[vouched > 0])


@pytest.mark.parametrize("strokes_in_it", [False, True])
def test_foreground_at_the_border_of_a_patch_may_have_its_stroke_outside(strokes_in_it):
    """Foreground inside of it is an island, and so is what reaches the border where its class has no other stroke."""
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    labels[:, 20:40, 20:40], labels[:, 50:64, 0:12], labels[:, 0:10, 50:64] = 1, 2, 1
    labels[:, 44:52, 28:36] = 2  # of a class with strokes outside, but not at the border
    scribbles = torch.full_like(labels, IGNORE)
    if strokes_in_it:
        scribbles[0, 10:50, 60] = 0
    outside = torch.tensor([[False, True, False], [False] * 3])
    vouched, weights = vouch(labels, scribbles, 4, IGNORE, torch.tensor([True, False]), outside)
    assert (vouched[0, 20:40, 20:40] == 0).all()
    assert (vouched[0, 0:10, 50:64] == 0).all()
    assert (vouched[0, 44:52, 28:36] == 0).all()
    assert (vouched[0, 50:64, 0:12] == 2).all()
    assert (weights[0, 50:64, 0:12] == 0).all()
    assert (weights[0, :50] == 1).all()
    assert torch.equal(vouched[1], labels[1])  # nobody scribbled that image
    assert (weights[1] == 1).all()


def test_a_stroke_of_its_own_in_the_patch_vouches_at_the_border_too():
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[:, 40:64, 0:30] = 2
    scribbles = torch.full_like(labels, IGNORE)
    scribbles[:, 45, 5:20] = 2
    vouched, weights = vouch(labels, scribbles, 4, IGNORE, None, torch.tensor([[True, True, True]]))
    assert torch.equal(vouched, labels)
    assert (weights == 1).all()


def test_a_structure_whose_strokes_augmentation_took_away_is_in_doubt():
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    labels[:, 20:40, 20:40], labels[:, 44:52, 50:58] = 1, 3
    scribbles = torch.full_like(labels, IGNORE)
    scribbles[:, 50, 5:20] = 0
    lost = torch.tensor([[True, False, False], [False] * 3])
    vouched, sure = vouch(labels, scribbles, 4, IGNORE, torch.tensor([True, True]), None, lost)
    assert (vouched[0] == torch.where(labels[0] == 3, 0, labels[0])).all()
    assert torch.equal(sure[0], labels[0] != 1)
    assert (vouched[1] == 0).all()
    assert sure[1].all()


def test_strokes_in_the_patch_decide_as_without_the_note():
    labels, scribbles = _scene()
    alone, noted = vouch(labels, scribbles, 4, IGNORE), vouch(labels, scribbles, 4, IGNORE, torch.tensor([True]))
    assert all(torch.equal(a, b) for a, b in zip(alone, noted, strict=True))


def test_several_predictions_for_the_same_strokes():
    labels, scribbles = _scene()
    other = torch.roll(labels, 5, 2)
    note = (torch.tensor([True]), torch.tensor([[True, False, True]]), torch.tensor([[False, True, False]]))
    both = vouch(torch.cat([labels, other]), scribbles, 4, IGNORE, *note)
    alone = [vouch(each, scribbles, 4, IGNORE, *note) for each in (labels, other)]
    for together, apart in zip(both, zip(*alone, strict=True), strict=True):
        assert torch.equal(together, torch.cat(apart))
