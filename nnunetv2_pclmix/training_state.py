"""Random streams: seeding them all, capturing and restoring them, so that a training continues as it was."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the streams that nnU-Net draws from: Python's, numpy's global one and torch's on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  nnU-Net's loader draws from numpy's global stream
    torch.manual_seed(seed)


def capture_random_state(device: torch.device) -> dict[str, Any]:
    """The state of Python's, numpy's and torch's global streams, and of the device's."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "mps": torch.mps.get_rng_state() if device.type == "mps" else None,
    }


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore what ``capture_random_state`` gave; a device stream only where both have one."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    if device.type == "mps" and state.get("mps") is not None:  # earlier checkpoints have none
        torch.mps.set_rng_state(state["mps"].cpu())
