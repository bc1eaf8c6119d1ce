"""One case: read, check, remap, write. Runs in a worker process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from scribble_conversion.console import UserError
from scribble_conversion.nifti import copy_image, geometry_difference, read_volume, write_label
from scribble_conversion.remap import count_labels, remap
from scribble_conversion.source import Case


@dataclass(frozen=True)
class CaseJob:
    """What a worker needs to convert one case.

    Attributes:
        case: the case.
        dataset: the dataset folder being written.
        scribble_codes: code in the scribble file to the integer written.
        dense_codes: code in the dense file to the integer written.
        ignore_value: the integer of unlabelled voxels.
        held_out: whether the case goes to ``imagesTs`` and ``labelsTs`` (dense).
    """

    case: Case
    dataset: Path
    scribble_codes: dict[int, int]
    dense_codes: dict[int, int]
    ignore_value: int
    held_out: bool


@dataclass(frozen=True)
class CaseResult:
    """What came of a case.

    Attributes:
        identifier: the case.
        voxels: scribbled voxels per integer written, the ignore label last; empty for a case held out.
    """

    identifier: str
    voxels: tuple[int, ...]


def convert_case(job: CaseJob) -> CaseResult:
    """Check one case and write its files into the dataset folder.

    Args:
        job: the case, its codes and its place.

    Returns:
        The counts of its scribbles.

    Raises:
        UserError: if a file is damaged, has other than three dimensions, holds undeclared labels or NaN, or if the
            geometry of a label is not the image's; or if a file cannot be written.
    """
    try:
        return _convert(job)
    except MemoryError as error:
        raise UserError(f"{job.case.images[0]} does not fit into memory; use fewer processes (-np 1)") from error
    except OSError as error:
        raise UserError(
            f"{error.filename or job.case.identifier} cannot be read or written "
            f"({error.strerror or error}); check permissions and free space"
        ) from error


def _convert(job: CaseJob) -> CaseResult:
    case, dataset = job.case, job.dataset
    image_folder = dataset / ("imagesTs" if job.held_out else "imagesTr")
    volumes = [read_volume(path) for path in case.images]
    for channel, path in enumerate(case.images):
        copy_image(path, image_folder / f"{case.identifier}_{channel:04d}.nii.gz")
    if case.dense is not None:
        labels = _read_label(case.dense, volumes[0], case.images[0], job.dense_codes)
        folder = dataset / ("labelsTs" if job.held_out else "labelsTr_dense")
        write_label(labels, case.images[0], folder / f"{case.identifier}.nii.gz")
    if job.held_out:
        return CaseResult(case.identifier, ())
    labels = _training_label(job, volumes[0])
    write_label(labels, case.images[0], dataset / "labelsTr" / f"{case.identifier}.nii.gz")
    return CaseResult(case.identifier, count_labels(labels, job.ignore_value + 1))


def _training_label(job: CaseJob, image: sitk.Image) -> npt.NDArray[np.uint8]:
    """What the case teaches with, axes (z, y, x)."""
    case = job.case
    if case.supervision == "none":
        return np.full(image.GetSize()[::-1], job.ignore_value, dtype=np.uint8)
    path, codes = (case.dense, job.dense_codes) if case.supervision == "dense" else (case.scribble, job.scribble_codes)
    assert path is not None, "conversion.py has checked the pairs"
    return _read_label(path, image, case.images[0], codes)


def _read_label(path: Path, image: sitk.Image, image_path: Path, codes: Mapping[int, int]) -> npt.NDArray[np.uint8]:
    """Read a label, hold it against its image and remap it; axes (z, y, x)."""
    label = read_volume(path)
    difference = geometry_difference(label, image)
    if difference is not None:
        raise UserError(
            f"{path} does not lie on {image_path}, they differ in {difference}; give the file that was drawn on it"
        )
    return remap(sitk.GetArrayViewFromImage(label), codes, path)
