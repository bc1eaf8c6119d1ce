"""What the formats share: reading with SimpleITK, and comparing where two images lie in space."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from scribble_conversion.console import UserError
from scribble_conversion.geometry import SPACING_TOLERANCE, Geometry, difference

_IN_SMALL_LETTERS = {".mha", ".gipl"}
"""Endings that SimpleITK does not know in capitals."""


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


@contextmanager
def quiet_logger(name: str) -> Iterator[None]:
    """Keep what a library logs and warns of in a damaged file off the terminal; errors are still raised."""
    logger = logging.getLogger(name)
    disabled = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = disabled


def require_memory(path: Path, size: Sequence[int], bytes_per_voxel: int) -> None:
    """Raise a ``UserError`` if voxels cannot fit into this machine's memory, before any is reserved for them.

    Args:
        path: the file that declares them.
        size: voxels along each axis.
        bytes_per_voxel: of each.
    """
    needed = math.prod(map(int, size)) * bytes_per_voxel
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else sys.maxsize
    if needed > there:
        raise UserError(
            f"{path} declares {' x '.join(map(str, size))} voxels, {needed:,} bytes, more than this machine's memory; "
            "its header may be damaged, download or export it again"
        )


def require_utf8(path: Path) -> None:
    """Raise a ``UserError`` for a name that SimpleITK cannot open: it does not raise then, it crashes."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path} has a name that is not UTF-8, which SimpleITK cannot open; rename it") from error


def read_with_sitk(path: Path) -> sitk.Image:
    """Read a 3D volume of real numbers, as nnU-Net's ``SimpleITKIO`` will read it.

    Args:
        path: a file whose soundness has been checked as far as SimpleITK does not.

    Returns:
        The image; spacing in mm.

    Raises:
        UserError: if it cannot be read, is not 3D, or its voxels are not single real numbers.
    """
    require_utf8(path)
    ending = path.suffix.lower()
    if ending in _IN_SMALL_LETTERS and path.suffix != ending:
        raise UserError(f"SimpleITK reads no files that end in {path.suffix}; rename {path} to end in {ending}")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_sitk():
            reader.ReadImageInformation()
        _check_kind(path, reader)
        with quiet_sitk():
            image = reader.Execute()
    except RuntimeError as error:
        raise UserError(f"{path} cannot be read as an image ({_reason(error)}); download or export it again") from error
    _check_place(path, image)
    return image


def _check_kind(path: Path, reader: sitk.ImageFileReader) -> None:
    """Refuse by its header alone what is no volume of real numbers, or larger than the memory."""
    if reader.GetDimension() != 3:
        raise UserError(
            f"{path} has {reader.GetDimension()} dimensions, expected 3; give one volume per file, not a series or "
            "slice"
        )
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if reader.GetNumberOfComponents() != 1 or "complex" in kind:
        raise UserError(
            f"{path} holds {kind} voxels, expected single real numbers; export it again as a grey-value volume"
        )
    if min(reader.GetSize()) < 1:
        raise UserError(f"{path} declares {' x '.join(map(str, reader.GetSize()))} voxels; download or export it again")
    require_memory(path, reader.GetSize(), int(next(iter(re.findall(r"(\d+)-bit", kind)), "8")) // 8)


def _check_place(path: Path, image: sitk.Image) -> None:
    """Refuse a spacing that is not positive, or any geometry that is not finite."""
    for what, values in (
        ("spacing", image.GetSpacing()),
        ("origin", image.GetOrigin()),
        ("direction", image.GetDirection()),
    ):
        if not np.isfinite(values).all() or (what == "spacing" and min(values) <= 0):
            refuse_geometry(path, what, values)


def refuse_geometry(path: Path, what: str, values: npt.ArrayLike) -> NoReturn:
    """Raise the ``UserError`` for a spacing, origin or direction that cannot be."""
    told = tuple(round(float(value), 6) for value in np.ravel(values))
    raise UserError(f"{path} has the {what} {told} in its header; correct the header or export it again")


def require_finite(array: npt.NDArray[np.generic], path: Path) -> None:
    """Raise a ``UserError`` if an image or label of floats holds values that are not finite."""
    if np.issubdtype(array.dtype, np.floating) and not all_finite(array):
        refuse_infinite(path)


def all_finite(values: npt.NDArray[np.generic]) -> bool:
    """Whether all values are finite, also as 32-bit floats, as which nnU-Net reads them."""
    if values.dtype.itemsize > np.dtype(np.float32).itemsize:
        return bool((np.abs(values) <= np.finfo(np.float32).max).all())
    return bool(np.isfinite(values).all())


def refuse_infinite(path: Path) -> NoReturn:
    """Raise the ``UserError`` for NaN and infinite values."""
    raise UserError(f"{path} holds NaN or infinite values (as 32-bit floats); replace them, or leave out the case")


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
    if not lines:
        return "no reason given"
    return re.sub(r"^(sitk::|ITK )ERROR: (\w+\(0x[0-9a-f]+\): )?", "", lines[-1])
