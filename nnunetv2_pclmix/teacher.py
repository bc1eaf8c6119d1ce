"""A slowly averaged copy of the training network, from whose predictions the network learns."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from nnunetv2_pclmix.network.dual_decoder import DualDecoderUNet


class Teacher(nn.Module):
    """Exponential moving average of a network's weights (mean teacher; Tarvainen and Valpola, NeurIPS 2017).

    Not in the paper. With nnU-Net's momentum of 0.99 weights swing for hundreds of steps around where they are going,
    and so do predictions; those of averaged weights do not. In a short training, and early in a long one, the average
    is over about a ninth of the steps so far.

    Args:
        network: to start from; the teacher has weights of its own.
        decay: weight of the average against the newest weights, in (0, 1), once enough steps are done.
    """

    def __init__(self, network: DualDecoderUNet, decay: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()  # nothing is dropped
        self.network.decoder.deep_supervision = False  # type: ignore[assignment]  # nnU-Net's switch
        self.decay = decay
        self.updates = 0

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, *grid) -> (N, C, *grid) logits of the main and of the auxiliary decoder, without gradients."""
        with torch.no_grad():
            skips = self.network.encoder(images)
            return self.network.decoder(skips), self.network.auxiliary_decoder(skips)

    def follow(self, network: DualDecoderUNet) -> None:
        """Take a step's new weights into the average; the first ones are copied."""
        decay = min(self.decay, self.updates / (9 + self.updates))
        get_ema_multi_avg_fn(decay)(list(self.network.parameters()), list(network.parameters()), self.updates)
        for mine, newest in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(newest)
        self.updates += 1

    def training_state(self) -> dict[str, Any]:
        """For checkpoints to continue from; ``load_training_state`` takes it."""
        weights = {**self.network.state_dict(), **self.network.training_only_state()}
        return {"weights": weights, "updates": self.updates}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore what ``training_state`` gave.

        Raises:
            RuntimeError: where keys or shapes do not fit, as torch's own ``load_state_dict``.
        """
        self.network.load_state_dict(state["weights"])
        self.updates = state["updates"]
