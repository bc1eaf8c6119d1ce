import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_pclmix.losses.contrast import choose_anchors, class_means, info_nce
from tests import oracles

C, K, D = 3, 4, 5


def _unit(rng, *shape):
    return F.normalize(torch.from_numpy(rng.normal(size=shape)), dim=-1)


def _sample(seed: int, num_anchors: int = 6):
    rng = np.random.default_rng(seed)
    anchors, queue = _unit(rng, num_anchors, D), _unit(rng, C, K, D)
    labels = torch.from_numpy(rng.integers(0, C, num_anchors))
    return (
        anchors,
        labels,
        torch.from_numpy(rng.random(num_anchors) < 0.8),
        queue,
        torch.from_numpy(rng.random((C, K)) < 0.6),
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_info_nce_equals_the_plain_loop(seed, temperature):
    sample = _sample(seed)
    expected = oracles.info_nce(*(t.numpy() for t in sample), temperature)
    assert info_nce(*sample, temperature).item() == pytest.approx(expected, abs=1e-9)


def test_info_nce_gradient():
    anchors, *rest = _sample(1)
    assert torch.autograd.gradcheck(lambda x: info_nce(x, *rest, 0.5), anchors.requires_grad_())


@pytest.mark.parametrize("case", ["queue empty", "no anchor", "no positive", "no negative"])
def test_info_nce_without_anything_to_compare(case):
    anchors, labels, valid, queue, filled = _sample(2)
    valid = torch.ones_like(valid)
    if case == "queue empty":
        filled = torch.zeros_like(filled)
    elif case == "no anchor":
        valid = torch.zeros_like(valid)
    else:
        labels = torch.zeros_like(labels)
        filled = torch.zeros_like(filled)
        filled[1 if case == "no positive" else 0] = True
    loss = info_nce(anchors.requires_grad_(), labels, valid, queue, filled, 0.07)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert anchors.grad.isfinite().all()


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_info_nce_does_not_mind_the_order_of_classes_or_rows(seed):
    anchors, labels, valid, queue, filled = _sample(seed)
    rng = np.random.default_rng(seed)
    classes, rows, order = rng.permutation(C), rng.permutation(K), rng.permutation(len(labels))
    renamed = torch.from_numpy(np.argsort(classes))[labels]
    permuted = info_nce(
        anchors[order], renamed[order], valid[order], queue[classes][:, rows], filled[classes][:, rows], 0.2
    )
    assert permuted.item() == pytest.approx(info_nce(anchors, labels, valid, queue, filled, 0.2).item(), abs=1e-9)


def test_info_nce_stays_in_float32_under_autocast():
    anchors, labels, valid, queue, filled = _sample(3)
    anchors, queue = anchors.float(), queue.float()
    plain = info_nce(anchors, labels, valid, queue, filled, 0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert info_nce(anchors, labels, valid, queue, filled, 0.07) == plain


def _expected_counts(labels, hard, max_views, max_anchors):
    """Number of (easy, hard) anchors per image and class, from the rule in words."""
    pairs = [(n, c) for n in range(len(labels)) for c in range(C) if (labels[n] == c).any()]
    views = min(max_views, max(1, max_anchors // max(len(pairs), 1)))
    counts = {}
    for n, c in pairs:
        n_hard = int(((labels[n] == c) & hard[n]).sum())
        n_easy = int(((labels[n] == c) & ~hard[n]).sum())
        half = views // 2
        if n_hard >= half and n_easy >= views - half:
            take = (views - half, half)
        elif n_hard >= half:
            take = (n_easy, min(n_hard, views - n_easy))
        else:
            take = (min(n_easy, views - n_hard), n_hard)
        counts[n, c] = take
    return counts


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(6, 60))
@settings(max_examples=60, deadline=None)
def test_anchors_follow_the_rule(seed, max_views, max_anchors):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 7], size=(2, 30), p=rng.dirichlet(np.ones(4)))
    hard = rng.random(labels.shape) < rng.random()
    generator = torch.Generator().manual_seed(seed)
    anchors = choose_anchors(
        torch.from_numpy(labels),
        torch.from_numpy(hard),
        C,
        max_views=max_views,
        max_anchors=max_anchors,
        generator=generator,
    )
    chosen = anchors.voxels[anchors.valid].numpy()
    assert len(set(chosen)) == len(chosen)
    flat_labels, flat_hard = labels.ravel(), hard.ravel()
    assert np.array_equal(flat_labels[chosen], anchors.labels[anchors.valid].numpy())
    for (n, c), (easy, difficult) in _expected_counts(labels, hard, max_views, max_anchors).items():
        mine = chosen[(chosen // labels.shape[1] == n) & (flat_labels[chosen] == c)]
        assert (flat_hard[mine].sum(), (~flat_hard[mine]).sum()) == (difficult, easy)


def test_anchors_differ_from_draw_to_draw_and_repeat_for_a_seed():
    labels, hard = torch.zeros(1, 500, dtype=torch.long), torch.zeros(1, 500, dtype=torch.bool)

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        chosen = choose_anchors(labels, hard, C, max_views=10, max_anchors=64, generator=generator)
        return set(chosen.voxels[chosen.valid].tolist())

    assert draw(1) == draw(1) != draw(2)
    assert math.isclose(len(draw(1)), 10)


def test_no_label_no_anchor():
    anchors = choose_anchors(torch.full((2, 9), 7), torch.zeros(2, 9, dtype=torch.bool), C, max_views=5, max_anchors=20)
    assert not anchors.valid.any()


def test_class_means_equal_the_plain_loop():
    rng = np.random.default_rng(0)
    embeddings = _unit(rng, 2, 12, D).transpose(1, 2)
    labels = torch.from_numpy(rng.choice([0, 1, 9], size=(2, 12)))
    means, valid = class_means(embeddings, labels, C)
    expected = oracles.class_means(embeddings.numpy(), labels.numpy(), C)
    assert {(n, c) for n, c in np.argwhere(valid.numpy())} == set(expected)
    for (n, c), mean in expected.items():
        assert means[n, c].numpy() == pytest.approx(mean, abs=1e-9)


def test_class_means_are_as_precise_under_autocast():
    embeddings = torch.randn(2, 8, 50, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(100).view(2, 50) % 3
    expected = class_means(embeddings, labels, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = class_means(embeddings, labels, 3)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
