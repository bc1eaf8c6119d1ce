"""Whether ``splits_final.json`` fits the cases and keeps each patient on one side."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nnunetv2.utilities.crossval_split import generate_crossval_split

from scribble_conversion.checking.dataset import RawDataset
from scribble_conversion.checking.finding import Finding, counted
from scribble_conversion.naming import NUMBERED_PATIENT, one_spelling
from scribble_conversion.recorded import recorded, recorded_patients
from scribble_conversion.source import name_some
from scribble_conversion.splits import RANDOM_FOLDS, RANDOM_SEED
from scribble_conversion.target import SPLITS_FILE

_CASES_PER_PATIENT = 10
"""More cases with one prefix, on average, and the prefix is hardly a patient."""


def check_splits(dataset: RawDataset, digests: Mapping[str, str]) -> Iterator[Finding]:
    """Check the folds that nnU-Net will use, or those that were made for it.

    Args:
        dataset: the dataset.
        digests: case to what is equal for equal images.
    """
    names = [case.identifier for case in dataset.training]
    known, guessed = find_patients(dataset, names)
    for folder in (dataset.preprocessed, dataset.folder):
        if folder is not None and (folder / SPLITS_FILE).is_file():
            path = folder / SPLITS_FILE
            break
    else:
        yield from _check_own_split(names, known, guessed)
        return
    if dataset.preprocessed is not None and path.parent != dataset.preprocessed:
        yield Finding(
            "warning",
            "splits",
            f"{path} is not where nnU-Net looks for folds, so it makes others",
            f"copy it to {dataset.preprocessed}",
        )
    folds = _read_folds(path)
    if folds is None:
        yield Finding(
            "error",
            "splits",
            f"{path} is no list of folds with train and val",
            "correct it, or delete it and let nnU-Net split by case",
        )
        return
    bare = {case.identifier for case in dataset.training if case.supervision == "none"}
    for index, (train, val) in enumerate(folds):
        yield from _check_members(f"{path.name}, fold {index}", train, val, set(names), bare)
        yield from _check_patients(f"{path.name}, fold {index}", train, val, known, guessed)
        yield from _check_images(f"{path.name}, fold {index}", train, val, digests)


def check_held_out(trained: Mapping[str, str], held_out: Mapping[str, str]) -> Iterator[Finding]:
    """A patient on both sides makes the test too good.

    Args:
        trained: cases in ``imagesTr``, to patient.
        held_out: cases in ``imagesTs``, to patient.
    """
    trained, held_out = ({name: patient.casefold() for name, patient in side.items()} for side in (trained, held_out))
    shared = {*trained.values()} & {*held_out.values()}
    if shared:
        yield Finding(
            "error",
            "held out",
            f"{counted(len(shared), 'patient')} {'is' if len(shared) == 1 else 'are'} trained and tested with, with "
            f"some cases in imagesTr and others in imagesTs ({name_some(shared)})",
            "hold out all of a patient's cases (--test-patients) or none",
            tuple(sorted(name for side in (trained, held_out) for name, patient in side.items() if patient in shared)),
        )


def check_held_out_cases(dataset: RawDataset) -> Iterator[Finding]:
    """The same of a dataset, as far as its patients are known."""
    sides = [[case.identifier for case in dataset.cases if case.test is test] for test in (False, True)]
    both = tuple(sorted(set(sides[0]) & set(sides[1])))
    if both:
        yield Finding(
            "error",
            "held out",
            f"{counted(len(both), 'case')} of one name in imagesTr and in imagesTs ({name_some(both)})",
            "take each out of one side, or rename it if it is another image",
            both,
        )
    known, _ = find_patients(dataset, [*sides[0], *sides[1]])
    trained, held_out = ({name: known[name] for name in side if name in known} for side in sides)
    yield from check_held_out(trained, held_out)


def find_patients(dataset: RawDataset, names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Whose cases these are.

    Returns:
        Case to patient as far as ``dataset.json`` or names like ``patient021_frame01`` say so; and as far as it is a
        guess, from what stands before the last underscore.
    """
    known = recorded_patients(dataset.content, names)
    for name in names:
        match = NUMBERED_PATIENT.fullmatch(name)
        if name not in known and match:
            known[name] = match["patient"].lower()
    prefixes = {name: name.rpartition("_")[0] for name in names if name not in known}
    groups = {prefix for prefix in prefixes.values() if re.search(r"\d", prefix)}
    plausible = len(groups) > 2 and len(prefixes) <= _CASES_PER_PATIENT * len(groups)
    guessed = {name: prefix for name, prefix in prefixes.items() if plausible and prefix in groups}
    alone = recorded(dataset.content, "patients").keys() & set(names)  # as their own patients, to judge by nothing else
    return one_spelling({**{name: name for name in alone - guessed.keys()}, **known}), one_spelling(guessed)


def _check_own_split(names: Sequence[str], known: Mapping[str, str], guessed: Mapping[str, str]) -> Iterator[Finding]:
    """What nnU-Net makes of cases without any folds: five of cases, whosever they are."""
    if len(names) < RANDOM_FOLDS:
        yield Finding(
            "warning",
            "splits",
            f"there is no {SPLITS_FILE}, and nnU-Net makes no {RANDOM_FOLDS} folds of {counted(len(names), 'case')}",
            f"add cases, write a {SPLITS_FILE}, or train the fold 'all'",
        )
        return
    first = generate_crossval_split(sorted(names), seed=RANDOM_SEED, n_splits=RANDOM_FOLDS)[0]
    train, val = ([str(name) for name in first[side]] for side in ("train", "val"))
    place = f"there is no {SPLITS_FILE}, and fold 0 as nnU-Net makes it"
    cure = f"write a {SPLITS_FILE} that keeps all cases of a patient on one side, or convert with --split random"
    yield from _check_patients(place, train, val, known, guessed, cure)


def _check_members(
    place: str, train: Sequence[str], val: Sequence[str], names: set[str], bare: set[str]
) -> Iterator[Finding]:
    unknown = sorted({*train, *val} - names)
    if unknown:
        yield Finding(
            "error",
            "splits",
            f"{place} names {counted(len(unknown), 'case')} not in imagesTr ({name_some(unknown)})",
            "correct or delete the file, or add the cases",
            tuple(unknown),
        )
    both = sorted(set(train) & set(val))
    if both:
        yield Finding(
            "error",
            "splits",
            f"{place} both trains and validates with {counted(len(both), 'case')} ({name_some(both)})",
            "take each out of one side",
            tuple(both),
        )
    for side, cases in (("train", train), ("val", val)):
        if not cases:
            yield Finding("error", "splits", f"{place} has no cases in {side}", "nnU-Net needs some on both sides")
        elif set(cases) <= bare:
            yield Finding(
                "error", "splits", f"{place} has no labelled case in {side}", "name some that are", tuple(cases)
            )


def _check_patients(
    place: str,
    train: Sequence[str],
    val: Sequence[str],
    known: Mapping[str, str],
    guessed: Mapping[str, str],
    cure: str = "keep all cases of a patient on one side",
) -> Iterator[Finding]:
    """A patient on both sides makes the validation too good; cases on both sides are told elsewhere."""
    sides = set(train) - set(val), set(val) - set(train)
    for patients, sure in ((known, True), (guessed, False)):
        left, right = ({patients[name] for name in side if name in patients} for side in sides)
        shared = left & right
        if not shared:
            continue
        whom = counted(len(shared), "patient" if sure else "name")
        yield Finding(
            "error" if sure else "warning",
            "splits",
            f"{place} has {whom} both in train and in val ({name_some(shared)})"
            + ("" if sure else ", perhaps patients, to judge by the names of the cases"),
            cure,
            tuple(sorted(name for side in sides for name in side if patients.get(name) in shared)),
        )


def _check_images(
    place: str, train: Sequence[str], val: Sequence[str], digests: Mapping[str, str]
) -> Iterator[Finding]:
    """The same image under two names, one on either side."""
    trained = {digests[name]: name for name in train if name in digests and name not in val}
    pairs = [(trained[digests[name]], name) for name in val if digests.get(name) in trained and name not in train]
    if pairs:
        yield Finding(
            "error",
            "splits",
            f"{place} trains and validates with the same images ({name_some(f'{a} = {b}' for a, b in pairs)})",
            "keep one of each pair, or both on one side",
            tuple(sorted(name for pair in pairs for name in pair)),
        )


def _read_folds(path: Path) -> list[tuple[list[str], list[str]]] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        folds = [([*map(str, fold["train"])], [*map(str, fold["val"])]) for fold in content]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return folds or None
