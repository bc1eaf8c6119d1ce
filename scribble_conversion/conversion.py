"""From a ``Source`` to a dataset in nnU-Net's folders: the one writer behind all readers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json

from scribble_conversion.case import CaseJob, CaseResult, convert_case
from scribble_conversion.channels import settle_channel_names
from scribble_conversion.checking.after_conversion import check_images, check_labels
from scribble_conversion.checking.coverage import Scribbled
from scribble_conversion.checking.finding import Finding
from scribble_conversion.checking.splits import check_held_out
from scribble_conversion.console import UserError
from scribble_conversion.formats.registry import reader_writer
from scribble_conversion.names import check_names
from scribble_conversion.parallel import number_of_processes, run_all
from scribble_conversion.patients import PatientList, hold_out
from scribble_conversion.planes import noted_axis
from scribble_conversion.source import Case, Source, name_some
from scribble_conversion.splits import FIVE_FOLD, Fold, judged, make_folds
from scribble_conversion.target import SPLITS_FILE, Target, choose_target, require_replaceable, staged_dataset


@dataclass(frozen=True)
class Options:
    """What the user decides about a conversion, whatever the source format.

    Attributes:
        dataset_id: nnU-Net's dataset id, 1 to 999.
        name: the part of the dataset's name after the id.
        split: ``five-fold``, ``maag``, ``random``, ``own``, or the path of a JSON file.
        test_patients: patients to hold out, e.g. ``81-100,5`` or names.
        dense_patients: patients whose dense labels are trained with instead of their scribbles.
        unlabelled_patients: patients of whom the images alone are trained with.
        allow_unlabelled: whether images without scribbles are trained with as unlabelled ones instead of refused.
        processes: how many processes; None for nnU-Net's default.
        overwrite: whether a dataset of the same id and name may be replaced.
        given: files and folders that the user named to read from.
    """

    dataset_id: int
    name: str
    split: str = FIVE_FOLD
    test_patients: str = ""
    dense_patients: str = ""
    unlabelled_patients: str = ""
    allow_unlabelled: bool = False
    processes: int | None = None
    overwrite: bool = False
    given: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        source: what was converted.
        target: where it is now.
        training: cases in ``imagesTr`` and ``labelsTr``.
        held_out: cases in ``imagesTs``.
        folds: the folds in ``splits_final.json``.
        voxels: scribbled voxels per label over all training cases, the ignore label last.
        findings: what will disappoint, as far as a conversion sees it.
        was_preprocessed: whether nnU-Net had preprocessed the dataset that this one replaced.
    """

    source: Source
    target: Target
    training: tuple[Case, ...]
    held_out: tuple[Case, ...]
    folds: tuple[Fold, ...]
    voxels: tuple[int, ...]
    findings: tuple[Finding, ...]
    was_preprocessed: bool


def convert(source: Source, options: Options) -> Conversion:
    """Check, remap and write a dataset, and put it where nnU-Net looks for it.

    Args:
        source: what a reader found.
        options: what the user decided.

    Returns:
        An account of it.

    Raises:
        UserError: for every mistake in the data or the options; nothing is left behind then.
    """
    target = choose_target(options.dataset_id, options.name, options.overwrite)
    _check_source_apart(source, options, target)
    require_replaceable(target)
    check_names(source)
    training, held_out = hold_out(source.cases, PatientList.parse(options.test_patients, source.cases))
    training = supervise(training, options, held_out)
    check_pairs(source, training, held_out)
    folds = make_folds(training, options.split, source.folds)
    processes = number_of_processes(options.processes, len(source.cases))
    was_preprocessed = target.is_preprocessed
    splits = json.dumps([fold.as_json() for fold in folds], indent=4) + "\n"
    with staged_dataset(target, splits) as folder:
        jobs = _jobs(source, training, held_out, folder)
        results = run_all(convert_case, jobs, processes, "converting")
        channel_names = settle_channel_names(source, results)
        try:
            _write_dataset_json(source, target, options, training, held_out, channel_names, folder)
            (folder / SPLITS_FILE).write_text(splits, encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{target.raw} cannot be written ({error.strerror or error}); check permissions and free space"
            ) from error
    return Conversion(
        source=source,
        target=target,
        training=tuple(training),
        held_out=tuple(held_out),
        folds=tuple(folds),
        voxels=_total(results),
        findings=(*_check(source, training, held_out, results), *_check_folds(training, folds)),
        was_preprocessed=was_preprocessed,
    )


def supervise(cases: Sequence[Case], options: Options, held_out: Sequence[Case] = ()) -> list[Case]:
    """Settle what each training case teaches with: what the reader says, unless the user says otherwise.

    Args:
        cases: the training cases.
        options: what the user decided.
        held_out: the cases that are not trained with.

    Returns:
        The same cases with their ``supervision``.

    Raises:
        UserError: if a patient named is not there, is named for both, or has no dense label to train with.
    """
    everybody = [*cases, *held_out]
    dense, unlabelled = (
        PatientList.parse(text, everybody) for text in (options.dense_patients, options.unlabelled_patients)
    )
    dense.require_known(cases, "--dense-patients", held_out)
    unlabelled.require_known(cases, "--unlabelled-patients", held_out)
    labelled = {case.patient for case in cases if case.dense is not None}
    settled = []
    for case in cases:
        if dense.has(case) and unlabelled.has(case):
            who = case.patient if case.patient_number is None else case.patient_number
            raise UserError(
                f"patient {who} is named with both --dense-patients and --unlabelled-patients; name it once"
            )
        bare = case.supervision == "none" and case.dense is None and case.patient in labelled
        if dense.has(case) and not bare:  # bare: another frame of a patient who has dense labels
            if case.dense is None:
                raise UserError(f"{case.identifier} has no dense label; leave its patient out of --dense-patients")
            settled.append(replace(case, supervision="dense"))
        elif unlabelled.has(case) or (
            options.allow_unlabelled and case.supervision == "scribble" and case.scribble is None
        ):
            settled.append(replace(case, supervision="none"))
        else:
            settled.append(case)
    if all(case.supervision == "none" for case in settled):
        raise UserError("no training case has scribbles or a dense label to learn from; name fewer as unlabelled")
    return settled


def _check_source_apart(source: Source, options: Options, target: Target) -> None:
    """Refuse to replace the dataset that is being read, or a folder that holds what the user gave."""
    places = _spelled(target.raw)
    files = [file for case in source.cases for file in (*case.images, case.scribble, case.dense) if file is not None]
    for file in (*options.given, *files):
        if any(place in (path, *path.parents) for path in _spelled(file) for place in places):
            raise UserError(f"{file} belongs to the dataset that would be replaced; choose another id with -d")


def _spelled(path: Path) -> set[Path]:
    """Where a path is, and where its links lead."""
    return {path.absolute(), Path(os.path.realpath(path))}


def check_pairs(source: Source, training: Sequence[Case], held_out: Sequence[Case], what: str = "scribble") -> None:
    """Refuse images without scribbles (unless held out) and scribbles without images.

    Args:
        source: what a reader found.
        training: cases to train with, their ``supervision`` settled.
        held_out: cases held out.
        what: the files of the labels, for messages.

    Raises:
        UserError: if there are any.
    """
    orphans = {case.identifier for case in (*training, *held_out) if not case.images}
    if orphans:
        raise UserError(
            f"{len(orphans)} {what}s have no image ({name_some(orphans)}); "
            f"add the images to the folder of {source.image_option}, or leave those {what}s out"
        )
    bare = {case.identifier for case in training if case.supervision == "scribble" and case.scribble is None}
    if bare:
        raise UserError(
            f"{len(bare)} images have no {what} ({name_some(bare)}); add the {what}s to the folder or archive of "
            f"{source.scribble_option}, hold those patients out with --test-patients, or train with them as unlabelled "
            "images with --allow-unlabelled"
        )


def _jobs(source: Source, training: Sequence[Case], held_out: Sequence[Case], folder: Path) -> list[CaseJob]:
    """Make the folders that will be filled, and the work that fills them."""
    names = {"imagesTr", "labelsTr"}
    names |= {"labelsTr_dense"} if any(case.dense for case in training) else set()
    names |= {"imagesTs"} if held_out else set()
    names |= {"labelsTs"} if any(case.dense for case in held_out) else set()
    for name in names:
        (folder / name).mkdir()
    return [
        CaseJob(
            case=case,
            dataset=folder,
            scribble_codes=source.scribble_codes,
            dense_codes=source.dense_codes,
            ignore_value=source.ignore_value,
            file_ending=source.file_ending,
            explicit_codes=source.explicit_codes,
            axis=noted_axis(source.drawing or {}),
            held_out=is_test,
        )
        for cases, is_test in ((training, False), (held_out, True))
        for case in cases
    ]


def _write_dataset_json(
    source: Source,
    target: Target,
    options: Options,
    training: Sequence[Case],
    held_out: Sequence[Case],
    channel_names: Sequence[str],
    folder: Path,
) -> None:
    """Write ``dataset.json``; nnU-Net copies the keys it does not know.

    ``patients`` tells whose cases these are. ``supervision`` names the cases that do not teach with scribbles; the
    trainer samples by it. ``cases`` holds what else is known of single cases, held out ones included.
    """
    generate_dataset_json(
        str(folder),
        channel_names={str(index): name for index, name in enumerate(channel_names)},
        labels=source.labels_with_ignore,
        regions_class_order=source.regions_class_order or None,
        num_training_cases=len(training),
        file_ending=source.file_ending,
        dataset_name=target.name,
        reference=source.reference,
        description=source.description,
        license=source.licence,
        converted_by="nnUNetv2_convert_scribbles",
        overwrite_image_reader_writer=source.reader_writer or reader_writer(source.file_ending),
        scribbles={
            "source_format": source.format,
            "unlabelled": source.ignore_value,
            "split": Path(options.split).name,
            "test_patients": options.test_patients,
            "dense_labels": "labelsTr_dense" if (folder / "labelsTr_dense").is_dir() else None,
            "patients": {case.identifier: case.patient for case in (*training, *held_out)},
            "supervision": {case.identifier: case.supervision for case in training if case.supervision != "scribble"},
            "cases": {case.identifier: dict(case.facts) for case in (*training, *held_out) if case.facts},
            **({"drawing": dict(source.drawing)} if source.drawing else {}),
        },
    )


def _check(
    source: Source, training: Sequence[Case], held_out: Sequence[Case], results: Sequence[CaseResult]
) -> Iterator[Finding]:
    """The checks that come for free with the voxels in hand."""
    cases = {case.identifier: case for case in (*training, *held_out)}
    scribbled, dense_values = [], set()
    for result in results:
        supervision = cases[result.identifier].supervision
        if result.facts is not None and supervision == "scribble":
            scribbled.append(Scribbled(result.identifier, result.facts))
        elif supervision == "dense":
            dense_values |= {value for value, voxels in enumerate(result.voxels) if voxels}
    yield from check_labels(scribbled, source.labels, source.ignore_value, frozenset(dense_values))
    yield from check_held_out(
        {case.identifier: case.patient for case in training}, {case.identifier: case.patient for case in held_out}
    )
    yield from check_images(
        [result.identifier for result in results if result.constant],
        {result.identifier: result.sample for result in results},
        cases,
        frozenset(case.identifier for case in held_out),
    )


def _check_folds(training: Sequence[Case], folds: Sequence[Fold]) -> Iterator[Finding]:
    in_a_fold = {name for fold in folds for name in (*fold.train, *fold.val)}
    forgotten = tuple(sorted(case.identifier for case in judged(training) if case.identifier not in in_a_fold))
    if forgotten:
        yield Finding(
            "warning",
            "splits",
            f"no fold has {name_some(forgotten)}",
            "add them to the file given with --split, or leave them if they are not to be used",
            forgotten,
        )
    patients = {case.identifier: case.patient for case in training}
    validated = [{patients[name] for name in fold.val} for fold in folds]
    idle = tuple(
        sorted(
            case.identifier
            for case in training
            if case.supervision == "none"
            and case.identifier not in in_a_fold
            and not all(case.patient in of_fold for of_fold in validated)
        )
    )
    if idle:
        yield Finding(
            "warning",
            "splits",
            f"no fold trains with the unlabelled {name_some(idle)}",
            "name patients instead of cases in the file given with --split, or leave them if they are not to be used",
            idle,
        )


def _total(results: Sequence[CaseResult]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*(result.voxels for result in results if result.voxels), strict=True)))
