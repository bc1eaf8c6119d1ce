"""A trainer of the user's own, in a folder named by ``nnUNet_extTrainer``: two epochs of three steps."""

import torch

from nnunetv2_pclmix.trainer import nnUNetTrainerPCLMix


class nnUNetTrainerPCLMix_Quick(nnUNetTrainerPCLMix):
    """nnUNetTrainerPCLMix for 2 epochs of 3 iterations, each with 1 validation iteration."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net's signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 2, 3, 1
        self.save_every = 1
