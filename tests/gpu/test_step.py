"""A step on a GPU is the step on the CPU, and never makes the host wait."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from nnunetv2_pclmix.closed_world import grow_from_seeds
from nnunetv2_pclmix.config import PCLMixConfig
from nnunetv2_pclmix.cuda_graph import GraphedStep
from nnunetv2_pclmix.neighbourhood import packed
from nnunetv2_pclmix.network.build import add_training_parts
from nnunetv2_pclmix.step_data import StepInput, StepResult
from nnunetv2_pclmix.terms import TERMS
from nnunetv2_pclmix.training_step import one_pass
from tests.network.test_dual_decoder import _unet
from tests.step import CLASSES, GRIDS, PATCHES, Step

pytestmark = pytest.mark.gpu
SETTINGS: list[dict] = [{}, {"teacher_decay": 0.9}, {"preset": "published"}]


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("settings", SETTINGS)
def test_terms_gradients_and_queue_equal_those_of_the_cpu(cuda, settings, dim):
    here, there = (Step(torch.device(d), torch.float64, dim, **settings) for d in ("cpu", cuda))
    single = "preset" not in settings  # nnU-Net's Dice sums in float32 whatever the input
    for name, a, b in zip(TERMS, here().tolist(), there().tolist(), strict=True):
        assert b == pytest.approx(a, rel=1e-5 if single and "supervised_main" in name else 1e-9, abs=1e-12), name
    for (name, a), b in zip(here.network.named_parameters(), there.network.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        tolerance = {"rtol": 1e-4, "atol": 1e-6} if single else {"rtol": 1e-6, "atol": 1e-9}
        assert a.grad is None or torch.allclose(a.grad, b.grad.cpu(), **tolerance), name
    assert torch.allclose(here.queue.features, there.queue.features.cpu(), atol=1e-9)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_step_never_waits_for_the_device(cuda, settings, dim):
    step = Step(cuda, torch.float32, dim, **settings, contrast_views=100, contrast_anchors=64)
    with torch.autocast("cuda"):
        step()  # the first one builds things
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.autocast("cuda"):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite_with_large_logits(cuda, dtype, scale):
    step = Step(cuda, torch.float32)
    with torch.no_grad():
        for name, weight in step.network.named_parameters():
            if "seg_layers" in name or name.endswith("bias"):
                weight.mul_(scale)
    with torch.autocast("cuda", dtype):
        terms = step()
    assert all(math.isfinite(value) for value in terms.tolist())


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("grid", [(3, 4, 60, 50), (2, 9, 20, 16, 12)])
def test_growing_equals_that_of_the_cpu(cuda, grid, compiled):
    torch._dynamo.reset()
    grow = torch.compile(grow_from_seeds, dynamic=False) if compiled else grow_from_seeds
    generator = torch.Generator().manual_seed(0)
    mask, seeds = (packed(torch.rand(grid, generator=generator) < share) for share in (0.5, 0.02))
    for steps in (0, 3, 2 * max(grid)):
        grown = grow(seeds.to(cuda), mask.to(cuda), steps)
        assert torch.equal(grown.cpu(), grow_from_seeds(seeds, mask, steps))


@pytest.mark.parametrize("dim", [2, 3])
def test_inductor_compiles_the_network_without_graph_breaks_and_agrees_with_eager(cuda, dim):
    torch._dynamo.reset()
    torch.manual_seed(0)
    config = PCLMixConfig(auxiliary_drop_path=0.0)
    network = add_training_parts(_unet(dim=dim), CLASSES, GRIDS[dim], config, recompute=True).to(cuda).train()
    compiled = torch.compile(network, fullgraph=True, dynamic=False)  # raises at a break
    images = torch.randn(2, 1, *GRIDS[dim], device=cuda)
    gradients = []
    for model in (network, compiled):
        network.zero_grad()
        output = model(images)
        sum(part.square().mean() for part in (*output.main, output.auxiliary, output.embedding)).backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for eager, fast in zip(*gradients, strict=True):
        assert torch.allclose(eager, fast, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_compiled_objective_agrees_with_eager(cuda, settings, dim):
    torch._dynamo.reset()
    eager, compiled = (Step(cuda, torch.float32, dim, **settings) for _ in range(2))
    compiled.objective.compile()
    for name, a, b in zip(TERMS, eager().tolist(), compiled().tolist(), strict=True):
        assert b == pytest.approx(a, rel=1e-3, abs=1e-5), name
    for a, b in zip(eager.network.parameters(), compiled.network.parameters(), strict=True):
        assert a.grad is None or torch.allclose(a.grad, b.grad, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("compiles", [False, True])
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_captured_step_is_the_ordinary_one(cuda, settings, dim, compiles):
    """Other images, boxes, coins, weights and rows of the queue in every step; half precision, nothing at random."""
    torch._dynamo.reset()
    ordinary, captured = (Step(cuda, torch.float32, dim, **settings) for _ in range(2))
    if compiles:
        captured.objective.compile()
    said: list[str] = []

    def run(step: Step, batch: StepInput) -> StepResult:
        result = one_pass(step.network, step.objective, batch, 1, step.teacher)
        (1024 * result.loss).backward()
        return result

    plain = partial(run, ordinary)
    graphed = GraphedStep(partial(run, captured), captured.network.parameters(), said.append)
    for n, progress in enumerate((0.05, 0.06, 0.07, 0.5, 0.6, 0.7, 0.8)):
        results = []
        for step, through in ((ordinary, plain), (captured, graphed)):
            rng = np.random.default_rng(n)
            mix = step.mix._replace(boxes=(step.mix.boxes - n).clamp(min=0))
            drawn = step.objective.draw(mix, PATCHES, progress, rng).to(cuda)
            step.network.zero_grad(set_to_none=True)
            result = through(StepInput(step.images.roll(n, 0), step.targets, drawn, step.strokes))
            step.queue.enqueue(result.queue_vectors, result.queue_valid)
            if step.teacher is not None:  # as if an optimiser had changed the weights
                for weight in step.teacher.network.parameters():
                    weight.mul_(0.98)
            results.append(result)
        for name, a, b in zip(TERMS, *(result.terms.tolist() for result in results), strict=True):
            assert b == pytest.approx(a, rel=1e-2, abs=1e-3), (n, name)
        gradients = [[p.grad for p in step.network.parameters()] for step in (ordinary, captured)]
        assert [g is None for g in gradients[0]] == [g is None for g in gradients[1]]
        # all together, because a bias before a norm has nothing but rounding errors
        first, second = (torch.cat([g.flatten() for g in each if g is not None]) for each in gradients)
        assert (first - second).norm() <= 0.05 * first.norm(), n
        assert torch.equal(ordinary.queue.written, captured.queue.written)
        assert torch.allclose(ordinary.queue.features, captured.queue.features, atol=2e-2)
    assert said == []
