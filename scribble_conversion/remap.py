"""From the codes of a source format to the integers nnU-Net trains on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scribble_conversion.console import UserError

INTEGER_TOLERANCE = 1e-3
"""Label volumes saved as floats may be this far from an integer."""


def remap(array: npt.NDArray[np.generic], codes: Mapping[int, int], path: Path) -> npt.NDArray[np.uint8]:
    """Replace the codes of a label volume.

    Args:
        array: codes, any shape and real dtype.
        codes: code in the file to the integer (0..255) to write.
        path: the file it came from, for messages.

    Returns:
        The integers, same shape.

    Raises:
        UserError: if the volume holds a value that ``codes`` does not declare, NaN and fractions included.
    """
    whole = _as_integers(array, path)
    lowest, highest = min(codes), max(codes)
    outside = (whole < lowest) | (whole > highest)
    if outside.any():
        _refuse(np.unique(whole[outside]), codes, path)
    table = np.full(highest - lowest + 1, -1, dtype=np.int16)
    for code, value in codes.items():
        table[code - lowest] = value
    mapped = table[whole - lowest]
    if (mapped < 0).any():
        _refuse(np.unique(whole[mapped < 0]), codes, path)
    return mapped.astype(np.uint8)


def count_labels(array: npt.NDArray[np.uint8], number: int) -> tuple[int, ...]:
    """Count the voxels of each of the labels 0 to ``number`` - 1."""
    return tuple(int(count) for count in np.bincount(array.ravel(), minlength=number))


def _as_integers(array: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.int64]:
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.int64)
    floats = array.astype(np.float64)
    fractions = ~(np.abs(floats - np.round(floats)) <= INTEGER_TOLERANCE)  # negated so that NaN counts, too
    if fractions.any():
        examples = ", ".join(f"{value:g}" for value in np.unique(floats[fractions])[:5])
        raise UserError(
            f"{path} holds values that are no integers ({examples}); "
            "labels have to be resampled with nearest neighbour, never interpolated"
        )
    return np.clip(np.round(floats), -(2**53), 2**53).astype(np.int64)


def _refuse(values: npt.NDArray[np.int64], codes: Mapping[int, int], path: Path) -> None:
    listed = ", ".join(str(value) for value in values[:5]) + (", …" if len(values) > 5 else "")
    declared = ", ".join(str(code) for code in sorted(codes))
    raise UserError(f"{path} holds the label values {listed}, expected only {declared}; correct the file")
