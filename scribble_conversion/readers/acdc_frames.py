"""The frames of ACDC's 4D files that nobody labelled, as images to train with."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from scribble_conversion.console import UserError
from scribble_conversion.files import find_files, temporary_folder, writing_temporary
from scribble_conversion.formats.nifti import check_file
from scribble_conversion.geometry import SPACING_TOLERANCE
from scribble_conversion.parallel import number_of_processes, run_all
from scribble_conversion.patients import PatientList
from scribble_conversion.readers.acdc import training_folder
from scribble_conversion.readers.acdc_info import PHASES, Info, find_infos
from scribble_conversion.source import Case, Source, name_some

ALL = "all"
INTENSITY_TOLERANCE = 1e-4
"""Difference of intensities, relative to the largest, that is rounding of a stored scale."""
_FOUR_D = re.compile(r"(?P<patient>patient\d+)_4d\.nii(\.gz)?")
_DAMAGE = (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError)


@dataclass(frozen=True)
class FramesJob:
    """What a worker needs to take frames out of one 4D file.

    Attributes:
        series: the 4D file.
        reference: the 3D file of a frame that is there already, by preference the end-diastolic one.
        reference_frame: which frame that is, counted from 1.
        targets: frame, counted from 1, to the ``.nii.gz`` file to write.
    """

    series: Path
    reference: Path
    reference_frame: int
    targets: dict[int, Path]


@contextmanager
def other_frames(
    source: Source, images: Path, most: int | None, spared: PatientList, processes: int | None
) -> Iterator[Source]:
    """Add the frames of the 4D files that are no cases yet, as unlabelled training cases.

    They are written as 3D files into a temporary folder that is removed at the end.

    Args:
        source: what ``find_acdc`` found.
        images: the folder that was given to it.
        most: at most so many frames of each patient, evenly spaced; None for all.
        spared: patients who are held out, of whom no frames are added; those of the test set are spared anyway.
        processes: how many processes; None for nnU-Net's default.

    Yields:
        The source with the new cases.

    Raises:
        UserError: if a patient has no 4D file, if one is damaged, is not 4D or does not contain the patient's frames,
            or if the folder cannot be written.
    """
    files = find_files(training_folder(images))
    patients: dict[str, list[Case]] = {}
    for case in source.cases:
        if case.images and not case.test and not spared.has(case):
            patients.setdefault(case.patient, []).append(case)
    series = _find_series(files, set(patients))
    infos = find_infos(files)
    with temporary_folder("frames_") as temporary:
        jobs = [
            _plan(cases, series[patient], infos.get(patient), most, temporary) for patient, cases in patients.items()
        ]
        run_all(extract_frames, jobs, number_of_processes(processes, len(jobs)), "extracting frames")
        new = [
            Case(
                identifier=target.name.removesuffix(".nii.gz"),
                patient=cases[0].patient,
                images=(target,),
                supervision="none",
                facts={key: value for key, value in cases[0].facts.items() if key == "group"},
            )
            for cases, job in zip(patients.values(), jobs, strict=True)
            for target in job.targets.values()
        ]
        yield replace(source, cases=tuple(sorted((*source.cases, *new), key=lambda case: case.identifier)))


def parse_most(text: str) -> int | None:
    """Read how many frames of each patient are wanted: ``all`` (None) or a positive number."""
    if text == ALL:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"'{text}' is no number of frames; give {ALL} or a number from 1 on with --other-frames")
    return int(text)


def choose_frames(candidates: Sequence[int], most: int | None) -> list[int]:
    """Choose at most ``most`` of the ``candidates``, evenly spaced over them; all for None."""
    if most is None or most >= len(candidates):
        return list(candidates)
    return [candidates[int((index + 0.5) * len(candidates) / most)] for index in range(most)]


def extract_frames(job: FramesJob) -> None:
    """Write frames of a 4D file as 3D files; one frame is in memory at a time. Runs in a worker process.

    Args:
        job: the files and the frames.

    Raises:
        UserError: if the 4D file is damaged, does not contain the reference, or has another spacing; or if a file
            cannot be written.
    """
    check_file(job.reference)
    reference = _open(job.reference)
    expected = np.asanyarray(reference.dataobj)
    series = _open(job.series)
    _check_grid(job, series, reference)
    header = reference.header.copy()
    for frame in sorted({job.reference_frame, *job.targets}):  # ascending, so a compressed file is read but once
        voxels = _read_frame(job.series, series, frame)
        if frame == job.reference_frame:
            _check_same(job, voxels, expected)
        if frame in job.targets:
            header.set_data_dtype(voxels.dtype)
            header.set_slope_inter(1, 0)
            with writing_temporary(job.targets[frame]):
                type(reference)(voxels, None, header).to_filename(job.targets[frame])


def _find_series(files: Sequence[Path], patients: set[str]) -> dict[str, Path]:
    """The 4D file of each patient."""
    series: dict[str, Path] = {}
    for file in files:
        match = _FOUR_D.fullmatch(file.name)
        if match is None:
            continue
        if match["patient"] in series:
            raise UserError(f"{series[match['patient']]} and {file} are the same 4D file; keep one of them")
        series[match["patient"]] = file
    missing = patients - series.keys()
    if missing:
        raise UserError(
            f"{len(missing)} patients have no 4D file ({name_some(f'{patient}_4d.nii.gz' for patient in missing)}); "
            "add those of the ACDC download to the folder of --images, or leave --other-frames out"
        )
    return series


def _plan(cases: Sequence[Case], series: Path, info: Info | None, most: int | None, folder: Path) -> FramesJob:
    """Choose the frames of one patient and the case to check them by."""
    numbers = {case.identifier: _frame_number(case, info) for case in cases}
    shape = _open(series).shape
    if len(shape) != 4:
        raise UserError(f"{series} has {len(shape)} dimensions, expected 4; take it from the ACDC download again")
    beyond = {number for number in numbers.values() if not 1 <= number <= shape[3]}
    if beyond:
        raise UserError(
            f"{series} holds the frames 1 to {shape[3]}, but {cases[0].patient} is said to have a frame "
            f"{name_some(map(str, beyond))}; take its files and Info.cfg from the same ACDC download"
        )
    reference = min(cases, key=lambda case: (case.facts.get("phase") != "ED", numbers[case.identifier]))
    candidates = [frame for frame in range(1, shape[3] + 1) if frame not in numbers.values()]
    return FramesJob(
        series=series,
        reference=reference.images[0],
        reference_frame=numbers[reference.identifier],
        targets={
            frame: folder / f"{reference.patient}_frame{frame:02d}.nii.gz" for frame in choose_frames(candidates, most)
        },
    )


def _frame_number(case: Case, info: Info | None) -> int:
    """Which frame of the 4D file a case is, counted from 1."""
    name = case.identifier.removeprefix(f"{case.patient}_")
    if name not in PHASES:
        return int(name.removeprefix("frame"))
    if info is None:
        raise UserError(
            f"{case.images[0]} is named by phase, and no Info.cfg tells which frame of the 4D file it is; copy the "
            f"patient's Info.cfg of the ACDC download to {case.images[0].with_name(f'{case.patient}_Info.cfg')}"
        )
    return info.require_frames()[name]


def _open(path: Path) -> nibabel.Nifti1Image:
    """Open a NIfTI file that stays open between reads; its voxels are not read."""
    try:
        image = nibabel.load(path, keep_file_open=True)
        if not isinstance(image, nibabel.Nifti1Image):
            raise ImageFileError(f"it is of type {type(image).__name__}")
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    return image


def _read_frame(path: Path, series: nibabel.Nifti1Image, frame: int) -> npt.NDArray[np.generic]:
    """One frame with its intensities as the file means them, in the stored type unless the file scales it."""
    try:
        voxels = np.asanyarray(series.dataobj[..., frame - 1])
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    if not np.isfinite(voxels).all():
        raise UserError(f"{path} holds NaN or infinite values in frame {frame}; take it from the ACDC download again")
    return voxels.astype(np.float32) if voxels.dtype == np.float64 else voxels


def _check_grid(job: FramesJob, series: nibabel.Nifti1Image, reference: nibabel.Nifti1Image) -> None:
    """Refuse a 4D file of other size or spacing than the frame's."""
    pairs = {
        "size": (series.shape[:3], reference.shape),
        "spacing": tuple(tuple(map(float, image.header.get_zooms()[:3])) for image in (series, reference)),
    }
    for what, (left, right) in pairs.items():
        if len(left) != len(right) or not np.allclose(left, right, rtol=SPACING_TOLERANCE, atol=0):
            told = " and ".join(f"({', '.join(f'{value:g}' for value in values)})" for values in (left, right))
            raise UserError(
                f"{job.series} has another {what} than {job.reference}, {told}; take both from the same ACDC download"
            )


def _check_same(job: FramesJob, voxels: npt.NDArray[np.generic], expected: npt.NDArray[np.generic]) -> None:
    """Refuse a 4D file that does not contain the reference frame."""
    difference = np.abs(voxels.astype(np.float64) - expected.astype(np.float64)).max()
    if difference > INTENSITY_TOLERANCE * np.abs(expected.astype(np.float64)).max():
        raise UserError(
            f"{job.series} does not contain {job.reference}: its frame {job.reference_frame} has other intensities "
            f"(they differ by up to {difference:g}); take both from the same ACDC download"
        )


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is damaged or no NIfTI file ({error}); take it from the ACDC download again")
