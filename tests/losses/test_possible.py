import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_pclmix.losses.possible import possible_classes_loss, possible_regions_loss
from nnunetv2_pclmix.precision import at_least_float32
from tests import oracles


def of_classes(logits, possible):
    return possible_classes_loss(at_least_float32(logits).softmax(1), possible)


LOSSES = [(of_classes, oracles.possible_classes), (possible_regions_loss, oracles.possible_regions)]


def _sample(seed, grid=(3, 4), channels=3):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(2, channels, *grid)) * 3)
    possible = torch.from_numpy(rng.random(logits.shape) < 0.5)
    possible[:, 0] |= ~possible.any(1)
    return logits, possible


@pytest.mark.parametrize(("loss", "oracle"), LOSSES)
@given(seed=st.integers(0, 10_000), grid=st.sampled_from([(3, 4), (2, 3, 2), (1, 1)]))
@settings(max_examples=20, deadline=None)
def test_against_plain_loops(loss, oracle, seed, grid):
    logits, possible = _sample(seed, grid)
    assert loss(logits, possible).item() == pytest.approx(oracle(logits.numpy(), possible.numpy()), abs=1e-9)


@pytest.mark.parametrize(("loss", "_"), LOSSES)
def test_gradient(loss, _):
    logits, possible = _sample(1)
    assert torch.autograd.gradcheck(lambda x: loss(x, possible), logits.requires_grad_())


@pytest.mark.parametrize(("loss", "_"), LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1, 1e4])
def test_nothing_to_say_and_extreme_logits(loss, _, dtype, scale):
    logits = (torch.randn(2, 3, 4, 5) * scale).to(dtype).requires_grad_()
    everything = torch.ones(logits.shape, dtype=torch.bool)
    nothing_known = loss(logits, everything)
    nothing_known.backward()
    assert nothing_known.item() == 0
    assert (logits.grad == 0).all()
    logits.grad = None
    only_first = everything.clone()
    only_first[:, 1:] = False
    value = loss(logits, only_first)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_one_possible_class_is_cross_entropy():
    logits, _ = _sample(2)
    labels = torch.randint(0, 3, (2, 3, 4))
    possible = F.one_hot(labels, 3).movedim(-1, 1).bool()
    assert of_classes(logits, possible).item() == pytest.approx(F.cross_entropy(logits, labels).item())


def test_where_exponentials_end():
    logits = torch.tensor([0.0, 1000.0]).view(1, 2, 1).requires_grad_()
    loss = of_classes(logits, torch.tensor([True, False]).view(1, 2, 1))
    loss.backward()
    assert loss.item() == pytest.approx(87.3, abs=0.1)
    assert (logits.grad == 0).all()


def test_shapes():
    for loss, _ in LOSSES:
        with pytest.raises(ValueError, match=r"expected equal shapes, got \(2, 3, 3, 4\) and \(2, 3, 3\)"):
            loss(torch.zeros(2, 3, 3, 4), torch.ones(2, 3, 3, dtype=torch.bool))
