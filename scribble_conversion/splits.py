"""Folds by patient, in the form of nnU-Net's ``splits_final.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.utilities.crossval_split import generate_crossval_split

from scribble_conversion.console import UserError
from scribble_conversion.naming import composed
from scribble_conversion.source import Case, name_some

FIVE_FOLD = "five-fold"
MAAG = "maag"
RANDOM = "random"
OWN = "own"
PUBLISHED_FOLDS = 5
PATIENTS_PER_FOLD = 20
"""Fold k of WSL4MIS, TriMix, DMPLS and PCLMix validates on patients 20 k + 1 to 20 k + 20."""
MAAG_PATIENTS = frozenset({5, 10, 24, 30, 36, 39, 41, 60, 64, 72, 73, 77, 78, 80, 82})
"""Test patients of MAAG and ScribbleBench."""
RANDOM_FOLDS = 5
RANDOM_SEED = 12345
"""As in nnU-Net's own split."""


@dataclass(frozen=True)
class Fold:
    """One fold.

    Attributes:
        title: what it is, for people.
        train: identifiers of the cases to train with, sorted.
        val: identifiers of the cases to validate with, sorted.
    """

    title: str
    train: tuple[str, ...]
    val: tuple[str, ...]

    def as_json(self) -> dict[str, list[str]]:
        """The fold as nnU-Net stores it."""
        return {"train": list(self.train), "val": list(self.val)}


def make_folds(cases: Sequence[Case], choice: str, own: Sequence[Mapping[str, Sequence[str]]] = ()) -> list[Fold]:
    """Make the folds a user asked for.

    Args:
        cases: the cases to train with; cases held out are not among them.
        choice: ``five-fold``, ``maag``, ``random``, ``own``, or the path of a JSON file.
        own: the source's own split, for ``own``.

    Returns:
        At least one fold; none of them without training or validation cases, or without labels to learn from.

    Raises:
        UserError: if the choice does not fit the cases.
    """
    folds = _chosen_folds(cases, choice, own)
    taught = {case.identifier for case in judged(cases)}
    for index, fold in enumerate(folds):
        if not taught.intersection(fold.train):
            raise UserError(
                f"fold {index} of the split '{choice}' would train with unlabelled images alone "
                f"({name_some(fold.train)}); name fewer as unlabelled, or give another --split"
            )
    return folds


def _chosen_folds(cases: Sequence[Case], choice: str, own: Sequence[Mapping[str, Sequence[str]]]) -> list[Fold]:
    if choice == FIVE_FOLD:
        return five_fold(cases)
    if choice == MAAG:
        return maag(cases)
    if choice == RANDOM:
        return random_folds(cases)
    if choice == OWN:
        return own_folds(own, cases)
    return read_folds(Path(choice), cases)


def five_fold(cases: Sequence[Case]) -> list[Fold]:
    """Five folds of 20 consecutive patients by patient number, as published.

    A published fold none of whose patients is there would have nothing to validate with, which nnU-Net cannot train;
    it is left out, the others keep their order, and their titles say which published fold they are.

    Raises:
        UserError: if a patient has no number from 1 to 100, or if fewer than two of the published folds have patients.
    """
    highest = PUBLISHED_FOLDS * PATIENTS_PER_FOLD
    unknown = {case.patient for case in cases if not 1 <= (case.patient_number or 0) <= highest}
    if unknown:
        raise UserError(
            f"the published five folds end with patient {highest}, but there is {name_some(unknown)}; "
            "hold them out with --test-patients or give a JSON file with --split"
        )
    folds = []
    for index in range(PUBLISHED_FOLDS):
        first, last = index * PATIENTS_PER_FOLD + 1, (index + 1) * PATIENTS_PER_FOLD
        val = {case.patient for case in judged(cases) if first <= (case.patient_number or 0) <= last}
        if val:
            title = f"published fold {index + 1} of {PUBLISHED_FOLDS}, patients {first} to {last}"
            folds.append(_fold(title, cases, val))
    if len(folds) < 2:
        raise UserError(
            f"the published five folds need patients of at least two of them, but all {len(cases)} cases are "
            f"{folds[0].title if folds else 'missing'}; give a JSON file with --split"
        )
    return folds


def maag(cases: Sequence[Case]) -> list[Fold]:
    """One fold that validates on the 15 test patients of MAAG and ScribbleBench, those that are there.

    Raises:
        UserError: if none of them is there, or nobody else.
    """
    val = {case.patient for case in judged(cases) if case.patient_number in MAAG_PATIENTS}
    if not val or all(case.patient in val for case in cases):
        raise UserError(
            f"the maag split needs both some of its test patients ({', '.join(map(str, sorted(MAAG_PATIENTS)))}) and "
            "others to train with; give a JSON file with --split"
        )
    return [_fold("MAAG test patients", cases, val)]


def random_folds(cases: Sequence[Case]) -> list[Fold]:
    """Five folds as nnU-Net draws them (shuffled, seed 12345), but of patients instead of cases.

    Where every patient has one case and every case a label, they are nnU-Net's own. Fewer than five patients give as
    many folds as there are patients.

    Raises:
        UserError: if fewer than two patients can be validated with.
    """
    patients = sorted({case.patient for case in judged(cases)})
    if len(patients) < 2:
        raise UserError(
            f"the random split needs labelled cases of at least two patients, but there is only "
            f"{name_some(patients) or 'none'}; add patients, or give a JSON file with --split"
        )
    number = min(RANDOM_FOLDS, len(patients))
    drawn = generate_crossval_split(patients, seed=RANDOM_SEED, n_splits=number)
    return [
        _fold(f"random fold {index} of {number} by patient, seed {RANDOM_SEED}", cases, set(map(str, fold["val"])))
        for index, fold in enumerate(drawn, start=1)
    ]


def own_folds(own: Sequence[Mapping[str, Sequence[str]]], cases: Sequence[Case]) -> list[Fold]:
    """The split that came with the source, without the cases that are held out or left out.

    Unlabelled images are not validated with.

    Args:
        own: folds of case identifiers.
        cases: the cases to train with.

    Raises:
        UserError: if the source has none, or if a fold loses one of its sides, or parts a patient.
    """
    cure = f"give {RANDOM} or a JSON file with --split"
    if not own:
        raise UserError(f"this source has no split of its own; {cure}")
    here = {"train": {case.identifier for case in cases}, "val": {case.identifier for case in judged(cases)}}
    kept = [{side: [name for name in fold[side] if name in here[side]] for side in here} for fold in own]
    own_split = "the source's own split"
    for index, fold in enumerate(kept):
        for side, names in fold.items():
            if not names:
                place = f"{own_split}, fold {index}, {side}"
                raise UserError(f"{place} is empty without those held out or unlabelled; {cure}")
    return _checked_folds(kept, cases, own_split, own_split, cure)


def read_folds(path: Path, cases: Sequence[Case]) -> list[Fold]:
    """Read folds from a file in the form of ``splits_final.json``.

    Args:
        path: JSON, a list of ``{"train": […], "val": […]}``; entries are case identifiers, patient names or patient
            numbers.
        cases: the cases to train with. Unlabelled ones of a patient to validate with are on neither side.

    Raises:
        UserError: if the file is missing or has another form, names somebody unknown or held out, validates on
            somebody without any label, or puts a patient on both sides of a fold.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); "
            f"give {FIVE_FOLD}, {MAAG}, {RANDOM} or an existing JSON file with --split"
        ) from error
    except (ValueError, RecursionError) as error:  # JSON or UTF-8
        raise UserError(f"{path} is no valid JSON ({error}); write a list of folds with train and val") from error
    if not isinstance(content, list) or not content or not all(map(_is_fold, content)):
        raise UserError(f'{path} has to be a list of folds like {{"train": ["patient021"], "val": ["patient022"]}}')
    folds = [{side: [_named(entry) for entry in fold[side]] for side in ("train", "val")} for fold in content]
    return _checked_folds(folds, cases, str(path), f"from {path.name}")


def _named(entry: object) -> object:
    """Names as those of the cases are; patients may be numbers."""
    return composed(entry) if isinstance(entry, str) else entry


def _checked_folds(
    content: Sequence[Mapping[str, Sequence[object]]],
    cases: Sequence[Case],
    origin: str,
    title: str,
    cure: str = "keep all cases of a patient on one side",
) -> list[Fold]:
    """Resolve the names in folds and make sure that they part nobody."""
    members = _members(cases)
    patients = {case.identifier: case.patient for case in cases}
    unlabelled = patients.keys() - {case.identifier for case in judged(cases)}
    folds = []
    for index, entry in enumerate(content):
        sides = {side: _resolve(entry[side], members, f"{origin}, fold {index}, {side}") for side in ("train", "val")}
        bare = {str(name) for name in entry["val"] if members[str(name)] <= unlabelled}
        if bare:
            raise UserError(
                f"{origin}, fold {index}, val names {name_some(bare)}, but there is no label to validate with; "
                "name cases or patients that have scribbles or dense labels"
            )
        sides["val"] -= unlabelled
        shared = {patients[name] for name in sides["train"]} & {patients[name] for name in sides["val"]}
        if shared:
            raise UserError(f"{origin} has {name_some(shared)} in train and in val of fold {index}; {cure}")
        folds.append(Fold(title, tuple(sorted(sides["train"])), tuple(sorted(sides["val"]))))
    return folds


def judged(cases: Sequence[Case]) -> list[Case]:
    """The cases that a validation can judge: those with a label of some kind."""
    return [case for case in cases if case.supervision != "none"]


def _fold(title: str, cases: Sequence[Case], val: set[str]) -> Fold:
    """The fold that validates on the patients ``val`` and trains with all others.

    Unlabelled images of a validation patient are on neither side.
    """
    return Fold(
        title=title,
        train=tuple(sorted(case.identifier for case in cases if case.patient not in val)),
        val=tuple(sorted(case.identifier for case in judged(cases) if case.patient in val)),
    )


def _is_fold(entry: object) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(side), list) for side in ("train", "val"))


def _members(cases: Sequence[Case]) -> dict[str, set[str]]:
    """Every name a case may be called by, to case identifiers: its own, its patient's, else the patient's number."""
    by_name: dict[str, set[str]] = {}
    by_number: dict[str, set[str]] = {}
    for case in cases:
        for name in {case.identifier, case.patient}:
            by_name.setdefault(name, set()).add(case.identifier)
        if case.patient_number is not None:
            by_number.setdefault(str(case.patient_number), set()).add(case.identifier)
    return {**by_number, **by_name}


def _resolve(entries: Sequence[object], members: Mapping[str, set[str]], place: str) -> set[str]:
    """The identifiers that ``entries`` stand for."""
    unknown = {str(entry) for entry in entries if isinstance(entry, bool) or str(entry) not in members}
    if unknown:
        raise UserError(
            f"{place} names {name_some(unknown)}, not among the cases to train with (missing, or held out by "
            "--test-patients); remove them or write case identifiers, patient names or numbers that are"
        )
    if not entries:
        raise UserError(f"{place} is empty; nnU-Net needs cases on both sides")
    return set().union(*(members[str(entry)] for entry in entries))
