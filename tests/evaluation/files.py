"""Writing small label files for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

SPACING = (5.0, 1.5, 0.8)


def write_labels(
    path: Path,
    labels: np.ndarray,
    spacing: tuple[float, ...] = SPACING,
    origin: tuple[float, ...] | None = None,
    direction: tuple[float, ...] | None = None,
) -> Path:
    """Write an array (z, y, x) with a spacing in the same order."""
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(spacing[::-1])
    if origin is not None:
        image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path
