"""A step on a GPU is the step on the CPU, and never makes the host wait."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from nnunetv2_pclmix.closed_world import Strokes, grow_from_seeds
from nnunetv2_pclmix.config import PCLMixConfig, config_from_plans
from nnunetv2_pclmix.dataloading.mix import draw_mix
from nnunetv2_pclmix.label_space import ClassSpace
from nnunetv2_pclmix.losses.partial import PartialCrossEntropyLoss
from nnunetv2_pclmix.memory_queue import MemoryQueue
from nnunetv2_pclmix.network.build import add_training_parts
from nnunetv2_pclmix.objective import TERMS, PCLMixObjective
from tests.network.test_dual_decoder import _unet

pytestmark = pytest.mark.gpu

CLASSES, IGNORE, PATCHES, TWINS = 4, 4, 3, 2
WHOLE = {"auxiliary_drop_path": 0.0, "contrast_views": 10**6, "contrast_anchors": 10**6}  # nothing is drawn
GRIDS = {2: (64, 48), 3: (16, 32, 32)}


class _Step:
    """Network, objective and queue on a device, and one batch for them."""

    def __init__(self, device: torch.device, dtype: torch.dtype, dim: int = 2, **settings: object) -> None:
        torch.manual_seed(0)
        config = config_from_plans({"pclmix": {**WHOLE, **settings}}, {})
        self.network = add_training_parts(_unet(dim=dim), CLASSES, config).to(device, dtype).train()
        grid, rng = GRIDS[dim], np.random.default_rng(0)
        images = rng.normal(size=(PATCHES + TWINS, 1, *grid))
        labels = rng.choice([0, 1, 2, 3, *[IGNORE] * 20], images.shape)
        labels[0] = IGNORE  # an image without strokes
        self.images = torch.from_numpy(images).to(device, dtype)
        target = torch.from_numpy(labels).to(device)
        halves = (target, target[..., ::2, ::2], target[..., ::4, ::4])
        self.targets = [t if dim == 2 or not n else t[:, :, :: 2**n].contiguous() for n, t in enumerate(halves)]
        self.mix = draw_mix(PATCHES, grid, 0.2, rng, TWINS)
        present = torch.tensor([[True, True, True], [True, False, True], [True, True, True]], device=device)
        self.strokes = Strokes(torch.tensor([False, True, True], device=device), present, ~present)
        self.queue = MemoryQueue(CLASSES, 9, config.embedding_dimension).to(device, dtype)
        rows = torch.from_numpy(rng.normal(size=(5, CLASSES, config.embedding_dimension))).to(device, dtype)
        self.queue.enqueue(F.normalize(rows, dim=2), torch.ones(rows.shape[:2], dtype=torch.bool, device=device))
        one_scale = DC_and_CE_loss(
            {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False},
            {},
            ignore_label=IGNORE,
            dice_class=MemoryEfficientSoftDiceLoss,
        )
        loss = DeepSupervisionWrapper(one_scale, (0.6, 0.3, 0.1))
        auxiliary = PartialCrossEntropyLoss(IGNORE)
        self.objective = PCLMixObjective(config, ClassSpace(CLASSES, IGNORE), loss, auxiliary, self.queue)

    def __call__(self) -> torch.Tensor:
        """Gradients and a longer queue; returns the terms."""
        rng, output = np.random.default_rng(1), self.network(self.images)
        result = self.objective(output, self.targets, self.mix, 0.5, rng, self.strokes, self.images)
        result.loss.backward()
        self.queue.enqueue(result.queue_vectors, result.queue_valid)
        return result.terms


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("preset", ["default", "published"])
def test_terms_gradients_and_queue_equal_those_of_the_cpu(cuda, preset, dim):
    here, there = (_Step(torch.device(d), torch.float64, dim, preset=preset) for d in ("cpu", cuda))
    for name, a, b in zip(TERMS, here().tolist(), there().tolist(), strict=True):
        assert b == pytest.approx(a, rel=1e-9, abs=1e-12), name
    for (name, a), b in zip(here.network.named_parameters(), there.network.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        assert a.grad is None or torch.allclose(a.grad, b.grad.cpu(), rtol=1e-6, atol=1e-9), name
    assert torch.allclose(here.queue.features, there.queue.features.cpu(), atol=1e-9)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("preset", ["default", "published"])
def test_a_step_never_waits_for_the_device(cuda, preset, dim):
    step = _Step(cuda, torch.float32, dim, preset=preset, contrast_views=100, contrast_anchors=64)
    with torch.autocast("cuda"):
        step()  # the first one builds things
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.autocast("cuda"):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite_with_large_logits(cuda, dtype, scale):
    step = _Step(cuda, torch.float32)
    with torch.no_grad():
        for name, weight in step.network.named_parameters():
            if "seg_layers" in name or name.endswith("bias"):
                weight.mul_(scale)
    with torch.autocast("cuda", dtype):
        terms = step()
    assert all(math.isfinite(value) for value in terms.tolist())


@pytest.mark.parametrize("grid", [(3, 4, 60, 50), (2, 3, 20, 16, 12)])
def test_growing_equals_that_of_the_cpu(cuda, grid):
    generator = torch.Generator().manual_seed(0)
    mask, seeds = torch.rand(grid, generator=generator) < 0.5, torch.rand(grid, generator=generator) < 0.02
    for steps in (0, 3, 2 * max(grid)):
        grown = grow_from_seeds(seeds.to(cuda), mask.to(cuda), steps)
        assert torch.equal(grown.cpu(), grow_from_seeds(seeds, mask, steps))


@pytest.mark.parametrize("dim", [2, 3])
def test_inductor_compiles_the_network_without_graph_breaks_and_agrees_with_eager(cuda, dim):
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = add_training_parts(_unet(dim=dim), CLASSES, PCLMixConfig(auxiliary_drop_path=0.0)).to(cuda).train()
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
