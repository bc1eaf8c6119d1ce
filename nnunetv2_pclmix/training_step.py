"""One pass of a step's images through network and objective, as a function of tensors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from nnunetv2_pclmix.objective import PCLMixObjective
from nnunetv2_pclmix.step_data import StepInput, StepResult

Ask = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From images (N, channels, *grid) to logits (N, C, *grid) of two decoders."""


def half_precision(device: torch.device) -> AbstractContextManager[object]:
    """Half precision on CUDA, as nnU-Net trains; elsewhere as it comes."""
    return torch.autocast("cuda") if device.type == "cuda" else nullcontext()


def one_pass(
    network: nn.Module,
    objective: PCLMixObjective,
    step: StepInput,
    grey_channels: int,
    ask_teacher: Ask | None = None,
) -> StepResult:
    """Forward pass of patches and twins together, and the objective.

    Args:
        network: the training network.
        objective: what it is trained for.
        step: the batch.
        grey_channels: how many of the input channels are images; those of a cascade's previous stage come after them.
        ask_teacher: for the logits of the patches that become their pseudo-labels; None: the network's own do.

    Returns:
        The loss and what goes with it.
    """
    with half_precision(step.images.device):
        # first, so that what it computes is gone before the network keeps its own for the backward pass
        taught = None if ask_teacher is None else ask_teacher(step.images[: len(step.strokes.annotated)])
        output, grey = network(step.images), step.images[:, :grey_channels]
        return objective.of_drawn(output, step.targets, step.drawn, step.strokes, grey, taught)
