"""Reader for the ACDC challenge images with the public expert scribbles.

Images and dense labels: Bernard et al., IEEE TMI 2018. Scribbles: Valvano et al., IEEE TMI 2021, codes 0 background,
1 right ventricle, 2 myocardium, 3 left ventricle, 4 unlabelled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scribble_conversion.console import UserError
from scribble_conversion.files import find_files, require_folder
from scribble_conversion.readers.acdc_info import PHASES, Info, find_infos
from scribble_conversion.source import Case, Source, name_some

LABELS = {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
UNLABELLED = 4
REFERENCE = "Bernard et al., IEEE TMI 2018 (images, dense labels); Valvano et al., IEEE TMI 2021 (scribbles)"
LICENCE = "CC BY-NC-SA 4.0 (ACDC)"

Kind = Literal["image", "dense", "scribble"]
_KINDS: dict[str, Kind] = {"": "image", "_gt": "dense", "_scribble": "scribble"}
_NAME = re.compile(r"(?P<patient>patient\d+)_(?P<frame>frame\d+|[Ee][Dd]|[Ee][Ss])(?P<kind>_gt|_scribble|)\.nii(\.gz)?")


@dataclass
class _Patient:
    """The files of one patient, and the option that named the folder of each.

    Attributes:
        name: e.g. ``patient001``.
        files: frame as the files' names have it (``frame01`` or ``ED``) and kind to path.
        info: the patient's ``Info.cfg``, where there is one.
    """

    name: str
    files: dict[tuple[str, Kind], Path] = field(default_factory=dict)
    info: Info | None = None


def find_acdc(images: Path, scribbles: Path, test_images: Path | None = None) -> Source:
    """Find the cases of an ACDC download and their scribbles.

    Args:
        images: the ``training`` folder, its parent, or one flat folder with all files. From a parent, ``testing``
            beside ``training`` is taken as the official test set.
        scribbles: folder with the ``…_scribble.nii.gz`` files, at any depth.
        test_images: the official test set, where it lies elsewhere.

    Returns:
        All cases that have an image or a scribble; an image's dense label is taken where there is one. Cases are named
        as their files are; where these name frames in one place and ED and ES in another, by frame. Cases of the
        official test set are marked.

    Raises:
        UserError: if a folder is missing or holds no such files, if a file is there twice, if a patient is in the
            training and in the test set, or if ``Info.cfg`` is needed and missing or unclear.
    """
    training, testing = _sets(require_folder(images, "--images"))
    testing = require_folder(test_images, "--test-images") if test_images is not None else testing
    patients = _find_patients(find_files(training), ("image", "dense"), "--images")
    if not _any_image(patients):
        raise UserError(
            f"{training} holds no ACDC images (patient001_frame01.nii.gz, …); "
            "give the folder 'training' of the ACDC download with --images"
        )
    drawn = _find_patients(find_files(require_folder(scribbles, "--scribbles")), ("scribble",), "--scribbles")
    if not drawn:
        raise UserError(
            f"{scribbles} holds no ACDC scribbles (patient001_frame01_scribble.nii.gz, …); "
            "give acdc_scribbles.zip or its folder with --scribbles"
        )
    held_out = _find_patients(find_files(testing), ("image", "dense"), "--test-images") if testing is not None else {}
    if test_images is not None and not _any_image(held_out):
        raise UserError(
            f"{test_images} holds no ACDC images (patient101_frame01.nii.gz, …); "
            "give the folder 'testing' of the ACDC download with --test-images"
        )
    twice = patients.keys() & held_out.keys()
    if twice:
        raise UserError(
            f"{name_some(twice)} lies both in {training} and in the test set {testing}; keep one of them, or give the "
            "folder 'training' itself with --images"
        )
    for name, found in drawn.items():
        everybody = held_out if name in held_out else patients
        everybody.setdefault(name, _Patient(name)).files.update(found.files)
    cases = [
        case
        for everybody, test in ((patients, False), (held_out, True))
        for patient in everybody.values()
        for case in _cases(patient, test)
    ]
    return Source(
        format="acdc",
        cases=tuple(sorted(cases, key=lambda case: case.identifier)),
        channel_names=("cineMRI",),
        labels=dict(LABELS),
        scribble_codes={**{value: value for value in LABELS.values()}, UNLABELLED: max(LABELS.values()) + 1},
        dense_codes={value: value for value in LABELS.values()},
        description="ACDC short-axis cine MRI with expert scribbles",
        reference=REFERENCE,
        licence=LICENCE,
    )


def training_folder(images: Path) -> Path:
    """The folder ``training`` where there is one (beside ``testing``, in the official download), else ``images``."""
    return _sets(images)[0]


def _sets(images: Path) -> tuple[Path, Path | None]:
    """The folders of the training set and, where it lies beside it in ``images``, of the test set."""
    for parent in (images, images / "database"):
        if (parent / "training").is_dir():
            testing = parent / "testing"
            return parent / "training", testing if testing.is_dir() else None
    return images, None


def _find_patients(files: Iterable[Path], kinds: tuple[Kind, ...], option: str) -> dict[str, _Patient]:
    """Sort the files of the ``kinds`` wanted by patient; a patient of whom there is but an ``Info.cfg`` is left out."""
    files = list(files)
    patients: dict[str, _Patient] = {}
    for file in files:
        match = _NAME.fullmatch(file.name)
        if match is None or _KINDS[match["kind"]] not in kinds:
            continue
        frame = match["frame"] if match["frame"].startswith("frame") else match["frame"].upper()
        patient = patients.setdefault(match["patient"], _Patient(match["patient"]))
        _add(patient.files, patient.name, frame, _KINDS[match["kind"]], file, option)
    for name, info in find_infos(files).items():
        if name in patients:
            patients[name].info = info
    return patients


def _any_image(patients: Mapping[str, _Patient]) -> bool:
    return any(kind == "image" for patient in patients.values() for _, kind in patient.files)


def _add(files: dict[tuple[str, Kind], Path], patient: str, frame: str, kind: Kind, file: Path, option: str) -> None:
    """Enter a file, unless there is one for the same frame already."""
    if (frame, kind) in files:
        raise UserError(
            f"{files[frame, kind]} and {file} are the same case {patient}_{frame}; "
            f"keep one of them, or give a narrower folder with {option}"
        )
    files[frame, kind] = file


def _cases(patient: _Patient, test: bool) -> list[Case]:
    """The cases of one patient, those without an image included: the conversion refuses them."""
    files = _named_alike(patient)
    return [
        Case(
            identifier=f"{patient.name}_{frame}",
            patient=patient.name,
            images=(files[frame, "image"],) if (frame, "image") in files else (),
            scribble=files.get((frame, "scribble")),
            dense=files.get((frame, "dense")),
            test=test,
            facts=_facts(frame, patient.info),
        )
        for frame in sorted({frame for frame, kind in files if kind != "dense"})
    ]


def _named_alike(patient: _Patient) -> Mapping[tuple[str, Kind], Path]:
    """The patient's files with ED and ES turned into frames where other files are named by frame."""
    names = {frame for frame, _ in patient.files}
    numbered = {int(name.removeprefix("frame")): name for name in sorted(names.difference(PHASES))}
    if not numbered or not names.intersection(PHASES):
        return patient.files
    if patient.info is None:
        place = next(iter(patient.files.values())).with_name(f"{patient.name}_Info.cfg")
        raise UserError(
            f"the files of {patient.name} are named by frame in one place and ED or ES in another, and no Info.cfg "
            f"tells which is which; copy the patient's Info.cfg of the ACDC download to {place}"
        )
    frames = patient.info.require_frames()
    known = {phase: numbered.get(number, f"frame{number:02d}") for phase, number in frames.items()}
    alike: dict[tuple[str, Kind], Path] = {}
    for (frame, kind), file in patient.files.items():
        _add(
            alike,
            patient.name,
            known.get(frame, frame),
            kind,
            file,
            "--scribbles" if kind == "scribble" else "--images",
        )
    return alike


def _facts(frame: str, info: Info | None) -> dict[str, str | float]:
    """Phase and pathology group, as far as they are known."""
    facts: dict[str, str | float] = {}
    if frame in PHASES:
        facts["phase"] = frame
    elif info is not None:
        phases = {frame_number: phase for phase, frame_number in info.frames.items()}
        if (phase := phases.get(int(frame.removeprefix("frame")))) is not None:
            facts["phase"] = phase
    if info is not None and info.group is not None:
        facts["group"] = info.group
    return facts
