import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_pclmix.losses.partial import PartialCrossEntropyLoss
from nnunetv2_pclmix.losses.partial import partial_cross_entropy as of_log_probabilities
from tests import oracles

IGNORE = 3


def partial_cross_entropy(logits, labels, ignore_label):
    return of_log_probabilities(logits.log_softmax(1), labels, ignore_label)


def _sample(seed: int, shape=(2, 3, 4, 5), ignored: float = 0.7):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=shape) * 3
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    labels[rng.random(labels.shape) < ignored] = IGNORE
    return torch.from_numpy(logits), torch.from_numpy(labels)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 2, 3, 4), (1, 3, 1, 1)])
@pytest.mark.parametrize("ignored", [0.0, 0.7, 1.0])
def test_equals_the_plain_loop(shape, ignored):
    logits, labels = _sample(0, shape, ignored)
    expected = oracles.partial_cross_entropy(logits.numpy(), labels.numpy(), IGNORE)
    assert partial_cross_entropy(logits, labels, IGNORE).item() == pytest.approx(expected, abs=1e-9)


def test_nothing_labelled_is_zero_with_a_zero_gradient():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = partial_cross_entropy(logits, torch.full((2, 4, 4), IGNORE), IGNORE)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_gradient():
    logits, labels = _sample(1, (2, 3, 3, 2))
    assert torch.autograd.gradcheck(lambda x: partial_cross_entropy(x, labels, IGNORE), logits.requires_grad_())


def test_no_gradient_reaches_ignored_voxels():
    logits, labels = _sample(2)
    partial_cross_entropy(logits.requires_grad_(), labels, IGNORE).backward()
    assert (logits.grad.abs().sum(1)[labels == IGNORE] == 0).all()
    assert (logits.grad.abs().sum(1)[labels != IGNORE] > 0).all()


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_order_of_images_and_of_classes_does_not_matter(seed):
    logits, labels = _sample(seed)
    rng = np.random.default_rng(seed)
    images, classes = rng.permutation(2), rng.permutation(3)
    renamed = torch.from_numpy(np.append(np.argsort(classes), IGNORE))[labels]
    permuted = partial_cross_entropy(logits[images][:, classes], renamed[images], IGNORE)
    assert permuted.item() == pytest.approx(partial_cross_entropy(logits, labels, IGNORE).item(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_module_is_finite_in_half_precision_with_large_logits(dtype):
    logits = (torch.randn(2, 3, 4, 4) * 2e4).clamp(-6e4, 6e4).to(dtype)
    target = torch.randint(0, 4, (2, 1, 4, 4)).short()
    assert PartialCrossEntropyLoss(IGNORE)(logits, target).isfinite()


def test_module_of_log_probabilities_is_that_of_logits():
    logits, labels = _sample(4)
    target = labels[:, None]
    scores = logits.log_softmax(1)
    expected = PartialCrossEntropyLoss(IGNORE)(logits, target)
    assert PartialCrossEntropyLoss(IGNORE, of_logits=False)(scores, target).item() == expected.item()


def test_non_contiguous_input():
    logits, labels = _sample(3)
    strided = logits.transpose(2, 3).contiguous().transpose(2, 3)
    assert partial_cross_entropy(strided, labels, IGNORE) == partial_cross_entropy(logits, labels, IGNORE)


def test_names_both_shapes():
    with pytest.raises(ValueError, match=r"expected labels of shape \(2, 4, 5\).*got \(2, 5, 4\)"):
        partial_cross_entropy(torch.zeros(2, 3, 4, 5), torch.zeros(2, 5, 4), IGNORE)
