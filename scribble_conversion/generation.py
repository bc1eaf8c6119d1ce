"""Scribbles that a program draws or shortens, as files that ``conversion.convert`` takes like anybody's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from scribble_conversion.case import case_errors, read_label
from scribble_conversion.conversion import Options, check_pairs, supervise
from scribble_conversion.drawing.shorten import shorten_volume
from scribble_conversion.drawing.volume import Plan, scribble_volume
from scribble_conversion.formats.registry import format_of
from scribble_conversion.parallel import number_of_processes, run_all
from scribble_conversion.patients import PatientList, hold_out
from scribble_conversion.planes import AXES, as_volume, axis_across, grey_values
from scribble_conversion.source import Case, Source
from scribble_conversion.splits import make_folds


@dataclass(frozen=True)
class Shortening:
    """How scribbles are made shorter.

    Attributes:
        fraction: how much of each stroke is kept, above 0 to 1.
    """

    fraction: float


How = TypeVar("How", Plan, Shortening)


@dataclass(frozen=True)
class DrawingJob(Generic[How]):
    """What a worker needs to draw or shorten the scribbles of one case.

    Attributes:
        case: the case.
        label: the file to start from: the dense label, or the scribbles to shorten.
        codes: code in that file to the integer written.
        explicit_codes: whether the user declared the codes.
        unlabelled: the integer of unlabelled voxels.
        how: what to do.
        axis: the array axis across the slices as the user chose it, or None.
        seed: the user's seed.
        target: the file to write.
    """

    case: Case
    label: Path
    codes: dict[int, int]
    explicit_codes: bool
    unlabelled: int
    how: How
    axis: int | None
    seed: int
    target: Path


def draw_scribbles(source: Source, options: Options, plan: Plan, axis: int | None, seed: int, folder: Path) -> Source:
    """Draw scribbles for all cases that will be trained with by scribbles.

    Args:
        source: cases with dense labels.
        options: what the user decided about the conversion.
        plan: how to draw.
        axis: the array axis across the slices; None for each image's own.
        seed: with the same one, the same is drawn, whatever the number of processes and whoever else is there.
        folder: an existing folder for the files.

    Returns:
        The same dataset with scribbles.

    Raises:
        UserError: for a mistake in the data or the options.
    """
    dense = replace(source, cases=tuple(replace(case, scribble=case.dense) for case in source.cases))
    drawn = _with_new_files(
        draw_case, dense, source.dense_codes, options, plan, axis, seed, folder, ("drawing", "dense label")
    )
    return replace(drawn, drawing={"from": "dense labels", "seed": seed, **_record(plan, axis)})


def shorten_scribbles(
    source: Source, options: Options, how: Shortening, axis: int | None, seed: int, folder: Path
) -> Source:
    """Shorten the scribbles of all cases that will be trained with by scribbles.

    Args:
        source: cases with scribbles.
        options: what the user decided about the conversion.
        how: how much to keep.
        axis: the array axis across the slices; None for each image's own.
        seed: with the same one, the same is kept, whatever the number of processes and whoever else is there.
        folder: an existing folder for the files.

    Returns:
        The same dataset with shorter scribbles.

    Raises:
        UserError: for a mistake in the data or the options.
    """
    shorter = _with_new_files(
        shorten_case, source, source.scribble_codes, options, how, axis, seed, folder, ("shortening", "scribble")
    )
    before = {"before": dict(source.drawing)} if source.drawing else {}
    return replace(shorter, drawing={"from": "scribbles", "seed": seed, **_record(how, axis), **before})


def case_rng(seed: int, identifier: str) -> np.random.Generator:
    """Randomness for one case, the same whatever other cases there are."""
    digest = hashlib.sha256(identifier.encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype="<u4").tolist()])


def draw_case(job: DrawingJob[Plan]) -> None:
    """Draw the scribbles of one case into a file.

    Raises:
        UserError: if a file is damaged, does not fit its image or holds undeclared labels, or cannot be written.
    """
    with case_errors(job.case):
        image, labels = _read(job)
        rng = case_rng(job.seed, job.case.identifier)
        axis = axis_across(image, job.axis)
        scribbles = scribble_volume(as_volume(labels), grey_values(image), axis, job.unlabelled, job.how, rng)
        format_of(job.target).write_label(scribbles.reshape(labels.shape), job.case.images[0], job.target)


def shorten_case(job: DrawingJob[Shortening]) -> None:
    """Shorten the scribbles of one case into a file.

    Raises:
        UserError: if a file is damaged, does not fit its image or holds undeclared labels, or cannot be written.
    """
    with case_errors(job.case):
        image, labels = _read(job)
        rng = case_rng(job.seed, job.case.identifier)
        axis = axis_across(image, job.axis)
        kept = shorten_volume(as_volume(labels), job.unlabelled, job.how.fraction, axis, rng)
        format_of(job.target).write_label(kept.reshape(labels.shape), job.case.images[0], job.target)


def _with_new_files(
    function: Callable[[DrawingJob[How]], None],
    source: Source,
    codes: dict[int, int],
    options: Options,
    how: How,
    axis: int | None,
    seed: int,
    folder: Path,
    told: tuple[str, str],
) -> Source:
    """Make a new file of the scribbles of each case that will be trained with by them.

    The patients and the split are checked before the long work begins. ``told``: what is done, and from what.
    """
    title, origin = told
    training, held_out = hold_out(source.cases, PatientList.parse(options.test_patients, source.cases))
    training = supervise(training, options)
    check_pairs(source, training, held_out, origin)
    make_folds(training, options.split, source.folds)
    jobs = [
        DrawingJob(
            case=case,
            label=case.scribble,
            codes=codes,
            explicit_codes=source.explicit_codes,
            unlabelled=source.ignore_value,
            how=how,
            axis=axis,
            seed=seed,
            target=folder / f"{case.identifier}{source.file_ending}",
        )
        for case in training
        if case.supervision == "scribble" and case.scribble is not None
    ]
    run_all(function, jobs, number_of_processes(options.processes, len(jobs)), title)
    files = {job.case.identifier: job.target for job in jobs}
    return replace(
        source,
        cases=tuple(replace(case, scribble=files.get(case.identifier)) for case in source.cases),
        scribble_codes={value: value for value in range(source.ignore_value + 1)},
    )


def _read(job: DrawingJob[How]) -> tuple[sitk.Image, npt.NDArray[np.uint8]]:
    """The image, first file of several, and the label to start from."""
    image = format_of(job.case.images[0]).read_image(job.case.images[0])
    return image, read_label(job.case, job.label, image, job.codes, job.explicit_codes)


def _record(how: Plan | Shortening, axis: int | None) -> dict[str, object]:
    """What to do, as ``dataset.json`` records it."""
    values = asdict(how)
    values.update(values.pop("pen", {}))
    return {**values, "axis": "auto" if axis is None else AXES[axis]}
