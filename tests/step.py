"""A whole step on any device: network, teacher, objective and queue, and one batch for them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from nnunetv2_pclmix.closed_world import Strokes
from nnunetv2_pclmix.config import config_from_plans
from nnunetv2_pclmix.dataloading.mix import draw_mix
from nnunetv2_pclmix.label_space import ClassSpace
from nnunetv2_pclmix.losses.partial import PartialCrossEntropyLoss
from nnunetv2_pclmix.losses.supervised import PartialDiceCELoss
from nnunetv2_pclmix.memory_queue import MemoryQueue
from nnunetv2_pclmix.network.build import add_training_parts
from nnunetv2_pclmix.objective import PCLMixObjective
from nnunetv2_pclmix.teacher import Teacher
from tests.network.test_dual_decoder import _unet

CLASSES, IGNORE, PATCHES, TWINS = 4, 4, 3, 2
WHOLE = {"auxiliary_drop_path": 0.0, "contrast_views": 10**6, "contrast_anchors": 10**6}  # nothing is drawn
GRIDS = {2: (64, 48), 3: (16, 32, 32)}


class Step:
    """Network, teacher (where the preset has one), objective and queue on a device, and one batch for them.

    Args:
        device: where.
        dtype: of images and weights.
        dim: 2 or 3.
        settings: hyper-parameters; by default nothing is drawn at random.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, dim: int = 2, **settings: object) -> None:
        torch.manual_seed(0)
        config = config_from_plans({"pclmix": {**WHOLE, **settings}}, {})
        self.network = (
            add_training_parts(_unet(dim=dim), CLASSES, GRIDS[dim], config, recompute=device.type == "cuda")
            .to(device, dtype)
            .train()
        )
        self.teacher = None if config.teacher_decay is None else Teacher(self.network, config.teacher_decay)
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
        partial = PartialCrossEntropyLoss(IGNORE, of_logits=False)
        main = PartialDiceCELoss(one_scale, of_logits=False) if config.main_supervision == "dice_ce" else partial
        every_scale = DeepSupervisionWrapper(main, (0.6, 0.3, 0.1))
        self.objective = PCLMixObjective(config, ClassSpace(CLASSES, IGNORE), every_scale, partial, self.queue)

    def __call__(self, progress: float = 0.5) -> torch.Tensor:
        """Gradients and a longer queue; returns the terms."""
        rng, output = np.random.default_rng(1), self.network(self.images)
        taught = None if self.teacher is None else self.teacher(self.images[:PATCHES])
        result = self.objective(output, self.targets, self.mix, progress, rng, self.strokes, self.images, taught)
        result.loss.backward()
        self.queue.enqueue(result.queue_vectors, result.queue_valid)
        return result.terms
