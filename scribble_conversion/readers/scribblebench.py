"""Reader for nnU-Net raw datasets whose labels are scribbles, such as ScribbleBench's (Gotkowski et al.)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scribble_conversion.console import UserError
from scribble_conversion.files import RAW, find_files, require_folder
from scribble_conversion.formats.registry import common_ending, ending_of
from scribble_conversion.naming import composed, one_spelling
from scribble_conversion.patterns import NUMBERED_CHANNEL, NamePattern
from scribble_conversion.recorded import known_patients
from scribble_conversion.source import Case, name_some

_WITH_CHANNEL = NamePattern.parse("{case}_{channel}", channel=NUMBERED_CHANNEL)
_BARE = NamePattern.parse("{case}")

Folds = tuple[Mapping[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class RawDataset:
    """An nnU-Net raw dataset as found.

    Attributes:
        folder: where.
        declared: the content of ``dataset.json``; empty where there is none.
        cases: training and test cases; the training labels count as scribbles.
        channels: how many files each image has.
        file_ending: of the images when written.
        folds: its ``splits_final.json``, if any.
        notes: what had to be repaired.
    """

    folder: Path
    declared: dict[str, Any]
    cases: tuple[Case, ...]
    channels: int
    file_ending: str
    folds: Folds = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def scribble_files(self) -> list[Path]:
        """The labels to train with."""
        return [case.scribble for case in self.cases if case.scribble is not None]

    @property
    def dense_files(self) -> list[Path]:
        """The dense labels, of training and test cases."""
        return [case.dense for case in self.cases if case.dense is not None]


def find_raw_dataset(
    data: Path, case_pattern: str = "", preprocessed: Path | None = None, option: str = "--data"
) -> RawDataset:
    """Find the files of an nnU-Net raw dataset, whatever its ``dataset.json`` says.

    Args:
        data: the dataset folder with ``imagesTr`` and ``labelsTr``; ``labelsTr_dense``, ``imagesTs`` and ``labelsTs``
            are optional.
        case_pattern: how the cases are named, to tell the patients; empty for those that ``dataset.json`` records, or
            that names of a known kind tell, else every case is a patient.
        preprocessed: ``nnUNet_preprocessed``, where a dataset in ``nnUNet_raw`` has the ``splits_final.json`` that
            nnU-Net reads, while the one beside the images may be older; of others it is looked for after ``data``.
        option: the command line option that named the dataset, for messages.

    Returns:
        What was found.

    Raises:
        UserError: if a folder is missing or empty, ``dataset.json`` lists other files, or a name is not as nnU-Net
            wants it and cannot be guessed either.
    """
    require_folder(data, option)
    for name in ("imagesTr", "labelsTr"):
        if not (data / name).is_dir():
            raise UserError(f"{data} has no folder {name}; give the folder of an nnU-Net raw dataset with {option}")
    notes: list[str] = []
    declared = _read_dataset_json(data / "dataset.json", notes)
    if isinstance(declared.get("dataset"), dict):
        raise UserError(
            f"{data / 'dataset.json'} lists the files of its cases under 'dataset', but only imagesTr and labelsTr are "
            "read here; put these files there and remove that entry"
        )
    training, held_out = (_images(data / name, notes) for name in ("imagesTr", "imagesTs"))
    scribbles = _labels(data / "labelsTr", training, notes)
    dense = _labels(data / "labelsTr_dense", training, notes)
    references = _labels(data / "labelsTs", held_out, notes)
    lonely = references.keys() - held_out.keys()
    if lonely:
        notes.append(f"left out of labelsTs, because they have no image in imagesTs: {name_some(lonely)}")
    if not training or not scribbles:
        raise UserError(f"{data} has no files in imagesTr or labelsTr; give a dataset with images and labels")
    twice = training.keys() & held_out.keys()
    if twice:
        raise UserError(f"{data} has {name_some(twice)} in imagesTr and in imagesTs; remove one of them")
    ending = common_ending(path for files in (*training.values(), *held_out.values()) for path in files)
    if declared and declared.get("file_ending") != ending:
        notes.append(f"file_ending was {declared.get('file_ending', 'missing')} and is {ending}")
    patients = _patients([*training, *held_out, *scribbles], ending, case_pattern, declared, notes)
    cases = [
        Case(
            identifier=identifier,
            patient=patients[identifier],
            images=training.get(identifier, ()),
            scribble=scribbles.get(identifier),
            dense=dense.get(identifier),
        )
        for identifier in sorted(training.keys() | scribbles.keys())
    ]
    cases += [
        Case(identifier, patients[identifier], files, dense=references.get(identifier), test=True)
        for identifier, files in sorted(held_out.items())
    ]
    return RawDataset(
        folder=data,
        declared=declared,
        cases=tuple(cases),
        channels=len(next(iter(training.values()))),
        file_ending=ending,
        folds=_read_splits(data, preprocessed, notes),
        notes=tuple(notes),
    )


def _read_dataset_json(path: Path, notes: list[str]) -> dict[str, Any]:
    if not path.exists():
        notes.append("dataset.json was missing and was made anew")
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        notes.append("dataset.json was no valid JSON object and was made anew")
        return {}
    return content


def _images(folder: Path, notes: list[str]) -> dict[str, tuple[Path, ...]]:
    """Map cases to their channels; empty where the folder is missing."""
    files = _files(folder)
    numbered = [(file, match) for file in files if (match := _WITH_CHANNEL.match(file, folder)) is not None]
    if numbered and len(numbered) < len(files):
        odd = next(file for file in files if _WITH_CHANNEL.match(file, folder) is None)
        raise UserError(
            f"{odd} has no channel number in its name, others in {folder} do; rename it like case_0000.nii.gz"
        )
    if not numbered:
        if files:
            notes.append(f"the images in {folder.name} had no channel number in their names and got _0000")
        numbered = [(file, match) for file in files if (match := _BARE.match(file, folder)) is not None]
    cases: dict[str, dict[str, Path]] = {}
    for file, named in numbered:
        known = cases.setdefault(named.identifier, {})
        if named.channel in known:
            raise UserError(f"{known[named.channel]} and {file} are the same image; remove one of them")
        known[named.channel] = file
    channels = {channel for known in cases.values() for channel in known}
    for identifier, known in cases.items():
        if missing := channels - known.keys():
            raise UserError(
                f"{folder} lacks the channel {name_some(missing)} of {identifier}; add it or leave out the case"
            )
    return {identifier: tuple(known[channel] for channel in sorted(known)) for identifier, known in cases.items()}


def _labels(folder: Path, images: Mapping[str, object], notes: list[str]) -> dict[str, Path]:
    """Map cases to their labels; empty where the folder is missing."""
    labels: dict[str, Path] = {}
    renamed = 0
    for file in _files(folder):
        identifier = composed(file.name[: -len(ending_of(file.name) or "")])
        # ScribbleBench's own set-up script names the test labels of MSCMR like images
        if identifier not in images and identifier.endswith("_0000") and identifier[:-5] in images:
            identifier = identifier[:-5]
            renamed += 1
        if identifier in labels:
            raise UserError(f"{labels[identifier]} and {file} are the same case {identifier}; remove one of them")
        labels[identifier] = file
    if renamed:
        notes.append(f"{renamed} labels in {folder.name} had a channel number in their names and lost it")
    return labels


def _files(folder: Path) -> list[Path]:
    """The image files in a folder of the dataset, not below it."""
    return [file for file in find_files(folder, depth=0) if ending_of(file.name)] if folder.is_dir() else []


def _patients(
    identifiers: list[str], ending: str, pattern: str, declared: Mapping[str, Any], notes: list[str]
) -> dict[str, str]:
    """Case to patient: by the user's pattern, else as recorded, else by names of a kind that is known."""
    own = {identifier: identifier for identifier in identifiers}
    if pattern:
        parsed = NamePattern.parse(pattern, "--case-pattern")
        named = {identifier: parsed.match(Path(identifier + ending), Path()) for identifier in identifiers}
        unnamed = {identifier for identifier, match in named.items() if match is None}
        if unnamed:
            raise UserError(f"the pattern '{pattern}' does not fit {name_some(unnamed)}; correct --case-pattern")
        return one_spelling({identifier: match.patient for identifier, match in named.items() if match is not None})
    known, how = known_patients([declared], identifiers)
    if how is not None:
        notes.append(how)
    return {**own, **known}


def _read_splits(data: Path, preprocessed: Path | None, notes: list[str]) -> Folds:
    """The dataset's own folds; empty where there are none or they have another form."""
    if preprocessed is None:
        return _folds_of(data)
    found = [(data, _folds_of(data)), (preprocessed, _folds_of(preprocessed / data.resolve().name))]
    raw = os.environ.get(RAW)
    if raw and Path(raw).resolve() == data.resolve().parent:
        found.reverse()
    (place, folds), (other, others) = found
    if folds and others and folds != others:
        notes.append(
            f"{place} and {other} have different folds (splits_final.json) of this dataset, the former's were read"
        )
    return folds or others


def _folds_of(folder: Path) -> Folds:
    path = folder / "splits_final.json"
    if not path.is_file():
        return ()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return tuple(
            {side: tuple(composed(str(name)) for name in fold[side]) for side in ("train", "val")} for fold in content
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ()
