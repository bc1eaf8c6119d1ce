"""A look at one case: all of its files, each opened once. Runs in a worker process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scribble_conversion.checking.dataset import RawCase, RawDataset
from scribble_conversion.checking.finding import Finding
from scribble_conversion.checking.images import digest, is_constant
from scribble_conversion.checking.labels import LabelFacts, label_facts
from scribble_conversion.checking.strokes import Stroke, measure_strokes
from scribble_conversion.checking.volumes import Reader, Volume, read, read_label
from scribble_conversion.console import UserError
from scribble_conversion.geometry import CHANNEL_SPACING_TOLERANCE, Geometry, difference
from scribble_conversion.source import name_some


@dataclass(frozen=True)
class Scope:
    """What a worker has to know of the dataset.

    Attributes:
        reader: nnU-Net's reader for its files.
        values: the integers declared, ``ignore`` left out.
        ignore: the integer of unlabelled voxels, None where none is declared.
        number: one more than the highest of them.
        channels: how many channels are declared.
        file_ending: of images and labels.
        axis: the array axis across the slices; None for each image's own.
    """

    reader: Reader
    values: tuple[int, ...]
    ignore: int | None
    number: int
    channels: int
    file_ending: str
    axis: int | None

    @classmethod
    def of(cls, dataset: RawDataset, reader: Reader) -> Scope:
        """What a worker has to know of ``dataset``."""
        return cls(
            reader,
            tuple(dataset.values),
            dataset.ignore,
            dataset.number_of_values,
            dataset.channels,
            dataset.file_ending,
            dataset.axis,
        )


@dataclass(frozen=True)
class CaseJob:
    """One case to look at."""

    case: RawCase
    scope: Scope


@dataclass(frozen=True)
class CaseFacts:
    """What was found in a case.

    Attributes:
        identifier: the case.
        findings: what is wrong with its files.
        digest: equal for cases with the same image; None where no image could be read, or nothing shows.
        shape: voxels along z, y, x of the image; None likewise.
        spacing: mm along z, y, x; None likewise.
        axis: the axis along which the slices lie.
        label: counts of its scribbles; None for test cases, cases that are not scribbled, and unsound labels.
        strokes: its scribbles one by one; empty likewise. Without a single unlabelled voxel, background is no stroke.
        dense_values: the integers that a case teaches with a dense label.
    """

    identifier: str
    findings: tuple[Finding, ...] = ()
    digest: str | None = None
    shape: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    axis: int = 0
    label: LabelFacts | None = None
    strokes: tuple[Stroke, ...] = ()
    dense_values: frozenset[int] = frozenset()


class _Grid(NamedTuple):
    """Where the voxels of a case lie; ``axis`` is the one across the slices."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    geometry: Geometry
    axis: int


@dataclass(frozen=True)
class _Images:
    """What the images of a case have in common."""

    findings: list[Finding]
    digest: str | None
    path: Path | None
    grid: _Grid | None


def examine_case(job: CaseJob) -> CaseFacts:
    """Look at one case.

    Args:
        job: the case, and what to know of its dataset.

    Returns:
        What was found; a damaged file is a finding.

    Raises:
        UserError: if it does not fit into memory.
    """
    try:
        return _examine(job.case, job.scope)
    except MemoryError as error:
        raise UserError(f"{job.case.identifier} does not fit into memory; use fewer processes (-np 1)") from error


def _examine(case: RawCase, scope: Scope) -> CaseFacts:
    images = _examine_images(case, scope)
    findings, name = images.findings, case.identifier
    if images.grid is None or images.path is None:
        return CaseFacts(name, tuple(findings))
    shape, spacing, geometry, axis = images.grid
    label = _examine_label(case.label, name, images.path, geometry, scope, findings)
    facts, strokes = None, []
    dense_values: frozenset[int] = frozenset()
    if label is not None and case.supervision == "dense" and not case.test:
        dense_values = frozenset(map(int, np.flatnonzero(np.bincount(label.ravel()))))
    if label is not None and label.shape == shape and case.supervision == "scribble" and not case.test:
        dense = _examine_label(case.dense, name, images.path, geometry, scope, findings)
        if dense is not None and dense.shape != shape:
            dense = None
        facts = label_facts(label, scope.ignore, scope.number, axis, dense)
        sparse = scope.ignore is not None and facts.voxels[scope.ignore] > 0
        drawn = [value for value in scope.values if facts.voxels[value] and (sparse or value != 0)]
        strokes = measure_strokes(label, drawn, axis, spacing)
    return CaseFacts(name, tuple(findings), images.digest, shape, spacing, axis, facts, tuple(strokes), dense_values)


def _examine_images(case: RawCase, scope: Scope) -> _Images:
    """Read the channels one after the other."""
    findings: list[Finding] = []
    digests: list[str] = []
    counts: list[int] = []
    first: Path | None = None
    grid: _Grid | None = None
    varied = False
    files = [path for path in case.images if path.is_file()]
    for path in files:
        volume = _read(path, case.identifier, scope.reader, findings)
        if volume is None:
            continue
        counts.append(volume.array.shape[0])
        digests.append(digest(volume.array))
        if grid is None or first is None:
            first = path
            grid = _Grid(volume.array.shape[1:], volume.spacing, volume.geometry, volume.axis_across(scope.axis))
        else:
            told = difference(volume.geometry, grid.geometry, CHANNEL_SPACING_TOLERANCE)
            if told is not None:
                findings.append(
                    Finding(
                        "error",
                        "geometry",
                        f"{path} does not lie on {first.name}, they differ in {told}",
                        "resample them to one grid",
                        (case.identifier,),
                    )
                )
        if any(not is_constant(channel) for channel in volume.array):  # opacity is constant in most pictures
            varied = True
            continue
        findings.append(
            Finding(
                "error",
                "constant",
                f"{path} is {volume.array.flat[0]:g} everywhere",
                "export the image again, or leave out the case",
                (case.identifier,),
            )
        )
    if len(counts) == len(case.images):
        findings += _check_channels(case, counts, scope)
    # constant images are alike, which is told of each of them already
    return _Images(findings, "".join(digests) if varied else None, first, grid)


def _check_channels(case: RawCase, counts: list[int], scope: Scope) -> list[Finding]:
    """Hold the channels found in the files against those declared, by number and, one per file, by name."""
    names = {path.name for path in case.images}
    expected = {f"{case.identifier}_{channel:04d}{scope.file_ending}" for channel in range(scope.channels)}
    misnamed = set(counts) == {1} and not case.listed and names != expected
    if sum(counts) == scope.channels and not misnamed:
        return []
    missing, extra = expected - names, names - expected
    details = [f"without {name_some(missing)}"] * bool(missing) + [f"with {name_some(extra)}"] * bool(extra)
    return [
        Finding(
            "error",
            "channels",
            f"{case.identifier} has {sum(counts)} of {scope.channels} channels ({', '.join(details) or 'in its file'})",
            "add or take away image files, or correct channel_names in dataset.json",
            (case.identifier,),
        )
    ]


def _examine_label(
    path: Path | None, case: str, image: Path, geometry: Geometry, scope: Scope, findings: list[Finding]
) -> npt.NDArray[np.int32] | None:
    """Read a label and note what is wrong with it.

    Returns:
        Its integers, axes z, y, x, all of them declared; None where that cannot be had.
    """
    if path is None:
        return None
    try:
        label, volume = read_label(path, scope.reader)
    except UserError as error:
        findings.append(Finding.from_error(_kind(error), error, case))
        return None
    told = difference(volume.geometry, geometry)
    if told is not None:
        findings.append(
            Finding(
                "error",
                "geometry",
                f"{path} does not lie on {image.name}, they differ in {told}",
                "give the file that was drawn on this image",
                (case,),
            )
        )
    declared = {*scope.values} | ({scope.ignore} if scope.ignore is not None else set())
    lowest, highest = int(label.min()), int(label.max())
    if lowest >= 0 and highest < scope.number:
        found = {int(value) for value in np.flatnonzero(np.bincount(label.ravel(), minlength=scope.number))}
    else:
        found = {int(value) for value in np.unique(label)}
    if found <= declared:
        return label
    findings.append(
        Finding(
            "error",
            "values",
            f"{path} holds the values {_listed(found - declared)}, dataset.json declares {_listed(declared)}",
            "correct the file, or declare the labels",
            (case,),
        )
    )
    return None


def _read(path: Path, case: str, reader: Reader, findings: list[Finding]) -> Volume | None:
    try:
        return read(path, reader)
    except UserError as error:
        findings.append(Finding.from_error(_kind(error), error, case))
        return None


def _kind(error: UserError) -> str:
    return "nan" if "NaN" in str(error) else "damaged"


def _listed(values: set[int]) -> str:
    ordered = sorted(values)
    return ", ".join(map(str, ordered[:10])) + (", …" if len(ordered) > 10 else "")
