"""nnU-Net's planned network with an auxiliary decoder and a projection head that exist only while training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

TRAINING_ONLY = ("auxiliary_decoder.", "projection_head.")


class DualOutput(NamedTuple):
    """What the network returns while training.

    Attributes:
        main: logits of nnU-Net's decoder, (N, C, *grid) per deep-supervision scale, full resolution first.
        auxiliary: (N, C, *grid) logits of the auxiliary decoder at full resolution.
        embedding: (N, D, *coarse grid) projection of an encoder stage, not yet of unit length.
    """

    main: list[Tensor]
    auxiliary: Tensor
    embedding: Tensor


class DualDecoderUNet(nn.Module):
    """A planned U-Net plus training-only parts.

    In evaluation mode it is the planned network, nothing else is computed. Its ``state_dict`` is exactly the planned
    network's, so that stock nnU-Net reads and writes its checkpoints; ``training_only_state`` holds the rest.

    Args:
        unet: a network with ``encoder`` (returning skips, highest resolution first) and ``decoder``.
        auxiliary_decoder: from skips to full-resolution logits.
        projection_head: from the skip of ``embedding_stage`` to embeddings.
        embedding_stage: index of the encoder stage that is embedded.

    Raises:
        ValueError: if the network has no encoder and decoder to share.
    """

    def __init__(
        self, unet: nn.Module, auxiliary_decoder: nn.Module, projection_head: nn.Module, embedding_stage: int
    ) -> None:
        super().__init__()
        for part in ("encoder", "decoder"):
            if not isinstance(getattr(unet, part, None), nn.Module):
                raise ValueError(f"expected a U-Net with an {part} as nnU-Net plans it, got {type(unet).__name__}")
        self.encoder: nn.Module = unet.get_submodule("encoder")
        self.decoder: nn.Module = unet.get_submodule("decoder")
        self.auxiliary_decoder = auxiliary_decoder
        self.projection_head = projection_head
        self.embedding_stage = embedding_stage

    def forward(self, x: Tensor) -> DualOutput | list[Tensor] | Tensor:
        """(N, channels, *grid) -> ``DualOutput`` while training, else what the planned network returns."""
        skips = self.encoder(x)
        main = self.decoder(skips)
        if not self.training:
            return main
        if not isinstance(main, list):
            main = [main]
        return DualOutput(main, self.auxiliary_decoder(skips), self.projection_head(skips[self.embedding_stage]))

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The planned network's state, without the training-only parts."""
        state = super().state_dict(*args, **kwargs)
        prefix = kwargs.get("prefix", args[1] if len(args) > 1 else "")
        hidden = tuple(prefix + part for part in TRAINING_ONLY)
        for key in [key for key in state if key.startswith(hidden)]:
            del state[key]
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the planned network's state; training-only parts keep theirs where the state has none."""
        return super().load_state_dict({**self.training_only_state(), **state_dict}, strict=strict, assign=assign)

    def training_only_state(self) -> dict[str, Tensor]:
        """State of the auxiliary decoder and the projection head, for checkpoints to continue from."""
        return {key: value for key, value in super().state_dict().items() if key.startswith(TRAINING_ONLY)}

    def load_training_only_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``training_only_state`` gave.

        Raises:
            RuntimeError: where keys or shapes do not fit, as torch's own ``load_state_dict``.
        """
        with torch.no_grad():
            super().load_state_dict({**super().state_dict(), **state}, strict=True)
