"""The one place where the checks read voxels: with nnU-Net's own reader, after a look for damage that it overlooks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

from scribble_conversion.console import UserError
from scribble_conversion.formats import itk, nifti
from scribble_conversion.formats.registry import check_file
from scribble_conversion.formats.volume import quiet_sitk, require_utf8
from scribble_conversion.geometry import Geometry
from scribble_conversion.planes import choose_axis

Reader = type[BaseReaderWriter]


@dataclass(frozen=True)
class Volume:
    """What one file holds.

    Attributes:
        array: shape (channels, z, y, x); for 2D files z is 1.
        spacing: mm along z, y and x, as nnU-Net takes it.
        geometry: where the voxels lie.
        flat: whether the file holds a 2D image, not a volume of one slice.
    """

    array: npt.NDArray[np.float32]
    spacing: tuple[float, float, float]
    geometry: Geometry
    flat: bool

    def axis_across(self, chosen: int | None) -> int:
        """The array axis (of z, y, x) across the slices, as for drawing: the user's, or else the image's own."""
        return choose_axis(self.array.shape[1:], self.spacing, chosen, flat=self.flat)


def choose_reader(content: Mapping[str, Any], example: Path) -> Reader:
    """The reader that nnU-Net will choose.

    Args:
        content: ``dataset.json``.
        example: an image file; it decides between readers of the same file ending.

    Raises:
        UserError: if nnU-Net reads no such files, or cannot open one of that name.
    """
    _require_a_name(example)  # it is opened
    try:
        with _quiet():
            return determine_reader_writer_from_dataset_json(
                dict(content), str(example), allow_nonmatching_filename=False, verbose=False
            )
    except RuntimeError as error:
        raise UserError(
            f"nnU-Net has no reader for {example} with the file ending '{content['file_ending']}'; convert the files "
            "to .nii.gz, or correct file_ending in dataset.json"
        ) from error


def _require_a_name(path: Path) -> None:
    """Refuse a name that SimpleITK, which reads volumes, would crash at."""
    if path.name.lower().endswith((*nifti.ENDINGS, *itk.ENDINGS)):
        require_utf8(path)


def read(path: Path, reader: Reader) -> Volume:
    """Read one file of any kind that nnU-Net reads.

    Args:
        path: the file.
        reader: nnU-Net's reader for it.

    Raises:
        UserError: if it is damaged, truncated, or holds NaN or infinite values.
        MemoryError: if it does not fit into memory.
    """
    _require_a_name(path)
    check_file(path)
    try:
        with _quiet():
            array, properties = reader().read_images((str(path),))
    except MemoryError:
        raise
    except Exception as error:  # each library has its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].removeprefix("sitk::ERROR: ")
        raise UserError(f"{path} cannot be read as an image ({reason}); download or export it again") from error
    if array.ndim != 4:
        raise UserError(f"{path} has an unexpected number of axes ({array.ndim}); give one volume per file")
    if not np.isfinite(array).all():
        raise UserError(f"{path} holds NaN or infinite values; replace them, or leave out the case")
    spacing = tuple(float(value) for value in properties["spacing"])
    geometry = _geometry(array.shape[1:], spacing, properties)
    flat = reader is NaturalImage2DIO or len(geometry.spacing) == 2
    return Volume(array, (spacing[0], spacing[1], spacing[2]), geometry, flat)


def read_label(path: Path, reader: Reader) -> tuple[npt.NDArray[np.int32], Volume]:
    """Read a label file.

    Returns:
        Its integers, shape (z, y, x); and the volume it came from.

    Raises:
        UserError: as ``read`` does, and if it has several channels or fractions.
    """
    volume = read(path, reader)
    if volume.array.shape[0] != 1:
        raise UserError(f"{path} has {volume.array.shape[0]} channels; save labels as single integers, not as colours")
    whole = np.rint(volume.array[0])
    if not np.array_equal(whole, volume.array[0]):
        raise UserError(f"{path} holds fractions; labels have to be resampled with nearest neighbour")
    return whole.astype(np.int32), volume


def _geometry(shape: tuple[int, ...], spacing: tuple[float, ...], properties: Mapping[str, Any]) -> Geometry:
    """Where the voxels lie, as far as the reader tells."""
    size = shape[::-1]
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        return Geometry(size, tuple(stuff["spacing"]), tuple(stuff["origin"]), tuple(stuff["direction"]))
    if "nibabel_stuff" in properties:
        affine = np.asarray(properties["nibabel_stuff"]["original_affine"])
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        direction = affine[:3, :3] / np.where(lengths > 0, lengths, 1)
        return Geometry(size, tuple(lengths), tuple(affine[:3, 3]), tuple(direction.ravel()))
    return Geometry(size, spacing[::-1])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what readers print, and SimpleITK's warnings, off the terminal."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), quiet_sitk():
        yield
