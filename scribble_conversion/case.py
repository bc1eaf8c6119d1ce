"""One case: read, check, remap, write. Runs in a worker process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from scribble_conversion.checking.images import is_constant, sample_digest
from scribble_conversion.checking.labels import LabelFacts, label_facts
from scribble_conversion.console import UserError
from scribble_conversion.formats.registry import format_of
from scribble_conversion.formats.volume import geometry_difference
from scribble_conversion.geometry import CHANNEL_SPACING_TOLERANCE, SPACING_TOLERANCE
from scribble_conversion.planes import axis_across
from scribble_conversion.remap import remap
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
        file_ending: ending of the files written.
        explicit_codes: whether the user declared the codes, so that floats near one count as it (``remap``).
        axis: the array axis across the slices; None for the image's own.
        held_out: whether the case goes to ``imagesTs`` and ``labelsTs`` (dense).
    """

    case: Case
    dataset: Path
    scribble_codes: dict[int, int]
    dense_codes: dict[int, int]
    ignore_value: int
    file_ending: str
    explicit_codes: bool
    axis: int | None
    held_out: bool


@dataclass(frozen=True)
class CaseResult:
    """What came of a case.

    Attributes:
        identifier: the case.
        facts: counts of the label it teaches with, the ignore label last; None for a case held out.
        channels: how many channels its image has, over all files.
        sample: equal for equal images, hardly ever for others.
        constant: whether a file of its image is the same everywhere.
    """

    identifier: str
    facts: LabelFacts | None
    channels: int
    sample: str
    constant: bool

    @property
    def voxels(self) -> tuple[int, ...]:
        """Voxels per integer written, the ignore label last; empty for a case held out."""
        return self.facts.voxels if self.facts else ()


def convert_case(job: CaseJob) -> CaseResult:
    """Check one case and write its files into the dataset folder.

    Args:
        job: the case, its codes and its place.

    Returns:
        The counts of its scribbles.

    Raises:
        UserError: if a file is damaged, has dimensions that its kind must not have, holds undeclared labels or NaN,
            or if the geometry of a label or channel is not the image's; or if a file cannot be written.
    """
    with case_errors(job.case):
        return _convert(job)


@contextmanager
def case_errors(case: Case) -> Iterator[None]:
    """Turn what goes wrong with a case's files or for want of memory into a ``UserError``."""
    try:
        yield
    except MemoryError as error:
        raise UserError(f"{case.images[0]} does not fit into memory; use fewer processes (-np 1)") from error
    except OSError as error:
        raise UserError(
            f"{error.filename2 or error.filename or case.identifier} cannot be read or written "
            f"({error.strerror or error}); check permissions and free space"
        ) from error


def _convert(job: CaseJob) -> CaseResult:
    case, dataset = job.case, job.dataset
    image_folder = dataset / ("imagesTs" if job.held_out else "imagesTr")
    channels = [format_of(path).read_image(path) for path in case.images]
    _check_channels(case.images, channels)
    for index, path in enumerate(case.images):
        format_of(path).copy_image(path, image_folder / f"{case.identifier}_{index:04d}{job.file_ending}")
    dense = None
    if case.dense is not None:
        dense = read_label(case, case.dense, channels[0], job.dense_codes, job.explicit_codes)
        _write_label(job, dense, "labelsTs" if job.held_out else "labelsTr_dense")
    facts = None
    if not job.held_out:
        labels = _training_label(job, channels[0])
        _write_label(job, labels, "labelsTr")
        facts = label_facts(labels, job.ignore_value, job.ignore_value + 1, axis_across(channels[0], job.axis), dense)
    arrays = [sitk.GetArrayViewFromImage(channel) for channel in channels]
    return CaseResult(
        identifier=case.identifier,
        facts=facts,
        channels=sum(channel.GetNumberOfComponentsPerPixel() for channel in channels),
        sample="".join(map(sample_digest, arrays)),
        constant=any(map(is_constant, arrays)),
    )


def _check_channels(paths: Sequence[Path], channels: Sequence[sitk.Image]) -> None:
    """Refuse channels that nnU-Net could not stack: off the first one's grid, or grey ones beside coloured ones."""
    for path, channel in zip(paths[1:], channels[1:], strict=True):
        _require_same_geometry(path, channel, paths[0], channels[0], CHANNEL_SPACING_TOLERANCE)
        components = [image.GetNumberOfComponentsPerPixel() for image in (channel, channels[0])]
        if components[0] != components[1]:
            raise UserError(
                f"{path} has {components[0]} channels and {paths[0]} of the same case {components[1]}; "
                "give all of them as grey images or all as colour images"
            )


def _training_label(job: CaseJob, image: sitk.Image) -> npt.NDArray[np.uint8]:
    """What the case teaches with, axes (z, y, x) or (y, x)."""
    case = job.case
    if case.supervision == "none":
        return np.full(image.GetSize()[::-1], job.ignore_value, dtype=np.uint8)
    path, codes = (case.dense, job.dense_codes) if case.supervision == "dense" else (case.scribble, job.scribble_codes)
    assert path is not None, "conversion.py has checked the pairs"
    return read_label(case, path, image, codes, job.explicit_codes)


def read_label(
    case: Case, path: Path, image: sitk.Image, codes: Mapping[int, int], explicit_codes: bool
) -> npt.NDArray[np.uint8]:
    """Read a label of a case, hold it against its image and remap it.

    Args:
        case: whose label it is.
        path: its file.
        image: the case's image, or its first channel.
        codes: code in the file to the integer returned.
        explicit_codes: whether the user declared the codes, so that floats near one count as it (``remap``).

    Returns:
        The integers, axes (z, y, x) or (y, x).

    Raises:
        UserError: if the file is damaged, does not lie on the image, or holds undeclared values.
    """
    label = format_of(path).read_label(path)
    _require_same_geometry(path, label, case.images[0], image)
    return remap(sitk.GetArrayViewFromImage(label), codes, path, explicit=explicit_codes)


def _require_same_geometry(
    path: Path, given: sitk.Image, image_path: Path, image: sitk.Image, spacing_tolerance: float = SPACING_TOLERANCE
) -> None:
    """Refuse a label or channel that does not lie on the image (the first channel)."""
    difference = geometry_difference(given, image, spacing_tolerance)
    if difference is not None:
        raise UserError(
            f"{path} does not lie on {image_path}, they differ in {difference}; give the file that belongs to it"
        )


def _write_label(job: CaseJob, labels: npt.NDArray[np.uint8], folder: str) -> None:
    image = job.case.images[0]
    target = job.dataset / folder / f"{job.case.identifier}{job.file_ending}"
    format_of(image).write_label(labels, image, target)
