import numpy as np
import pytest
import torch

from nnunetv2_pclmix.losses.consistency import (
    class_dice,
    mean_squared_difference,
    pseudo_label_cross_entropy,
    pseudo_region_cross_entropy,
)
from tests import oracles


def _counted(logits, labels, weights):
    weights = torch.ones(labels.shape, dtype=logits.dtype) if weights is None else weights
    return torch.zeros_like(logits).scatter_(1, labels[:, None], weights[:, None])


def cross_entropy(logits, labels, weights=None):
    return pseudo_label_cross_entropy(logits.log_softmax(1), _counted(logits, labels, weights))


def pseudo_label_dice(logits, labels, weights=None):
    """Dice of classes that exclude each other, as the objective computes it."""
    return class_dice(logits.softmax(1), _counted(logits, labels, weights), weights)


def _sample(seed: int, shape=(2, 3, 4, 3)):
    rng = np.random.default_rng(seed)
    grid = (shape[0], *shape[2:])
    logits = torch.from_numpy(rng.normal(size=shape) * 3)
    return logits, torch.from_numpy(rng.integers(0, shape[1], grid)), torch.from_numpy(rng.random(grid))


@pytest.mark.parametrize("shape", [(2, 3, 4, 3), (1, 4, 2, 3, 2), (1, 2, 1, 1)])
@pytest.mark.parametrize("weighted", [True, False])
def test_cross_entropy_equals_the_plain_loop(shape, weighted):
    logits, labels, weights = _sample(0, shape)
    used = weights if weighted else torch.ones_like(weights)
    expected = oracles.weighted_cross_entropy(logits.numpy(), labels.numpy(), used.numpy())
    loss = cross_entropy(logits, labels, weights if weighted else None)
    assert loss.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(2, 3, 4, 3), (1, 4, 2, 3, 2), (1, 2, 1, 1)])
@pytest.mark.parametrize("weighted", [True, False])
def test_dice_equals_the_plain_loop(shape, weighted):
    logits, labels, weights = _sample(1, shape)
    used = weights if weighted else torch.ones_like(weights)
    expected = oracles.dice_loss(logits.numpy(), labels.numpy(), used.numpy())
    assert pseudo_label_dice(logits, labels, weights if weighted else None).item() == pytest.approx(expected, abs=1e-9)


def test_dice_leaves_absent_classes_out():
    logits = torch.full((1, 3, 2, 2), -100.0, dtype=torch.float64)
    logits[:, 1] = 100.0
    assert pseudo_label_dice(logits, torch.ones(1, 2, 2, dtype=torch.long)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("term", [cross_entropy, pseudo_label_dice])
def test_gradients(term):
    logits, labels, weights = _sample(2, (2, 3, 2, 2))
    assert torch.autograd.gradcheck(lambda x: term(x, labels, weights), logits.requires_grad_())
    assert torch.autograd.gradcheck(lambda x: term(x, labels), logits)


@pytest.mark.parametrize("term", [cross_entropy, pseudo_label_dice])
def test_no_certain_voxel_is_zero_with_a_finite_gradient(term):
    logits, labels, weights = _sample(3)
    loss = term(logits.requires_grad_(), labels, torch.zeros_like(weights))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.isfinite().all()


def test_squared_difference_equals_the_plain_loop():
    first, second = _sample(4)[0], _sample(5)[0]
    loss = mean_squared_difference(first, second)
    expected = oracles.mean_squared_difference(first.numpy(), second.numpy())
    assert loss.item() == pytest.approx(expected, abs=1e-9)
    assert mean_squared_difference(first, first).item() == 0
    assert torch.autograd.gradcheck(mean_squared_difference, (first.requires_grad_(), second.requires_grad_()))


@pytest.mark.parametrize("shape", [(2, 3, 4, 3), (1, 2, 2, 3, 2)])
@pytest.mark.parametrize("weighted", [True, False])
def test_region_cross_entropy_equals_the_plain_loop(shape, weighted):
    logits, _, weights = _sample(6, shape)
    regions = torch.from_numpy(np.random.default_rng(7).random(shape) < 0.4)
    used = weights if weighted else torch.ones_like(weights)
    expected = oracles.region_cross_entropy(logits.numpy(), regions.numpy(), used.numpy())
    given = weights if weighted else None
    assert pseudo_region_cross_entropy(logits, regions, given).item() == pytest.approx(expected, abs=1e-9)
    assert torch.autograd.gradcheck(lambda x: pseudo_region_cross_entropy(x, regions, given), logits.requires_grad_())


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(2, 1\)"):
        mean_squared_difference(torch.zeros(1, 2), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="expected equal shapes"):
        pseudo_label_cross_entropy(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3))
    with pytest.raises(ValueError, match="expected labels of shape"):
        class_dice(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="expected equal shapes"):
        class_dice(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3))
