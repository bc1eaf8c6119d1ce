"""``nnUNetTrainerPCLMix`` with other training lengths, named as nnU-Net names its own."""

from __future__ import annotations

import torch

from nnunetv2_pclmix.lengths import LENGTHS
from nnunetv2_pclmix.trainer import nnUNetTrainerPCLMix


def _variant(num_epochs: int) -> type[nnUNetTrainerPCLMix]:
    class Variant(nnUNetTrainerPCLMix):
        def __init__(
            self,
            plans: dict,
            configuration: str,
            fold: int,
            dataset_json: dict,
            device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net's signature
        ) -> None:
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.num_epochs = num_epochs

    Variant.__name__ = f"nnUNetTrainerPCLMix_{num_epochs}epoch{'' if num_epochs == 1 else 's'}"
    Variant.__qualname__ = Variant.__name__
    Variant.__doc__ = f"nnUNetTrainerPCLMix for {num_epochs} epoch{'' if num_epochs == 1 else 's'}."
    return Variant


_VARIANTS = {variant.__name__: variant for variant in map(_variant, LENGTHS)}
globals().update(_VARIANTS)
__all__ = ["nnUNetTrainerPCLMix", *_VARIANTS]
