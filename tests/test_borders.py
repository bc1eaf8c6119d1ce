"""Borders that move: the same labels whichever voxels are computed, and against plain loops."""

import numpy as np
import pytest
import torch

from nnunetv2_pclmix import at_hand, thin_structures, voxels
from nnunetv2_pclmix.appearance import margins, stroke_appearance
from nnunetv2_pclmix.borders import Weights, moved_borders
from nnunetv2_pclmix.label_space import ClassSpace, RegionSpace
from nnunetv2_pclmix.neighbourhood import LabelsAround, any_around, bits_around, has_several, unpacked
from nnunetv2_pclmix.thin_structures import Reach
from nnunetv2_pclmix.voxels import Voxels
from tests import oracles

C, IGNORE = 4, 255
SPACES = [ClassSpace(C, IGNORE), RegionSpace([(1, 2, 3), (2, 3), 3], [1, 2, 3], C, IGNORE)]


def _sample(space, grid, seed=0):
    """Logits of blocks, so that there are voxels far from all borders, with scribbles and images."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.integers(0, C, (3, 1, *[-(-size // 6) for size in grid])).astype(np.float32))
    labels = torch.nn.functional.interpolate(coarse, scale_factor=6)[:, 0].long()
    labels = labels[(slice(None), *(slice(size) for size in grid))]
    labels[0] = 2  # an image of one label
    logits = 2 * space.members(labels) - 1 + torch.from_numpy(0.1 * rng.normal(size=(1,))).float()
    scribbles = torch.where(torch.from_numpy(rng.random(labels.shape)) < 0.2, labels, IGNORE)
    images = labels[:, None].double() + torch.from_numpy(rng.normal(size=(3, 1, *grid)))
    return logits.double(), scribbles, images


def _moved(space, logits, scribbles, images, thin_weight, reach):
    """Of one prediction alone."""
    asked = torch.arange(len(logits))
    return _moved_of_two(space, [logits, -logits], scribbles, images, thin_weight, reach, asked)[: len(logits)]


def _moved_of_two(space, decoders, scribbles, images, thin_weight, reach, asked):
    strokes = stroke_appearance(images, scribbles, C, IGNORE)
    labels, weights = space.labels_of_logits(torch.cat(decoders)), Weights(4.0, 4.0, thin_weight)
    return moved_borders(decoders, labels, asked, space, scribbles, strokes, weights, reach)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("grid", [(31, 26), (5, 14, 15)])
@pytest.mark.parametrize("thin_weight", [0.0, 4.0])
def test_voxels_at_borders_alone_give_what_all_give(monkeypatch, space, grid, thin_weight):
    reach = Reach(*[[1] * len(grid)] * 4)
    sample = _sample(space, grid)
    monkeypatch.setattr(thin_structures, "NOT_THIN", 0.2)
    monkeypatch.setattr(thin_structures, "THIN", 1.5)  # in part, so that they do meet
    found, share = [], []
    for most in (0.0, 1.0):
        monkeypatch.setattr(voxels, "MOST_BY_NUMBER", most)
        picked = Voxels.where(has_several(torch.ones(2, 1, 3, 3, dtype=torch.uint8) * 3))
        share.append(picked.image is not None)
        found.append(_moved(space, *sample, thin_weight, reach))
    assert share == [False, True]
    assert torch.equal(*found)
    for module in (voxels, thin_structures):
        monkeypatch.setattr(module, "is_at_hand", lambda _: False)  # as where nothing is looked at
    assert torch.equal(_moved(space, *sample, thin_weight, reach), found[0])
    assert not torch.equal(found[0], space.labels_of_logits(sample[0]))


@pytest.mark.parametrize("grid", [(13, 14), (3, 7, 9)])
def test_labels_equal_the_plain_loops(grid):
    logits, scribbles, images = _sample(SPACES[0], grid, seed=1)
    logits = logits + torch.from_numpy(np.random.default_rng(2).normal(size=logits.shape))
    reach = Reach(*[[1] * len(grid)] * 4)
    strokes = stroke_appearance(images, scribbles, C, IGNORE)
    start, log_density = margins(strokes.overlap, 4.0), strokes.log_density()
    found = _moved(SPACES[0], logits, scribbles, images, 0.0, reach)
    predicted = logits.argmax(1).numpy()
    for n, *place in np.ndindex(predicted.shape):
        v = (n, *place)
        near = sorted({int(predicted[(n, *w)]) for w in oracles.box_around(grid, place, reach.near)})
        around = list(oracles.box_around(grid, place, reach.around))
        fits = {c: 4 * sum(log_density[(n, c, *w)] for w in around) / len(around) for c in near}
        score = {c: logits[(n, c, *place)] + fits[c] - start[n, predicted[v], c] for c in near}
        assert int(found[v]) == max(near, key=score.get)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("most", [0.0, 1.0])
@pytest.mark.parametrize("asked", [[4, 0], [5], []])
def test_the_borders_of_those_asked_move_and_no_others(monkeypatch, space, most, asked):
    """Two predictions for three images, the second one of other images' labels."""
    monkeypatch.setattr(voxels, "MOST_BY_NUMBER", most)
    reach = Reach(*[[1, 1]] * 4)
    logits, scribbles, images = _sample(space, (31, 26))
    decoders = [logits, logits.flip(0)]
    numbers = torch.tensor(asked, dtype=torch.long)
    found = _moved_of_two(space, decoders, scribbles, images, 0.0, reach, numbers)
    predicted = torch.cat([space.labels_of_logits(each) for each in decoders])
    expected = torch.cat([_moved(space, each, scribbles, images, 0.0, reach) for each in decoders])
    assert (expected != predicted).flatten(1).any(1)[[0, 4]].any()
    for number in range(6):
        assert torch.equal(found[number], (expected if number in asked else predicted)[number])


def test_a_prediction_without_borders_stays():
    logits, scribbles, images = _sample(SPACES[0], (12, 12))
    logits[:, 0] += 9
    moved = _moved(SPACES[0], logits, scribbles, images, 4.0, Reach(*[[2, 2]] * 4))
    assert torch.equal(moved, torch.zeros_like(moved))


def test_voxels_are_taken_and_put_back():
    values = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[0, 1, 2] = mask[1, 3, 4] = True
    picked = Voxels.where(mask)
    assert torch.equal(picked.of(values), torch.stack([values[0, :, 1, 2], values[1, :, 3, 4]]))
    assert torch.equal(picked.of(values, torch.tensor([1, 1])), torch.stack([values[1, :, 1, 2], values[1, :, 3, 4]]))
    assert torch.equal(picked.of_images(values), values)
    tables, rows = torch.arange(12).view(2, 3, 2), values[:, 0] % 3
    assert torch.equal(picked.rows_of(tables, rows), torch.stack([tables[0, rows[0, 1, 2]], tables[1, rows[1, 3, 4]]]))
    for n, y, x in np.ndindex(rows.shape):
        assert torch.equal(Voxels(None, None).rows_of(tables, rows)[n, :, y, x], tables[n, rows[n, y, x]])
    before = values[:, 0].clone()
    put = picked.put(torch.tensor([-1, -2]), values[:, 0])
    assert torch.equal(values[:, 0], before)
    assert put[0, 1, 2] == -1
    assert put[1, 3, 4] == -2
    assert torch.equal(put[~mask], before[~mask])


@pytest.mark.parametrize("seed", range(3))
def test_voxels_are_the_same_in_the_box_that_holds_them(seed):
    rng = np.random.default_rng(seed)
    values, margin = torch.from_numpy(rng.normal(size=(2, 3, 9, 8, 7))), [1, 0, 3]
    mask = torch.zeros(2, 9, 8, 7, dtype=torch.bool)
    for place in rng.integers((0, 2, 1, 0), (2, 9, 7, 7), size=(3, 4)):
        mask[tuple(place)] = True
    picked = Voxels.where(mask)
    box, within = picked.cropped((9, 8, 7), margin)
    assert torch.equal(within.of(values[(..., *box)]), picked.of(values))
    places = mask.any(0).nonzero().numpy()
    for axis, (part, size, more) in enumerate(zip(box, (9, 8, 7), margin, strict=True)):
        first, last = places[:, axis].min() - more, places[:, axis].max() + more + 1
        assert (part.start, part.stop) == (max(0, first), min(size, last))
    box, within = Voxels.where(torch.zeros_like(mask)).cropped((9, 8, 7), margin)
    assert within.of(values[(..., *box)]).shape == (0, 3)
    everything = Voxels(None, None)
    assert everything.cropped((9, 8, 7), margin) == ((slice(0, 9), slice(0, 8), slice(0, 7)), everything)


def test_nothing_is_looked_at_elsewhere():
    assert at_hand.is_at_hand(torch.zeros(1))
    assert not at_hand.is_at_hand(torch.zeros(1, device="meta"))
    assert Voxels.where(torch.zeros(2, 3, device="meta")).image is None


@pytest.mark.parametrize("num_labels", [2, 8, 9, 17])
def test_several_labels_are_told_from_one(num_labels):
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, num_labels, (2, 9, 4)))
    several = has_several(bits_around(labels, num_labels, (1, 0)))
    assert torch.equal(several, unpacked(bits_around(labels, num_labels, (1, 0)), num_labels).sum(1) > 1)


@pytest.mark.parametrize("grid", [(17, 19), (3, 14, 15)])
@pytest.mark.parametrize("num_labels", [3, 10])
def test_labels_around_are_the_same_in_whatever_order_they_are_asked_for(grid, num_labels):
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, num_labels, (2, *grid)))
    labels = torch.where(labels > 1, 0, labels)  # rare, so that boxes differ
    labels[0][(1,) * len(grid)] = num_labels - 1
    radii = [[2] * len(grid), [0, 1, 3][-len(grid) :], [3] * len(grid), [1, 2, 2][-len(grid) :], [40] * len(grid)]
    for order in (radii, radii[::-1]):
        around = LabelsAround(labels, num_labels)
        for radius in [*order, *order]:
            assert torch.equal(around.within(radius), bits_around(labels, num_labels, radius)), radius


@pytest.mark.parametrize("radius", range(12))
def test_boxes_have_no_gaps_beside_the_faces_of_the_grid(radius):
    mask = torch.from_numpy(np.random.default_rng(radius).random((40, 1, 11, 14)) < 0.01)
    pooled = torch.nn.functional.max_pool2d(mask.float(), 2 * radius + 1, 1, radius) > 0
    assert torch.equal(any_around(mask, [radius, radius]), pooled)


@pytest.mark.parametrize("most", [0.0, 1.0])
@pytest.mark.parametrize("space", SPACES)
def test_what_is_absent_stays_so(monkeypatch, space, most):
    monkeypatch.setattr(voxels, "MOST_BY_NUMBER", most)
    logits, scribbles, images = _sample(space, (31, 26))
    present = torch.tensor([[True, False, True], [False, True, True], [True, True, False]])
    decoders = [logits, logits.flip(0)]
    without = [space.only_present(each, present) for each in decoders]
    strokes, reach, asked = stroke_appearance(images, scribbles, C, IGNORE), Reach(*[[1, 1]] * 4), torch.arange(6)
    labels, weights = space.labels_of_logits(torch.cat(without)), Weights(4.0, 4.0, 0.0)
    expected = moved_borders(without, labels, asked, space, scribbles, strokes, weights, reach)
    found = moved_borders(decoders, labels, asked, space, scribbles, strokes, weights, reach, present)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("confidence", "moves"), [((6.0, 1.0), True), ((12.0, 2.0), False), ((1.0, 6.0), True)])
def test_a_voxel_becomes_what_is_predicted_nearby(confidence, moves):
    """With regions, too, which change one by one: between labels 1 and 3 of nested regions there would be 2."""
    space, generator = SPACES[1], torch.Generator().manual_seed(0)
    truth = torch.zeros(1, 32, 32, dtype=torch.long)
    truth[:, 4:28, 4:16], truth[:, 4:28, 16:28] = 1, 3
    images = (truth + 0.3 * torch.randn(truth.shape, generator=generator))[:, None]
    scribbles = torch.full_like(truth, IGNORE)
    for column in (1, 9, 24):
        scribbles[:, 6:26:2, column] = truth[:, 6:26:2, column]
    labels = truth.clone()
    labels[:, 4:28, 14:16] = 3  # the border is predicted two voxels beside
    surely = torch.tensor([6.0, *confidence]).view(1, 3, 1, 1)
    logits = ((2 * space.members(labels) - 1) * surely).double()
    moved = _moved(space, logits, scribbles, images.double(), 4.0, Reach((2, 2), (1, 1), (3, 3), (2, 2)))
    assert unpacked(bits_around(labels, C, (2, 2)), C).gather(1, moved.long()[:, None]).all()
    assert bool((moved != labels).any()) is moves
