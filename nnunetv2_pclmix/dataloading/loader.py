"""nnU-Net's loader, each batch followed by its mixed twins."""

from __future__ import annotations

import multiprocessing
import warnings
from typing import Any

import numpy as np
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from torch import Tensor

from nnunetv2_pclmix.dataloading.mix import Mix, apply_mix, draw_mix


class PCLMixDataLoader(nnUNetDataLoader):
    """Draws B patches as nnU-Net does and appends B mixed twins: ``data`` and ``target`` hold 2B images.

    The mix travels with the batch as ``mix_partners`` (B, 2) and ``mix_boxes`` (B, dim, 2), see ``Mix``.

    Its random numbers come from a generator that is made on first use, inside the worker that uses it, from numpy's
    global stream, which nnU-Net's workers seed one by one. Workers so differ, and repeat for given seeds. Torch's
    stream, which part of the augmentation draws from, is seeded the same way in a worker.
    """

    def __init__(self, *args: Any, box_fraction: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.box_fraction = box_fraction
        self._rng: np.random.Generator | None = None

    @property
    def rng(self) -> np.random.Generator:
        """The generator of mixes; made on first use from numpy's global stream."""
        if self._rng is None:
            self._rng = np.random.default_rng(np.random.randint(2**32, size=4, dtype=np.uint32))  # noqa: NPY002
            if multiprocessing.parent_process() is not None:
                torch.manual_seed(int(self._rng.integers(2**63)))
        return self._rng

    def generate_train_batch(self) -> dict[str, Any]:
        """A batch with ``data`` (2B, ...), ``target`` (2B, ...) or a list of them, ``keys``, and the mix."""
        rng = self.rng
        with warnings.catch_warnings():
            # an image without labels is no mistake here
            warnings.filterwarnings("ignore", message="Warning! No annotated pixels in image!")
            batch = super().generate_train_batch()
        patch_size = batch["data"].shape[2:]
        mix = draw_mix(len(batch["data"]), patch_size, self.box_fraction, rng)

        def with_twins(values: Tensor) -> Tensor:
            both = torch.empty((2 * len(values), *values.shape[1:]), dtype=values.dtype)
            both[: len(values)] = values
            apply_mix(values, mix, out=both[len(values) :])
            return both

        target = batch["target"]
        batch["data"] = with_twins(batch["data"])
        batch["target"] = [with_twins(t) for t in target] if isinstance(target, list) else with_twins(target)
        batch["mix_partners"], batch["mix_boxes"] = mix.partners, mix.boxes
        return batch


def mix_of_batch(batch: dict[str, Any]) -> Mix:
    """The mix that travelled with a batch."""
    return Mix(batch["mix_partners"], batch["mix_boxes"], tuple(batch["data"].shape[2:]))
