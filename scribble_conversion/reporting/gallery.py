"""Which cases and slices are shown, and how they are drawn without the page growing too large."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scribble_conversion.checking.dataset import RawCase
from scribble_conversion.checking.inspection import Inspection, evenly
from scribble_conversion.checking.volumes import Reader, Volume, read, read_label
from scribble_conversion.console import UserError
from scribble_conversion.parallel import number_of_processes, run_all
from scribble_conversion.reporting.colours import colour_of
from scribble_conversion.reporting.pictures import grey_png, mask_png, outline, reduction, window

PAGE_BYTES = 18_000_000
"""Of pictures on a page, at most."""
MOST_CASES = 900
"""So many have room for a slice each."""
MAX_SLICES = 16
_SIDES = (512, 384, 256, 192, 128, 96, 64)
"""Longest sides of a picture, tried in turn until a case fits into its share of the page."""
_FEWEST_SLICES = 5
"""Pictures shrink before a case is shown with fewer slices."""
_MARGIN = 0.15
"""Around the structures, of their extent, when the page zooms to them."""


@dataclass(frozen=True)
class DrawingJob:
    """One case to draw.

    Attributes:
        case: the case.
        reader: nnU-Net's reader for it.
        values: the integers to draw.
        sparse: whether its label is scribbles, so that background is drawn, too.
        axis: the array axis across the slices; None for the image's own.
        budget: bytes that its pictures may take.
    """

    case: RawCase
    reader: Reader
    values: tuple[int, ...]
    sparse: bool
    axis: int | None
    budget: int


def choose_cases(inspection: Inspection, number: int) -> list[RawCase]:
    """Choose the cases to show: up to half of them such as problems were found with, the others evenly.

    Args:
        inspection: what was found.
        number: how many, at most.

    Returns:
        Training cases with sound images and labels, in the dataset's order.
    """
    sound = {case.identifier for case in inspection.facts if case.label is not None}
    candidates = [case for case in inspection.dataset.training if case.identifier in sound]
    if not candidates:
        read_in = {case.identifier for case in inspection.facts if case.shape is not None}
        candidates = [case for case in inspection.dataset.training if case.identifier in read_in and case.label]
    named = {name for finding in inspection.findings for name in finding.cases}
    troubled = evenly([case for case in candidates if case.identifier in named], number // 2)
    others = evenly([case for case in candidates if case not in troubled], number - len(troubled))
    chosen = {case.identifier for case in (*troubled, *others)}
    return [case for case in candidates if case.identifier in chosen]


def draw_cases(inspection: Inspection, number: int, processes: int | None) -> list[dict[str, Any]]:
    """Draw the chosen cases.

    Args:
        inspection: what was found.
        number: how many cases, at most.
        processes: as asked for with ``-np``.

    Returns:
        Per case what the page's script needs; base64 pictures within ``PAGE_BYTES`` altogether.

    Raises:
        UserError: if a case does not fit into memory.
    """
    cases = choose_cases(inspection, number)
    if not cases or inspection.reader is None:
        return []
    ignored = {case.identifier for case in inspection.scribbled}
    jobs = [
        DrawingJob(
            case,
            inspection.reader,
            tuple(inspection.dataset.values),
            case.identifier in ignored and inspection.dataset.ignore is not None,
            inspection.dataset.axis,
            PAGE_BYTES // len(cases),
        )
        for case in cases
    ]
    drawn = run_all(draw_case, jobs, number_of_processes(processes, len(jobs)), "drawing")
    problems: dict[str, list[str]] = {}
    for finding in inspection.findings:
        for name in finding.cases:
            problems.setdefault(name, []).append(f"{finding.level}: {finding.check}")
    return [{**case, "problems": sorted(set(problems.get(case["name"], ())))} for case in drawn if case is not None]


def draw_case(job: DrawingJob) -> dict[str, Any] | None:
    """Draw slices of one case, scribbled ones first, as many and as large as its share of the page allows.

    Returns:
        What the page's script needs; None where none of its images can be read.

    Raises:
        UserError: if it does not fit into memory.
    """
    try:
        return _draw(job)
    except MemoryError as error:
        raise UserError(f"{job.case.identifier} does not fit into memory; use fewer processes (-np 1)") from error


def choose_slices(indices: Sequence[int], drawn: Collection[int], number: int) -> list[int]:
    """Choose the slices to show, evenly: those with scribbles, and others only where there is room for them.

    Args:
        indices: to choose from, ascending.
        drawn: the slices that hold scribbles.
        number: how many, at most.

    Returns:
        The chosen ones, ascending.
    """
    chosen = evenly([index for index in indices if index in drawn], number)
    others = evenly([index for index in indices if index not in drawn], number - len(chosen))
    return sorted([*chosen, *others])


def _draw(job: DrawingJob) -> dict[str, Any] | None:
    case = job.case
    volume = _first_readable(case, job.reader)
    if volume is None:
        return None
    axis = volume.axis_across(job.axis)
    image = np.moveaxis(volume.array.mean(0), axis, 0)  # of colours
    label = _slices(case.label, job.reader, axis, image.shape)
    dense = _slices(case.dense, job.reader, axis, image.shape)
    pixel = [value for index, value in enumerate(volume.spacing) if index != axis]
    values = [value for value in job.values if job.sparse or value != 0]
    drawn = _drawn_slices(label, values)
    indices = choose_slices(range(len(image)), drawn, MAX_SLICES)
    box = _box(label, dense, values)
    limits = window(image, box)
    for side in _SIDES:
        factor = reduction(image.shape[1:], side)
        slices = [_draw_slice(index, image, label, dense, limits, factor, values) for index in indices]
        fitting = int(len(slices) * job.budget / max(1, sum(map(_size, slices))))
        if fitting >= min(_FEWEST_SLICES, len(slices)):
            break
    indices = choose_slices(indices, drawn, max(1, fitting))
    sizes = {one["index"]: _size(one) for one in slices}
    while len(indices) > 1 and sum(sizes[index] for index in indices) > job.budget:  # may be larger than the average
        indices = choose_slices(indices, drawn, len(indices) - 1)
    slices = [one for one in slices if one["index"] in indices]
    height, width = image.shape[1:]
    return {
        "name": case.identifier,
        "slices": slices,
        "total": len(image),
        "width": width,
        "height": height,
        "aspect": width * pixel[1] / (height * pixel[0]),
        "box": box,
    }


def _first_readable(case: RawCase, reader: Reader) -> Volume | None:
    """The first of a case's images that is sound; None where none is."""
    for path in case.images:
        try:
            return read(path, reader)
        except UserError:
            continue
    return None


def _draw_slice(
    index: int,
    image: npt.NDArray[np.float32],
    label: npt.NDArray[np.int32] | None,
    dense: npt.NDArray[np.int32] | None,
    limits: tuple[float, float],
    factor: int,
    values: Sequence[int],
) -> dict[str, Any]:
    strokes, outlines = {}, {}
    for value in values:
        if label is not None and (mask := label[index] == value).any():
            strokes[value] = mask_png(mask, colour_of(value), factor)
        if dense is not None and value != 0 and (mask := dense[index] == value).any():
            outlines[value] = outline(mask, factor)
    return {"index": index, "image": grey_png(image[index], limits, factor), "strokes": strokes, "outlines": outlines}


def _drawn_slices(label: npt.NDArray[np.int32] | None, values: Sequence[int]) -> frozenset[int]:
    """The slices in which a label holds one of the values; looked at one by one, as volumes may be large."""
    if label is None:
        return frozenset()
    return frozenset(index for index, plane in enumerate(label) if np.isin(plane, values).any())


def _slices(path: Path | None, reader: Reader, axis: int, shape: tuple[int, ...]) -> npt.NDArray[np.int32] | None:
    """A label with its slices first; None where there is none that fits the image."""
    if path is None:
        return None
    try:
        label = np.moveaxis(read_label(path, reader)[0], axis, 0)
    except UserError:
        return None
    return label if label.shape == shape else None


def _box(
    label: npt.NDArray[np.int32] | None, dense: npt.NDArray[np.int32] | None, values: Sequence[int]
) -> list[int] | None:
    """Where the structures lie in all slices: left, top, right, bottom in pixels, with a margin; None if nowhere."""
    structures = [value for value in values if value != 0]
    shown = [np.isin(array, structures).any(axis=0) for array in (label, dense) if array is not None]
    if not shown or not np.any(shown):
        return None
    rows, columns = np.nonzero(np.any(shown, axis=0))
    height, width = shown[0].shape
    margin = int(_MARGIN * max(np.ptp(rows), np.ptp(columns))) + 4
    return [
        int(max(columns.min() - margin, 0)),
        int(max(rows.min() - margin, 0)),
        int(min(columns.max() + 1 + margin, width)),
        int(min(rows.max() + 1 + margin, height)),
    ]


def _size(drawn: dict[str, Any]) -> int:
    """Bytes that a slice takes on the page, nearly."""
    return len(drawn["image"]) + sum(len(text) for kind in ("strokes", "outlines") for text in drawn[kind].values())
