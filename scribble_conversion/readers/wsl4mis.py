"""Reader for scribbles in the HDF5 form of WSL4MIS, which most papers' code reads.

Luo et al., MICCAI 2022. One file per slice, ``<case>_slice_<number>.h5``, or per volume, ``<case>.h5``, each with the
datasets ``image``, ``scribble`` and ``label``. Spacing and original intensities are not in there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scribble_conversion.console import UserError
from scribble_conversion.files import NIFTI_ENDINGS, find_files, require_folder, temporary_folder
from scribble_conversion.hdf5 import HDF5_ENDINGS
from scribble_conversion.naming import NUMBERED_PATIENT, composed, one_spelling
from scribble_conversion.parallel import number_of_processes, run_all
from scribble_conversion.readers.acdc import LABELS as ACDC_LABELS
from scribble_conversion.readers.acdc import LICENCE, REFERENCE, UNLABELLED
from scribble_conversion.readers.wsl4mis_case import Stacked, StackJob, stack_case
from scribble_conversion.source import IGNORE_NAME, Case, Source, name_some

STRUCTURES = tuple(name for name in ACDC_LABELS if name != "background")
LARGEST_CODE = 2**16 - 1
_SLICE = re.compile(r"(?P<case>.+)_slice_?(?P<number>\d+)")
_FRAME_OR_SEQUENCE = re.compile(r"_(frame\d+|[A-Z]{1,4})$")


@dataclass(frozen=True)
class Form:
    """What the files do not say about themselves.

    Attributes:
        structures: names of the codes 1, 2, ….
        unlabelled: code of unlabelled pixels in ``scribble``.
        channel: what the image shows, as nnU-Net wants it.
        spacing: voxel size (x, y, z) in mm; not needed with the original images.
    """

    structures: tuple[str, ...] = STRUCTURES
    unlabelled: int = UNLABELLED
    channel: str = "cineMRI"
    spacing: tuple[float, ...] | None = None


@dataclass
class _Files:
    """The files of one case."""

    slices: dict[int, Path] = field(default_factory=dict)
    volume: Path | None = None


@contextmanager
def opened_wsl4mis(
    data: Path,
    images: Path | None,
    form: Form,
    may_lack_scribbles: Callable[[Case], bool],
    processes: int | None,
) -> Iterator[Source]:
    """Put the cases together as NIfTI files in a temporary folder, which is removed at the end.

    Args:
        data: folder with the HDF5 files, at any depth.
        images: folder with the original NIfTI images, at any depth; None to write the stored intensities.
        form: what the files do not say.
        may_lack_scribbles: whether a case is fine without scribbles.
        processes: how many processes; None for nnU-Net's default.

    Yields:
        All cases.

    Raises:
        UserError: if the form is contradictory, if files are missing, there twice or damaged, or if a case is not that
            of its original image.
    """
    labels = _labels(form)
    ignore = max(labels.values()) + 1
    dense_codes = {value: value for value in labels.values()}
    spacing = _spacing(form, images)
    files = find_cases(require_folder(data, "--data"))
    patients = one_spelling({name: patient_of(name) for name in files})
    originals = _find_originals(require_folder(images, "--images"), files.keys()) if images is not None else {}
    with temporary_folder("stacks_") as temporary:
        jobs = [
            StackJob(
                name=name,
                slices=tuple(path for _, path in sorted(found.slices.items())),
                volume=found.volume,
                original=originals.get(name),
                spacing=spacing,
                scribble_codes={**dense_codes, form.unlabelled: ignore},
                dense_codes=dense_codes,
                needs_scribbles=not may_lack_scribbles(Case(name, patients[name], ())),
                folder=temporary,
            )
            for name, found in files.items()
        ]
        stacked = run_all(stack_case, jobs, number_of_processes(processes, len(jobs)), "stacking")
        is_acdc = labels == ACDC_LABELS
        yield Source(
            format="wsl4mis",
            cases=tuple(_case(job.name, patients[job.name], each) for job, each in zip(jobs, stacked, strict=True)),
            channel_names=(form.channel,),
            labels=labels,
            scribble_codes={**dense_codes, ignore: ignore},  # the files written have the integers already
            dense_codes=dense_codes,
            description="scribbles in the HDF5 form of WSL4MIS",
            reference=f"{REFERENCE + '; ' if is_acdc else ''}Luo et al., MICCAI 2022 (HDF5 form)",
            licence=LICENCE if is_acdc else "",
            notes=_notes(jobs, stacked),
        )


def find_cases(data: Path) -> dict[str, _Files]:
    """Sort the HDF5 files below ``data`` by case.

    Raises:
        UserError: if there are none, if one is there twice, or if slices are missing.
    """
    cases: dict[str, _Files] = {}
    for file in find_files(data):
        if file.suffix.lower() not in HDF5_ENDINGS:
            continue
        stem = composed(file.stem)
        match = _SLICE.fullmatch(stem)
        files = cases.setdefault(match["case"] if match else stem, _Files())
        earlier = files.slices.get(int(match["number"])) if match else files.volume
        if earlier is not None:
            raise UserError(
                f"{earlier} and {file} are the same; keep one of them, or give a narrower folder with --data"
            )
        if match:
            files.slices[int(match["number"])] = file
        else:
            files.volume = file
    if not cases:
        raise UserError(
            f"{data} holds no HDF5 files (patient001_frame01_slice_0.h5 or patient001_frame01.h5, …); "
            "give the folder that does with --data"
        )
    _check_complete(cases, data)
    return dict(sorted(cases.items()))


def patient_of(case: str) -> str:
    """Whose image it is: what has a number before a frame or an abbreviation (``_frame01``, ``_ED``, ``_DE``).

    Of ``patient001`` whatever follows is another image of his.
    """
    match = NUMBERED_PATIENT.fullmatch(case)
    shorter = match["patient"] if match else _FRAME_OR_SEQUENCE.sub("", case)
    return shorter if re.search(r"\d", shorter) else case


def _check_complete(cases: Mapping[str, _Files], data: Path) -> None:
    """Refuse gaps. Slices are counted from 0 or 1, alike in all cases."""
    first = min((1, *(min(files.slices) for files in cases.values() if files.slices)))
    for name, files in sorted(cases.items()):
        missing = set(range(first, max(files.slices, default=first - 1) + 1)) - files.slices.keys()
        if missing:
            listed = name_some(f"{name}_slice_{number}.h5" for number in missing)
            place = next(iter(files.slices.values())).parent
            raise UserError(
                f"{place} lacks {listed}, while there is slice {max(files.slices)}; download or export {name} again"
            )


def _find_originals(folder: Path, cases: Collection[str]) -> dict[str, Path]:
    """The original image of each case: ``<case>.nii.gz``, or ``<case>_0000.nii.gz`` as nnU-Net has it."""
    originals: dict[str, Path] = {}
    wanted = set(cases)
    for file in find_files(folder):
        ending = next((ending for ending in reversed(NIFTI_ENDINGS) if file.name.endswith(ending)), None)
        if ending is None:
            continue
        name = composed(file.name).removesuffix(".gz").removesuffix(".nii").removesuffix("_0000")
        if name not in wanted:
            continue
        if name in originals:
            raise UserError(
                f"{originals[name]} and {file} are both images of {name}; keep one of them, or give a narrower folder "
                "with --images"
            )
        originals[name] = file
    missing = wanted - originals.keys()
    if missing:
        raise UserError(
            f"{folder} lacks the images of {len(missing)} cases ({name_some(f'{name}.nii.gz' for name in missing)}); "
            "add them, or leave --images out and give --spacing"
        )
    return originals


def _labels(form: Form) -> dict[str, int]:
    """Name to integer, background first."""
    names = ("background", *form.structures)
    distinct = {name.strip().casefold() for name in names}
    if {IGNORE_NAME, ""} & distinct or len(distinct) != len(names):
        raise UserError(
            f"the labels {', '.join(form.structures)} have to be different names, none of them background or "
            f"{IGNORE_NAME}; correct --labels"
        )
    if 0 <= form.unlabelled < len(names):
        raise UserError(
            f"the unlabelled value {form.unlabelled} is the code of {names[form.unlabelled]}, too; give another with "
            "--unlabelled-value, or fewer names with --labels"
        )
    if abs(form.unlabelled) > LARGEST_CODE:
        raise UserError(f"the unlabelled value has to lie within {LARGEST_CODE}, got {form.unlabelled}; correct it")
    return {name: value for value, name in enumerate(names)}


def _spacing(form: Form, images: Path | None) -> tuple[float, ...]:
    """The spacing to write, which is needed unless there are the original images."""
    if images is not None:
        if form.spacing is not None:
            raise UserError("the spacing is that of the images; give either --images or --spacing")
        return ()
    if form.spacing is None:
        raise UserError(
            "HDF5 files hold no spacing; give the folder of the original images with --images, or the voxel size in mm "
            "with --spacing X Y Z"
        )
    if not all(math.isfinite(value) and value > 0 for value in form.spacing):
        raise UserError(
            f"the spacing has to be three positive numbers in mm, got {' '.join(f'{v:g}' for v in form.spacing)}; "
            "correct --spacing"
        )
    return form.spacing


def _case(name: str, patient: str, stacked: Stacked) -> Case:
    return Case(
        identifier=name,
        patient=patient,
        images=(stacked.image,),
        scribble=stacked.scribble,
        dense=stacked.dense,
        facts={} if stacked.correlation is None else {"correlation": round(stacked.correlation, 4)},
    )


def _notes(jobs: Sequence[StackJob], stacked: Sequence[Stacked]) -> tuple[str, ...]:
    """How well the slices were found in the original images."""
    pairs = zip(jobs, stacked, strict=True)
    found = [(result.correlation, job.name) for job, result in pairs if result.correlation is not None]
    if not found:
        return ("images: intensities as stored, clipped and scaled by whoever exported them",)
    lowest, name = min(found)
    turned = sum(result.turned for result in stacked)
    return (
        f"images: the originals; correlation of their slices with the stored ones at least {lowest:.4f} ({name}), "
        f"{turned} of {len(found)} cases turned or flipped to fit",
    )
