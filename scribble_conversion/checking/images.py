"""What an image holds: anything at all, and whether another case holds the same."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

SAMPLED_VOXELS = 4096


def is_constant(image: npt.NDArray[np.generic]) -> bool:
    """Whether all voxels are the same."""
    return bool((image == image.flat[0]).all()) if image.flat[0] == image.flat[-1] else False


def digest(image: npt.NDArray[np.generic]) -> str:
    """A number that equal images share, whatever their voxel type, and others do not.

    Args:
        image: any shape; taken slice by slice, so that no copy of the whole is made.
    """
    state = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    for part in image:
        state.update(np.ascontiguousarray(part, dtype=np.float32).tobytes())
    return state.hexdigest()


def sample_digest(image: npt.NDArray[np.generic]) -> str:
    """A number that equal images share, from some thousand voxels alone: quick, and others may share it by chance."""
    step = max(1, image.size // SAMPLED_VOXELS) | 1  # odd, so that it does not run along a column
    voxels = np.ascontiguousarray(image.ravel()[::step], dtype=np.float32)
    return hashlib.blake2b(repr(image.shape).encode() + voxels.tobytes(), digest_size=16).hexdigest()
