"""Which module reads and writes a file, by the file's ending."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from scribble_conversion.console import UserError
from scribble_conversion.formats import itk, natural, nifti


class FileFormat(Protocol):
    """What a module of this package offers.

    Attributes:
        ENDINGS: ending of a file it reads to the ending under which it is written.
        READER_WRITER: nnU-Net's class that will read what was written.
    """

    ENDINGS: dict[str, str]
    READER_WRITER: str

    def read_image(self, path: Path) -> sitk.Image:
        """Read and check an image; several channels in one file are components per pixel."""

    def read_label(self, path: Path) -> sitk.Image:
        """Read and check a label."""

    def copy_image(self, source: Path, target: Path) -> None:
        """Copy an image unchanged."""

    def write_label(self, array: npt.NDArray[np.uint8], image: Path, target: Path) -> None:
        """Write a label with the geometry of ``image``."""


FORMATS: tuple[FileFormat, ...] = (nifti, itk, natural)
ENDINGS: dict[str, FileFormat] = {
    ending: module for module in FORMATS for ending in sorted(module.ENDINGS, key=len, reverse=True)
}
"""All endings that are read; of two of which one ends with the other, the longer comes first."""


def ending_of(name: str) -> str | None:
    """The ending of a file name if it is known, in lower case, else None."""
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)


def format_of(path: Path) -> FileFormat:
    """Find the module for a file.

    Raises:
        UserError: if no module knows its ending.
    """
    ending = ending_of(path.name)
    if ending is None:
        raise UserError(f"{path} is of an unknown kind; convert it to one of {', '.join(ENDINGS)}")
    return ENDINGS[ending]


def check_file(path: Path) -> None:
    """Check what SimpleITK passes over in silence, such as voxels that are missing, in files of kinds that it reads.

    Raises:
        UserError: if the file is damaged.
    """
    for module in (nifti, itk):
        if path.name.lower().endswith(tuple(module.ENDINGS)):
            module.check_file(path)


def written_ending(path: Path) -> str:
    """The ending under which an image of this kind is written, e.g. ``.nii.gz`` for ``.nii``."""
    return format_of(path).ENDINGS[ending_of(path.name) or ""]


def common_ending(images: Iterable[Path]) -> str:
    """The ending under which all images are written.

    Args:
        images: at least one image file.

    Raises:
        UserError: if they are of different kinds, for nnU-Net takes one per dataset.
    """
    kinds: dict[str, Path] = {}
    for path in images:
        kinds.setdefault(written_ending(path), path)
    if len(kinds) > 1:
        raise UserError(
            f"the images are of different kinds ({' and '.join(str(path) for path in kinds.values())}), but nnU-Net "
            "takes one per dataset; convert them to one kind or leave out the others"
        )
    return next(iter(kinds))


def reader_writer(ending: str) -> str:
    """nnU-Net's class for files of this ending."""
    return ENDINGS[ending].READER_WRITER
