"""What the formats share: reading with SimpleITK, and comparing where two images lie in space."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from scribble_conversion.console import UserError
from scribble_conversion.geometry import SPACING_TOLERANCE, Geometry, difference


@contextmanager
def quiet_sitk() -> Iterator[None]:
    """Keep what SimpleITK prints (ACDC's sform scales, MetaIO's complaints) off the terminal; errors are still raised.

    MetaIO writes to the process's standard error from C++, so that is led away as well.
    """
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def read_with_sitk(path: Path) -> sitk.Image:
    """Read a 3D volume of real numbers, as nnU-Net's ``SimpleITKIO`` will read it.

    Args:
        path: a file whose soundness has been checked as far as SimpleITK does not.

    Returns:
        The image; spacing in mm.

    Raises:
        UserError: if it cannot be read, is not 3D, or its voxels are not single real numbers.
    """
    try:
        with quiet_sitk():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise UserError(f"{path} cannot be read as an image ({_reason(error)}); download or export it again") from error
    if image.GetDimension() != 3:
        raise UserError(
            f"{path} has {image.GetDimension()} dimensions, expected 3; give one volume per file, not a series or slice"
        )
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise UserError(
            f"{path} holds {image.GetPixelIDTypeAsString()} voxels, expected single real numbers; "
            "export it again as a grey-value volume"
        )
    return image


def require_finite(array: npt.NDArray[np.generic], path: Path) -> None:
    """Raise a ``UserError`` if an image or label of floats holds NaN or infinite values."""
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        refuse_infinite(path)


def refuse_infinite(path: Path) -> NoReturn:
    """Raise the ``UserError`` for NaN and infinite values."""
    raise UserError(f"{path} holds NaN or infinite values; replace them, or leave out the case")


def refuse_truncated(path: Path, missing: int) -> NoReturn:
    """Raise the ``UserError`` for a file that lacks ``missing`` bytes."""
    raise UserError(f"{path} is truncated, it lacks {missing:,} bytes of voxels; download or export it again")


def geometry_difference(
    given: sitk.Image, image: sitk.Image, spacing_tolerance: float = SPACING_TOLERANCE
) -> str | None:
    """Compare the geometry of a label, or of another channel, with its image's, header rounding forgiven.

    Args:
        given: the label or channel.
        image: the image, or its first channel.
        spacing_tolerance: relative difference of spacings that is forgiven.

    Returns:
        None where they agree, else the first difference in words.
    """
    return difference(Geometry.of(given), Geometry.of(image), spacing_tolerance)


def _reason(error: RuntimeError) -> str:
    """The line of a SimpleITK error that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("sitk::ERROR: ") if lines else "no reason given"
