"""The training and validation loaders of a trainer."""

from __future__ import annotations

from typing import Any

import numpy as np
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA


def start_augmenter(loader: Any, num_processes: int, pin_memory: bool, rng: np.random.Generator | None) -> Any:
    """Run a loader in this process or in background processes, as nnU-Net does.

    Args:
        loader: an nnU-Net loader.
        num_processes: background processes; 0 for this one.
        pin_memory: whether batches go to a CUDA device.
        rng: draws one seed per process; None for fresh randomness.

    Returns:
        An iterator over batches.
    """
    if num_processes == 0:
        return SingleThreadedAugmenter(loader, None)
    seeds = None if rng is None else [int(s) for s in rng.integers(2**31, size=num_processes)]
    return NonDetMultiThreadedAugmenter(
        data_loader=loader,
        transform=None,
        num_processes=num_processes,
        num_cached=max(6, num_processes // 2),
        seeds=seeds,
        pin_memory=pin_memory,
        wait_time=0.002,
    )


def start_augmenters(training: Any, validation: Any, pin_memory: bool, rng: np.random.Generator | None) -> tuple:
    """Both augmenters with as many processes as nnU-Net allows itself, each having made its first batch."""
    allowed = get_allowed_n_proc_DA()
    augmenters = (
        start_augmenter(training, allowed, pin_memory, rng),
        start_augmenter(validation, allowed and max(1, allowed // 2), pin_memory, rng),
    )
    for augmenter in augmenters:
        next(augmenter)
    return augmenters
