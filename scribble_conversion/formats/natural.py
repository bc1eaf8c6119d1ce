"""2D images as nnU-Net's ``NaturalImage2DIO`` reads them: PNG, BMP and TIFF, grey or colour, without a spacing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import tifffile
from PIL import Image
from skimage import io

from scribble_conversion.console import UserError
from scribble_conversion.formats.volume import quiet_logger, require_finite, require_memory

ENDINGS = {".png": ".png", ".bmp": ".bmp", ".tif": ".tif", ".tiff": ".tif"}
READER_WRITER = "NaturalImage2DIO"
COLOURS = {3: ("R", "G", "B"), 4: ("R", "G", "B", "A")}
"""Names of the channels of a colour image."""


def read_image(path: Path) -> sitk.Image:
    """Read a grey or colour image.

    Args:
        path: a ``.png``, ``.bmp``, ``.tif`` or ``.tiff`` file.

    Returns:
        A 2D image of unit spacing; 3 or 4 components per pixel for RGB and RGBA.

    Raises:
        UserError: if the file is damaged, is not one 2D image of 1, 3 or 4 channels, or holds NaN.
    """
    array = _read(path, io.imread)
    if array.ndim != 2 and (array.ndim != 3 or array.shape[-1] not in COLOURS):
        raise UserError(
            f"{path} has the shape {array.shape}, expected one 2D image, grey or RGB(A); "
            "save every page or slice as a file of its own, or the volume as .nii.gz"
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    require_finite(array, path)
    return sitk.GetImageFromArray(array, isVector=array.ndim == 3)


def read_label(path: Path) -> sitk.Image:
    """Read a label image; of an image with a palette, the palette's indices are the labels.

    Args:
        path: a ``.png``, ``.bmp``, ``.tif`` or ``.tiff`` file.

    Returns:
        A 2D image of unit spacing with one component per pixel.

    Raises:
        UserError: if the file is damaged, or has several channels or pages.
    """
    # scikit-image turns palettes into colours, so that the indices would be lost
    array = _read(path, io.imread if ENDINGS.get(path.suffix.lower()) == ".tif" else _indices)
    if array.ndim != 2:
        raise UserError(
            f"{path} is a colour image (or has several pages), of shape {array.shape}, expected one label per pixel; "
            "save the labels as a single-channel image of integers"
        )
    require_finite(array, path)
    return sitk.GetImageFromArray(array.astype(np.uint8) if array.dtype == bool else array)


def copy_image(source: Path, target: Path) -> None:
    """Copy a file byte by byte."""
    shutil.copyfile(source, target)


def write_label(array: npt.NDArray[np.uint8], image: Path, target: Path) -> None:
    """Write a label image.

    Args:
        array: labels, axes (y, x).
        image: the image it belongs to, not needed here: there is no geometry to keep.
        target: the ``.png``, ``.bmp`` or ``.tif`` file to write.
    """
    io.imsave(target, array, check_contrast=False)


def _read(path: Path, read: Any) -> npt.NDArray[Any]:
    try:
        with quiet_logger("tifffile"), quiet_logger("PIL.PngImagePlugin"):
            if ENDINGS.get(path.suffix.lower()) == ".tif":
                _check_tiff(path)
            array = np.asarray(read(path))
    except (MemoryError, UserError):
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path} is a link to a file that is not there; fetch that file or correct the link") from error
    except PermissionError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except Exception as error:  # the decoders raise many kinds: OSError, ValueError, SyntaxError, struct.error, …
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise UserError(
            f"{path} is damaged or no {path.suffix} image ({reason[0]}); download or export it again"
        ) from error
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _check_tiff(path: Path) -> None:
    """Hold what a TIFF file declares against the memory; Pillow does so itself for the other kinds."""
    with tifffile.TiffFile(path) as file:
        for series in file.series[:1]:
            pages = series.size // max(1, series.keyframe.size)
            if pages > 1:  # of 3 or 4 scikit-image would make colours
                raise UserError(
                    f"{path} has {pages} pages, expected one 2D image; "
                    "save every page or slice as a file of its own, or the volume as .nii.gz"
                )
            require_memory(path, series.shape, series.dtype.itemsize if series.dtype is not None else 1)


def _indices(path: Path) -> npt.NDArray[Any]:
    with Image.open(path) as image:
        return np.asarray(image)
