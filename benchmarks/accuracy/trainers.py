"""nnU-Net's trainers as the instrument runs them: named cases, seeds everywhere, only the last checkpoint."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import nnUNetTrainerNoMirroring
from torch import nn
from torch.utils._pytree import tree_map

from nnunetv2_pclmix.losses.partial import PartialCrossEntropyLoss
from nnunetv2_pclmix.trainer import nnUNetTrainerPCLMix
from nnunetv2_pclmix.training_state import seed_everything


class nnUNetTrainerPartialCE(nnUNetTrainer):
    """Stock nnU-Net in everything but the loss: cross-entropy over labelled voxels, without Dice."""

    def _build_loss(self) -> nn.Module:
        stock = super()._build_loss()
        partial = PartialCrossEntropyLoss(self.label_manager.ignore_label)
        return DeepSupervisionWrapper(partial, stock.weight_factors) if self.enable_deep_supervision else partial


class TimeIsUp(Exception):
    """The next epoch would end too late; the last one is in ``checkpoint_latest.pth``."""


class Measured(nnUNetTrainer):
    """What every row shares, whatever its trainer.

    Attributes, set before training:
        training_cases, validation_cases: used instead of ``splits_final.json``.
        run_seed: of the network's first weights, of the loader's workers, and of everything else.
        precision: ``float32``, or ``bfloat16`` for the network's arithmetic while it trains.
        stop_at: time (seconds since 1970) by which to stop; None for none.
        parent: process that has to be alive; None for none.
    """

    training_cases: list[str]
    validation_cases: list[str]
    run_seed: int
    precision: str = "float32"
    stop_at: float | None = None
    parent: int | None = None

    def do_split(self) -> tuple[list[str], list[str]]:
        return self.training_cases, self.validation_cases

    def initialize(self) -> None:
        seed_everything(self.run_seed)
        super().initialize()
        if self.precision == "bfloat16":
            train_in_bfloat16(self.network)
            if isinstance(self, nnUNetTrainerPCLMix) and self.teacher is not None:
                train_in_bfloat16(self.teacher, always=True)

    def get_dataloaders(self) -> tuple:
        augmenters = super().get_dataloaders()
        # nnU-Net leaves its workers unseeded; a continued training must not see the first epochs' patches again
        if self.current_epoch > 0 or not isinstance(self, nnUNetTrainerPCLMix):
            rng = np.random.default_rng([self.run_seed, self.current_epoch])
            for augmenter in augmenters:
                restart_with_seeds(augmenter, rng)
        return augmenters

    def save_checkpoint(self, filename: str) -> None:
        if filename.endswith("checkpoint_best.pth"):
            return  # the last checkpoint is judged, never one chosen on the validation cases
        partial = f"{filename}.new"
        super().save_checkpoint(partial)
        if os.path.exists(partial):  # noqa: PTH110  nnU-Net's names are strings
            os.replace(partial, filename)  # noqa: PTH105

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        if self.current_epoch >= self.num_epochs:
            return
        if self.stop_at is not None:
            last = epoch_seconds(self)[-1]
            if time.time() + last > self.stop_at:
                raise TimeIsUp
        if self.parent is not None and os.getppid() != self.parent:
            raise TimeIsUp


def train_in_bfloat16(network: nn.Module, *, always: bool = False) -> None:
    """Let a network compute in bfloat16 where autocast allows it, while training on the CPU; outputs stay float32.

    What nnU-Net does with float16 on CUDA. Processors that know bfloat16 need half of the time.

    Args:
        network: changed in place.
        always: in evaluation mode, too.
    """
    forward = network.forward

    def mixed(*args: Any, **kwargs: Any) -> Any:
        if not (always or network.training):
            return forward(*args, **kwargs)
        with torch.autocast("cpu", torch.bfloat16):
            output = forward(*args, **kwargs)
        return tree_map(lambda value: value.float(), output)

    network.forward = mixed


def restart_with_seeds(augmenter: Any, rng: np.random.Generator) -> None:
    """Start an augmenter's workers again, each with a seed; one without workers draws from this process's streams."""
    if not hasattr(augmenter, "seeds"):
        return
    augmenter._finish()
    augmenter.seeds = [int(seed) for seed in rng.integers(2**31, size=augmenter.num_processes)]
    next(augmenter)


def at_hand(device: str) -> torch.device:
    """The device of a training, or the CPU where this machine has none."""
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    return torch.device("cpu" if missing.get(device) else device)


def measured(trainer: str) -> type[Measured]:
    """The trainer of that name with what every row shares; it keeps its name, so that its models can be used."""
    known = (nnUNetTrainer, nnUNetTrainerNoMirroring, nnUNetTrainerPCLMix, nnUNetTrainerPartialCE)
    bases = {base.__name__: base for base in known}
    return type(trainer, (Measured, bases[trainer]) if trainer != "nnUNetTrainer" else (Measured,), {})


def make_trainer(definition: dict[str, Any]) -> Measured:
    """The trainer that a definition asks for."""
    device = torch.device(definition["device"])
    if device.type == "cuda":  # as nnUNetv2_train
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
    plans = {**definition["plans"], "continue_training": False}
    trainer = measured(definition["trainer"])(plans, definition["configuration"], 0, definition["dataset_json"], device)
    trainer.training_cases, trainer.validation_cases = definition["training"], definition["validation"]
    trainer.run_seed = definition["seed"]
    trainer.precision = definition.get("precision", "float32")
    trainer.num_epochs, trainer.num_iterations_per_epoch = definition["epochs"], definition["iterations"]
    trainer.num_val_iterations_per_epoch = definition["validation_iterations"]
    trainer.save_every = 1
    return trainer


def epoch_seconds(trainer: nnUNetTrainer) -> list[float]:
    """Wall time of every epoch so far, those before an interruption included."""
    begin, end = (trainer.logger.get_value(f"epoch_{what}_timestamps", step=None) for what in ("start", "end"))
    return [float(e - b) for b, e in zip(begin, end, strict=False)]


def images_per_step(trainer: nnUNetTrainer) -> tuple[int, int]:
    """Patches drawn from the data in a step, and images through the network: with PCLMix also their mixed twins."""
    patches = int(trainer.batch_size)
    return patches, patches + trainer.num_twins if isinstance(trainer, nnUNetTrainerPCLMix) else patches
