"""What must hold for the whole objective, whatever the data: symmetries, extremes, half precision, memory layouts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nnunetv2_pclmix.config import config_from_plans
from nnunetv2_pclmix.dataloading.mix import Mix, draw_mix
from nnunetv2_pclmix.label_space import ClassSpace, LabelSpace, RegionSpace
from nnunetv2_pclmix.losses.partial import PartialCrossEntropyLoss, PartialRegionCrossEntropyLoss
from nnunetv2_pclmix.memory_queue import MemoryQueue
from nnunetv2_pclmix.network.dual_decoder import DualOutput
from nnunetv2_pclmix.objective import PCLMixObjective
from nnunetv2_pclmix.step_data import StepResult
from nnunetv2_pclmix.terms import TERMS

C, IGNORE, D, ROWS = 3, 3, 4, 5
PRESETS = ("published", "default")


class _Coin:
    def random(self) -> float:
        return 0.1


def _space(regions: bool) -> LabelSpace:
    return RegionSpace([(1, 2), 2], [1, 2], C, IGNORE) if regions else ClassSpace(C, IGNORE)


def _objective(preset: str, queue: Tensor, filled: int = ROWS, regions: bool = False) -> PCLMixObjective:
    """All voxels of a class are anchors, so that nothing is left to chance."""
    overrides = {"preset": preset, "contrast_views": 10**6, "contrast_anchors": 10**6}
    loss = PartialRegionCrossEntropyLoss() if regions else PartialCrossEntropyLoss(IGNORE)
    ring = MemoryQueue(C, ROWS, D)
    ring.enqueue(queue[:filled], torch.ones(filled, C, dtype=torch.bool))
    config = config_from_plans({"pclmix": overrides}, {})
    return PCLMixObjective(config, _space(regions), lambda m, t: loss(m[0], t[0]), loss, ring)


def _sample(seed: int, batch: int = 3, grid: tuple[int, ...] = (8, 12), channels: int = C):
    rng = np.random.default_rng(seed)
    main, auxiliary = (torch.from_numpy(rng.normal(size=(2 * batch, channels, *grid)) * 3).float() for _ in range(2))
    coarse = [math.ceil(size / 4) for size in grid]
    embedding = torch.from_numpy(rng.normal(size=(2 * batch, D, *coarse))).float()
    labels = rng.integers(0, C, (2 * batch, 1, *grid))
    labels[rng.random(labels.shape) < 0.8] = IGNORE
    queue = F.normalize(torch.from_numpy(rng.normal(size=(ROWS, C, D))).float(), dim=2)
    return main, auxiliary, embedding, torch.from_numpy(labels), draw_mix(batch, grid, 0.2, rng), queue


def _result(objective, main, auxiliary, embedding, labels, mix, progress: float = 0.5) -> StepResult:
    return objective(DualOutput([main], auxiliary, embedding), [labels], mix, progress, _Coin())


def _terms(*args, **kwargs) -> list[float]:
    return _result(*args, **kwargs).terms.tolist()


def _assert_finite_with_gradients(objective, main, auxiliary, embedding, labels, mix, progress: float = 0.5):
    leaves = [t.detach().clone().requires_grad_() for t in (main, auxiliary, embedding)]
    result = _result(objective, *leaves, labels, mix, progress)
    result.loss.backward()
    assert result.loss.isfinite()
    assert result.terms.isfinite().all()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)
    return result


@pytest.mark.parametrize("preset", PRESETS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_batch_does_not_matter(preset, seed):
    main, auxiliary, embedding, labels, mix, queue = _sample(seed)
    objective, batch = _objective(preset, queue), len(mix.boxes)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(batch))
    twins = torch.from_numpy(np.random.default_rng(seed + 1).permutation(batch))
    images = torch.cat([order, batch + twins])
    moved = Mix(torch.argsort(order)[mix.partners[twins]], mix.boxes[twins], mix.patch_size)
    expected = _terms(objective, main, auxiliary, embedding, labels, mix)
    permuted = _terms(objective, main[images], auxiliary[images], embedding[images], labels[images], moved)
    assert permuted == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("preset", PRESETS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_structures_does_not_matter(preset, seed):
    main, auxiliary, embedding, labels, mix, queue = _sample(seed)
    classes = torch.tensor([0, 2, 1])  # background keeps its part
    renamed = torch.tensor([0, 2, 1, IGNORE])[labels]
    expected = _terms(_objective(preset, queue), main, auxiliary, embedding, labels, mix)
    permuted = _terms(
        _objective(preset, queue[:, classes]), main[:, classes], auxiliary[:, classes], embedding, renamed, mix
    )
    assert permuted == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("filled", [0, 2, ROWS])
@given(seed=st.integers(0, 10_000), case=st.sampled_from(["ignored", "one class", "all labelled", "undecided"]))
@settings(max_examples=8, deadline=None)
def test_extreme_labels_give_finite_losses_and_gradients(preset, filled, regions, seed, case):
    main, auxiliary, embedding, labels, mix, queue = _sample(seed, channels=2 if regions else C)
    if case == "ignored":
        labels = torch.full_like(labels, IGNORE)
    elif case == "one class":
        labels = torch.where(labels == IGNORE, IGNORE, 1)
    elif case == "all labelled":
        labels = torch.where(labels == IGNORE, 0, labels)
    else:  # no voxel is certain
        main, auxiliary = torch.zeros_like(main), torch.zeros_like(auxiliary)
    result = _assert_finite_with_gradients(
        _objective(preset, queue, filled, regions), main, auxiliary, embedding, labels, mix
    )
    if case == "ignored":
        assert result.terms[: TERMS.index("mix_consistency_main")].abs().max() == 0
        assert result.scribble_counts.sum() == 0
    if filled == 0:
        assert result.terms[TERMS.index("contrast")] == 0


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (1, 1, 1), (2, 3, 4)])
@pytest.mark.parametrize("batch", [1, 2])
def test_single_voxels_and_single_images(preset, grid, batch):
    main, auxiliary, embedding, labels, mix, queue = _sample(0, batch, grid)
    _assert_finite_with_gradients(_objective(preset, queue), main, auxiliary, embedding, labels, mix)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_boxes_of_no_and_of_full_size(preset, fraction):
    main, auxiliary, embedding, labels, _, queue = _sample(0)
    mix = draw_mix(3, main.shape[2:], fraction, np.random.default_rng(0))
    _assert_finite_with_gradients(_objective(preset, queue), main, auxiliary, embedding, labels, mix)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_with_large_logits(preset, dtype, regions):
    main, auxiliary, embedding, labels, mix, queue = _sample(0, channels=2 if regions else C)
    objective = _objective(preset, queue, regions=regions)
    with torch.autocast("cpu", dtype=dtype):
        _assert_finite_with_gradients(
            objective, (main * 1000).to(dtype), (auxiliary * 1000).to(dtype), (embedding * 1000).to(dtype), labels, mix
        )


@pytest.mark.parametrize("preset", PRESETS)
def test_memory_layout_does_not_matter(preset):
    main, auxiliary, embedding, labels, mix, queue = _sample(0)
    strided = [t.transpose(2, 3).contiguous().transpose(2, 3) for t in (main, auxiliary, embedding, labels)]
    last = [t.contiguous(memory_format=torch.channels_last) for t in (main, auxiliary, embedding)]
    assert not any(t.is_contiguous() for t in strided)
    expected = _terms(_objective(preset, queue), main, auxiliary, embedding, labels, mix)
    assert _terms(_objective(preset, queue), *strided, mix) == pytest.approx(expected, rel=1e-5)
    assert _terms(_objective(preset, queue), *last, labels, mix) == pytest.approx(expected, rel=1e-5)
