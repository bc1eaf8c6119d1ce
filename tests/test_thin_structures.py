"""Thin structures: against plain loops, and what they are for."""

import numpy as np
import pytest
import torch

from nnunetv2_pclmix import appearance, thin_structures
from nnunetv2_pclmix.appearance import stroke_appearance
from nnunetv2_pclmix.config import config_from_plans
from nnunetv2_pclmix.label_space import ClassSpace, RegionSpace
from nnunetv2_pclmix.memory_queue import MemoryQueue
from nnunetv2_pclmix.neighbourhood import LabelsAround, bits_around, mean_around, unpacked
from nnunetv2_pclmix.objective import PCLMixObjective
from nnunetv2_pclmix.thin_structures import (
    Reach,
    find_thin,
    odds_of_belonging,
    thinness,
    with_thin_structures,
)
from tests import oracles

IGNORE = 255


def _by_odds(evidence, labels, scribbles, strokes, reach):
    """Evidence with the say of thin structures, if there are any."""
    num_labels = evidence.shape[1]
    thin = find_thin(LabelsAround(labels, num_labels), scribbles, strokes, reach)
    if thin is None:
        return evidence
    return with_thin_structures(evidence, unpacked(bits_around(labels, num_labels, reach.near), num_labels), thin, 4.0)


def _sample(grid, num_labels, channels=1, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(2, channels, *grid))
    labels = rng.integers(0, num_labels, (2, *grid))
    scribbles = np.where(rng.random(labels.shape) < share, rng.integers(0, num_labels, labels.shape), IGNORE)
    return tuple(map(torch.from_numpy, (images, labels, scribbles)))


@pytest.mark.parametrize("grid", [(17, 19), (3, 14, 15), (1, 1)])
@pytest.mark.parametrize("num_labels", [2, 4, 9])
def test_thinness_equals_the_plain_loops(grid, num_labels):
    _, labels, _ = _sample(grid, num_labels)
    labels[0] = 1  # an image without a border
    labels[1, ..., :9] = 0  # and one of which classes differ in how much of them is near one
    edge = [1, 2, 1][-len(grid) :]
    bounds = thin_structures.NOT_THIN, thin_structures.THIN
    expected = oracles.thinness(labels.numpy(), num_labels, edge, *bounds)
    assert thinness(LabelsAround(labels, num_labels), edge).numpy() == pytest.approx(expected, abs=1e-5)


def _expected_odds(images, labels, scribbles, num_labels, rim):
    bins = stroke_appearance(images, scribbles, num_labels, IGNORE).bins
    return oracles.odds_of_belonging(
        labels.numpy(),
        scribbles.numpy(),
        bins.view(images.shape).numpy(),
        num_labels,
        rim,
        appearance.BINS,
        appearance.RANGE,
        appearance.BANDWIDTH,
        thin_structures.COMMON,
        thin_structures.LEAST_ODDS,
        thin_structures.MOST_ODDS,
    )


@pytest.mark.parametrize(("grid", "channels"), [((5, 6), 1), ((4, 5), 2), ((2, 3, 4), 1), ((1, 1), 1)])
@pytest.mark.parametrize("num_labels", [3, 10])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_odds_equal_the_plain_loops(grid, channels, num_labels, share):
    images, labels, scribbles = _sample(grid, num_labels, channels, share)
    rim = [0, 1, 1][-len(grid) :]
    strokes = stroke_appearance(images, scribbles, num_labels, IGNORE)
    found = odds_of_belonging(LabelsAround(labels, num_labels), scribbles, strokes, rim)
    expected = _expected_odds(images, labels, scribbles, num_labels, rim)
    assert found.dtype == torch.float64
    assert found.numpy() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("image", [[1, 0, 1], [1]])
def test_predictions_of_some_images_are_judged_by_their_own_strokes(monkeypatch, channels, image):
    """As if there were these images alone; and in a box of the grid, but for what lies around its faces."""
    images, _, scribbles = _sample((12, 13), 4, channels)
    scribbles[1][scribbles[1] == 2] = IGNORE  # an image without strokes of one class
    monkeypatch.setattr(thin_structures, "NOT_THIN", 0.2)
    monkeypatch.setattr(thin_structures, "THIN", 1.5)  # all of them in part, so that all may meet
    reach, numbers = Reach(*[[1, 1]] * 4), torch.tensor(image)
    predicted = torch.from_numpy(np.random.default_rng(3).integers(0, 4, (len(image), 12, 13)))
    alone = stroke_appearance(images[numbers], scribbles[numbers], 4, IGNORE)
    expected = find_thin(LabelsAround(predicted, 4), scribbles[numbers], alone, reach)
    strokes = stroke_appearance(images, scribbles, 4, IGNORE)
    found = find_thin(LabelsAround(predicted, 4), scribbles, strokes, reach, numbers)
    assert found.classes == expected.classes
    for name in ("shares", "odds"):
        assert getattr(found, name).numpy() == pytest.approx(getattr(expected, name).numpy(), abs=1e-9), name
    assert len(image) == 1 or not torch.allclose(expected.shares[0], expected.shares[1])
    box = slice(2, 9), slice(4, 13)
    inside = find_thin(LabelsAround(predicted, 4), scribbles, strokes, reach, numbers, box).odds
    assert inside.shape == (len(image), len(found.classes), 7, 9)
    whole = found.odds[(..., *box)][..., 1:-1, 1:]
    assert inside[..., 1:-1, 1:].numpy() == pytest.approx(whole.numpy(), abs=1e-9)


@pytest.mark.parametrize("grid", [(6, 7), (2, 5, 4)])
def test_evidence_equals_the_plain_loops(grid):
    num_labels = 4
    images, labels, scribbles = _sample(grid, num_labels)
    scribbles[1][scribbles[1] == 2] = IGNORE  # an image without strokes of one class
    labels[:, :2] = 0  # voxels that may become nothing else
    labels[0, -1] = 3
    reach = Reach([1] * len(grid), [1] * len(grid), [1] * len(grid), [1] * len(grid))
    evidence = torch.from_numpy(np.random.default_rng(1).normal(size=(2, num_labels, *grid)))
    strokes = stroke_appearance(images, scribbles, num_labels, IGNORE)
    thin = thinness(LabelsAround(labels, num_labels), reach.edge)
    odds = mean_around(torch.from_numpy(_expected_odds(images, labels, scribbles, num_labels, reach.rim)), reach.around)
    expected = oracles.with_thin_structures(
        evidence.numpy(),
        labels.numpy(),
        scribbles.numpy(),
        odds.numpy(),
        thin.double().numpy(),
        strokes.overlap.numpy(),
        4.0,
        reach.near,
        thin_structures.FEWEST_STROKES,
    )
    found = _by_odds(evidence, labels, scribbles, strokes, reach)
    assert found.numpy() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_evidence_of_a_thin_class_is_asked(monkeypatch):
    """The comparison above with each class as thin as chance has it."""
    thin = torch.tensor([0.0, 1.0, 0.4, 0.9])
    monkeypatch.setattr(thin_structures, "thinness", lambda *_: thin)
    monkeypatch.setitem(globals(), "thinness", lambda *_: thin)
    test_evidence_equals_the_plain_loops((6, 7))


def _ring():
    """A dark ring around a bright disk in grey; what is blurred between them belongs to its neighbours."""
    y, x = np.mgrid[:64, :64]
    radius = np.hypot(y - 32, x - 32)
    rng = np.random.default_rng(0)
    image = np.interp(radius, [0, 11, 15, 19, 23, 64], [1.0, 1.0, -1.0, -1.0, 0.4, 0.4])
    image = image + 0.05 * rng.normal(size=image.shape)
    truth = np.select([radius < 14, radius < 20], [2, 1], 0)
    scribbles = np.full(truth.shape, IGNORE)
    scribbles[(truth == 1) & (rng.random(truth.shape) < 0.2)] = 1
    scribbles[radius < 5] = 2  # strokes in the middle
    scribbles[(abs(radius - 28) < 1) & (y > 32)] = 0
    predicted = np.select([radius < 13, radius < 21], [2, 1], 0)  # too thick, as networks have it
    return [torch.from_numpy(each)[None] for each in (image[None].astype(np.float32), truth, scribbles, predicted)]


def _dice(labels, truth, number):
    return (
        2 * ((labels == number) & (truth == number)).sum() / ((labels == number).sum() + (truth == number).sum())
    ).item()


def test_a_ring_too_thick_becomes_thinner():
    image, truth, scribbles, predicted = _ring()
    reach = Reach([2, 2], [1, 1], [3, 3], [2, 2])
    strokes = stroke_appearance(image, scribbles, 3, IGNORE)
    assert thinness(LabelsAround(predicted, 3), reach.edge).tolist() == [0, 1, 0]
    evidence = 4 * mean_around(strokes.log_density(), reach.around)
    close = torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1).float()
    near = torch.nn.functional.max_pool2d(close, 5, 1, 2) > 0
    by_density = evidence.masked_fill(~near, -torch.inf).argmax(1)
    changed = _by_odds(evidence, predicted, scribbles, strokes, reach)
    by_odds = changed.masked_fill(~near, -torch.inf).argmax(1)
    before, after = (_dice(labels, truth, 1) for labels in (by_density, by_odds))
    assert after > before + 0.03
    assert after > 0.9
    assert torch.equal(changed[:, 0], evidence[:, 0])
    assert torch.equal(changed[:, 2], evidence[:, 2])


def test_a_ring_as_bright_as_what_is_around_it_stays():
    image, truth, scribbles, _ = _ring()
    image = torch.where(
        truth[:, None] == 2, image, torch.from_numpy(np.random.default_rng(1).normal(-1, 0.1, (64, 64)))
    )
    strokes = stroke_appearance(image, scribbles, 3, IGNORE)
    thin = find_thin(LabelsAround(truth, 3), scribbles, strokes, Reach([2, 2], [1, 1], [3, 3], [2, 2]))
    assert thin.classes == [1]
    beside_background, _, beside_disk = thin.shares[0, 0].tolist()
    assert beside_background < 0.2
    assert beside_disk > 0.8


@pytest.mark.parametrize("broken", ["no strokes", "few strokes", "nothing predicted", "all of it predicted"])
def test_evidence_stays_where_there_is_nothing_to_learn(broken):
    image, _, scribbles, predicted = _ring()
    if broken == "no strokes":
        scribbles = torch.full_like(scribbles, IGNORE)
    elif broken == "few strokes":
        ring = (scribbles == 1).nonzero()[thin_structures.FEWEST_STROKES - 1 :]
        scribbles[tuple(ring.T)] = IGNORE
    else:
        predicted = torch.full_like(predicted, int(broken == "all of it predicted"))
    strokes = stroke_appearance(image, scribbles, 3, IGNORE)
    evidence = strokes.log_density()
    reach = Reach([2, 2], [1, 1], [3, 3], [2, 2])
    assert torch.equal(_by_odds(evidence, predicted, scribbles, strokes, reach), evidence)


def test_a_class_that_is_not_predicted_is_not_thin():
    _, _, _, predicted = _ring()
    assert thinness(LabelsAround(torch.where(predicted == 1, 0, predicted), 3), [3, 3]).tolist() == [0, 0, 0]


def test_extreme_grey_values_are_finite():
    image, _, scribbles, predicted = _ring()
    for value in (0.0, 1e6, torch.nan, torch.inf):
        image[0, 0, 10:40] = value
        strokes = stroke_appearance(image, scribbles, 3, IGNORE)
        assert odds_of_belonging(LabelsAround(predicted, 3), scribbles, strokes, [2, 2]).isfinite().all()


@pytest.mark.parametrize("space", [ClassSpace(3, IGNORE), RegionSpace([(1, 2), 2], [1, 2], 3, IGNORE)])
@pytest.mark.parametrize("spacing", [None, [1.5, 1.5]])
def test_pseudo_labels_follow_the_odds(space, spacing):
    image, truth, scribbles, predicted = _ring()
    if isinstance(space, ClassSpace):
        logits = torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1).float()
    else:
        logits = torch.stack([predicted > 0, predicted == 2], 1).float() - 0.5
    found = {}
    for weight in (0.0, 4.0):
        config = config_from_plans({"pclmix": {"thin_structure_weight": weight}}, {})
        objective = PCLMixObjective(config, space, None, None, MemoryQueue(3, 7, 5), spacing)
        labels = objective.pseudo_labels(logits, logits, scribbles, None, None, image).labels
        assert torch.equal(labels[0], labels[1])
        found[weight] = _dice(labels[0], truth, 1)
    assert found[4.0] > found[0.0] + 0.02


def test_published_does_not_ask():
    assert config_from_plans({"pclmix": {"preset": "published"}}, {}).thin_structure_weight == 0


@pytest.mark.parametrize("grid", [(16, 17), (3, 9, 11)])
def test_a_device_that_is_not_waited_for_finds_the_same(monkeypatch, grid):
    images, labels, scribbles = _sample(grid, 4)
    labels[..., :8] = 0
    reach = Reach(*[[1] * len(grid)] * 4)
    strokes = stroke_appearance(images, scribbles, 4, IGNORE)
    found = []
    for looked_at in (True, False):
        monkeypatch.setattr(thin_structures, "is_at_hand", lambda _, answer=looked_at: answer)
        assert thinness(LabelsAround(labels, 4), reach.edge).amax() > 0
        found.append(_by_odds(strokes.log_density(), labels, scribbles, strokes, reach))
    assert torch.allclose(found[0], found[1], rtol=0, atol=1e-9)
    assert not torch.equal(found[0], strokes.log_density())
