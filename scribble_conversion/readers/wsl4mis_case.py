"""One case of slices or a volume in HDF5 files, to NIfTI files. Runs in a worker process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from scribble_conversion.console import UserError
from scribble_conversion.files import writing_temporary
from scribble_conversion.formats.nifti import read_image, write_label
from scribble_conversion.hdf5 import missing_dataset, read_datasets
from scribble_conversion.matching import Orientation, correlation, find_orientation, most_alike, slice_correlations
from scribble_conversion.remap import remap

LOWEST_CORRELATION = 0.99
"""Slices less alike than this are not of that image. On ACDC the right image has 1.0000; the other frame of the same
patient has up to 0.997 in single slices, but no more than 0.976 in the worst slice of a case."""
_NAMES = ("image", "scribble", "label")


@dataclass(frozen=True)
class StackJob:
    """What a worker needs to put one case together.

    Attributes:
        name: the case.
        slices: its slice files in order; empty where there is but a volume file.
        volume: its volume file, None where there are but slices.
        original: the NIfTI image it was made of, None to write the stored intensities.
        spacing: voxel size (x, y, z) in mm, for want of an original.
        scribble_codes: code in ``scribble`` to the integer written.
        dense_codes: code in ``label`` to the integer written.
        needs_scribbles: whether a case without the dataset ``scribble`` is refused.
        folder: where to write.
    """

    name: str
    slices: tuple[Path, ...]
    volume: Path | None
    original: Path | None
    spacing: tuple[float, ...]
    scribble_codes: dict[int, int]
    dense_codes: dict[int, int]
    needs_scribbles: bool
    folder: Path


@dataclass(frozen=True)
class Stacked:
    """What came of a case.

    Attributes:
        image: the original, or the file written from the stored intensities.
        scribble: the file written, None where the case has no scribbles.
        dense: the file written, None where the case has no dense label.
        correlation: the lowest among the slices with the original's; None without an original.
        turned: whether the stored axes are others than the original's.
    """

    image: Path
    scribble: Path | None
    dense: Path | None
    correlation: float | None = None
    turned: bool = False


Arrays = dict[str, npt.NDArray[np.generic]]
"""``image`` and, where they are stored, ``scribble`` and ``label`` (with the integers written), axes (z, y, x)."""


def stack_case(job: StackJob) -> Stacked:
    """Put the slices of a case together, find them in the original image, and write NIfTI files.

    Args:
        job: the case's files.

    Returns:
        The files written, and how well the slices fit the original.

    Raises:
        UserError: if a file is damaged or lacks a dataset, if slices have different shapes, if slices and volume
            disagree, if the arrays are not those of the original image, or if a file cannot be written.
    """
    try:
        arrays = _read(job)
        return _place(job, arrays) if job.original is not None else _write_bare(job, arrays)
    except MemoryError as error:
        place = job.volume or job.slices[0]
        raise UserError(f"{place} does not fit into memory; use fewer processes (-np 1)") from error


def _read(job: StackJob) -> Arrays:
    """The case's arrays, from slices or volume; where there are both they have to agree."""
    volume = _read_file(job.volume, 3, job) if job.volume is not None else None
    if not job.slices:
        assert volume is not None, "a case has slices or a volume"
        return volume
    stack = _read_slices(job)
    if volume is not None:
        _check_agreement(stack, volume, job)
    return stack


def _read_slices(job: StackJob) -> Arrays:
    first = _read_file(job.slices[0], 2, job)
    stacks: dict[str, list[npt.NDArray[np.generic]]] = {name: [array] for name, array in first.items()}
    for path in job.slices[1:]:
        arrays = _read_file(path, 2, job)
        if arrays["image"].shape != first["image"].shape:
            raise UserError(
                f"{path} has the shape {arrays['image'].shape}, but {job.slices[0]} has {first['image'].shape}; "
                "the slices of a case need one shape, export them again"
            )
        if arrays.keys() != first.keys():
            name = min(arrays.keys() ^ first.keys())
            bare = path if name in first else job.slices[0]
            raise missing_dataset(bare, name, sorted(arrays if bare == path else first))
        for name, array in arrays.items():
            stacks[name].append(array)
    return {name: np.stack(arrays) for name, arrays in stacks.items()}


def _read_file(path: Path, dimensions: int, job: StackJob) -> Arrays:
    """The arrays of one file, labels remapped."""
    arrays = read_datasets(path, _NAMES, dimensions)
    with np.errstate(over="ignore"):
        arrays["image"] = arrays["image"].astype(np.float32)
    if not np.isfinite(arrays["image"]).all():
        raise UserError(f"{path} holds NaN or infinite values in 'image'; export it again")
    has_slices = dimensions == 3 and bool(job.slices)  # then a volume need not have scribbles of its own
    if job.needs_scribbles and "scribble" not in arrays and not has_slices:
        raise missing_dataset(path, "scribble", sorted(arrays))
    for name, codes in (("scribble", job.scribble_codes), ("label", job.dense_codes)):
        if name in arrays:
            arrays[name] = remap(arrays[name], codes, path)
    return arrays


def _check_agreement(stack: Arrays, volume: Arrays, job: StackJob) -> None:
    """Refuse slices and a volume of one case that are not the same; intensities may be scaled differently."""
    assert job.volume is not None, "both have been read"
    difference = None
    if stack["image"].shape != volume["image"].shape:
        difference = f"their shapes are {stack['image'].shape} and {volume['image'].shape}"
    else:
        for name in ("scribble", "label"):
            if name in stack and name in volume and (voxels := int((stack[name] != volume[name]).sum())):
                difference = f"'{name}' differs in {voxels:,} voxels"
                break
        else:
            alike = _either_way(volume["image"], stack["image"])
            if (alike < LOWEST_CORRELATION).any():
                difference = f"'image' has a correlation of {np.nanmin(alike):.3f}"
    if difference is not None:
        raise UserError(
            f"{job.volume} and the slices of {job.name} beside it ({job.slices[0].name}, …) disagree: {difference}; "
            "keep those that are right"
        )


def _either_way(left: npt.NDArray[np.generic], right: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """The correlation of slices of which either may be clipped more than the other; NaN where both are blank."""
    return np.fmax(slice_correlations(left, right), slice_correlations(right, left))


def _place(job: StackJob, arrays: Arrays) -> Stacked:
    """Write the labels in the geometry of the original image."""
    assert job.original is not None, "the caller has looked"
    original = sitk.GetArrayFromImage(read_image(job.original))
    stack = arrays["image"]
    orientation = find_orientation(stack, original)
    if orientation is None:
        raise UserError(
            f"{job.volume or job.slices[0]}: {job.name} has the shape {stack.shape}, which is not that of "
            f"{job.original} {original.shape}, however turned; give the image it was made of, or leave --images out "
            "and give --spacing"
        )
    turned = orientation.turned(original)
    lowest = _check_slices(job, stack, turned)
    written = _write_labels(job, arrays, orientation)
    return Stacked(job.original, *written, correlation=lowest, turned=not orientation.is_identity)


def _check_slices(job: StackJob, stack: npt.NDArray[np.generic], image: npt.NDArray[np.generic]) -> float:
    """Refuse slices that are not the image's, or not in its order; return the lowest correlation."""
    for place, found in enumerate(most_alike(stack, image)):
        if found != place and correlation(stack[place], image[found]) >= LOWEST_CORRELATION:
            raise UserError(
                f"{_file(job, place)} is slice {found} of {job.original} (counted from 0) but stands at place {place}; "
                f"number the slices of {job.name} as the image has them"
            )
    each = slice_correlations(stack, image)
    blank = bool(np.isnan(each).all())  # NaN: both are
    worst, lowest = (0, 0.0) if blank else (int(np.nanargmin(each)), float(np.nanmin(each)))
    if lowest < LOWEST_CORRELATION:
        raise UserError(
            f"{_file(job, worst)} is not slice {worst} of {job.original} (correlation {lowest:.3f}, needed "
            f"{LOWEST_CORRELATION}); give the image that {job.name} was made of, or leave --images out and give "
            "--spacing"
        )
    return lowest


def _file(job: StackJob, place: int) -> str:
    return str(job.slices[place]) if job.slices else f"{job.volume}, slice {place},"


def _write_labels(job: StackJob, arrays: Arrays, orientation: Orientation) -> tuple[Path | None, Path | None]:
    """Write scribbles and dense label under the original's header, as far as there are any."""
    assert job.original is not None, "the caller has looked"
    written: list[Path | None] = []
    for name in ("scribble", "label"):
        if name not in arrays:
            written.append(None)
            continue
        target = job.folder / f"{job.name}_{name}.nii.gz"
        with writing_temporary(target):
            write_label(orientation.turned_back(arrays[name]).astype(np.uint8), job.original, target)
        written.append(target)
    return written[0], written[1]


def _write_bare(job: StackJob, arrays: Arrays) -> Stacked:
    """Write image and labels with nothing but a spacing."""
    written: dict[str, Path] = {}
    for name, array in arrays.items():
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(job.spacing)
        written[name] = job.folder / f"{job.name}_{name}.nii.gz"
        with writing_temporary(written[name]):
            sitk.WriteImage(image, str(written[name]), useCompression=True, compressionLevel=1)
    return Stacked(written["image"], written.get("scribble"), written.get("label"))
