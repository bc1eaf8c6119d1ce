"""An nnU-Net raw dataset as found on disk, whoever made it; no image is opened here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from scribble_conversion.console import UserError
from scribble_conversion.files import PREPROCESSED, RAW, is_junk
from scribble_conversion.planes import noted_axis
from scribble_conversion.recorded import scribble_notes
from scribble_conversion.source import IGNORE_NAME, Supervision

DENSE_FOLDER = "labelsTr_dense"
_REQUIRED = ("labels", "file_ending")


@dataclass(frozen=True)
class RawCase:
    """The files of one case.

    Attributes:
        identifier: its name in nnU-Net.
        images: its image files, ordered by channel.
        label: its file in ``labelsTr`` (or ``labelsTs``), None where there is none.
        dense: its dense reference in ``labelsTr_dense``, None where there is none.
        supervision: what its label is, as far as ``dataset.json`` says.
        test: whether it lies in ``imagesTs``.
        listed: whether ``dataset.json`` lists its files, which then may have any name.
    """

    identifier: str
    images: tuple[Path, ...]
    label: Path | None
    dense: Path | None = None
    supervision: Supervision = "scribble"
    test: bool = False
    listed: bool = False


@dataclass(frozen=True)
class RawDataset:
    """A dataset.

    Attributes:
        folder: where it lies.
        content: ``dataset.json``.
        labels: name to the integers it stands for, ``ignore`` left out; more than one integer for a region.
        ignore: the integer declared for unlabelled voxels, None where none is.
        channels: how many channels are declared.
        file_ending: of images and labels, e.g. ``.nii.gz``.
        cases: training cases, then test cases, each ordered by name.
        preprocessed: its folder in ``nnUNet_preprocessed``, None where that is not known or not there.
    """

    folder: Path
    content: Mapping[str, Any]
    labels: Mapping[str, tuple[int, ...]]
    ignore: int | None
    channels: int
    file_ending: str
    cases: tuple[RawCase, ...]
    preprocessed: Path | None

    @property
    def name(self) -> str:
        """The name of the dataset's folder."""
        return self.folder.name

    @property
    def handle(self) -> str:
        """What to give nnU-Net with ``-d``."""
        match = re.match(r"Dataset(\d{3})_", self.name)
        return str(int(match[1])) if match else self.name

    @property
    def training(self) -> tuple[RawCase, ...]:
        """The cases in ``imagesTr``."""
        return tuple(case for case in self.cases if not case.test)

    @property
    def values(self) -> dict[int, str]:
        """Integer to what it is called, ``ignore`` left out."""
        return names_of(self.labels)

    @property
    def axis(self) -> int | None:
        """The array axis across the slices as noted when scribbles were drawn; None for each image's own."""
        drawing = scribble_notes(self.content).get("drawing")
        return noted_axis(drawing) if isinstance(drawing, dict) else None

    @property
    def number_of_values(self) -> int:
        """One more than the highest integer declared."""
        return max([*self.values, self.ignore or 0]) + 1


def open_dataset(text: str) -> RawDataset:
    """Find a dataset and its cases.

    Args:
        text: its number, its name, or its folder.

    Returns:
        The dataset; what is wrong with it is for the checks to say, as long as ``dataset.json`` can be made sense of.

    Raises:
        UserError: if there is no such dataset, or its ``dataset.json`` is missing, damaged or without labels.
    """
    folder = _find_folder(text)
    content = _read_json(folder / "dataset.json")
    for key in _REQUIRED:
        if key not in content:
            raise UserError(f"{folder / 'dataset.json'} lacks '{key}'; write it as nnU-Net documents it")
    ending = content["file_ending"]
    if not isinstance(ending, str) or not ending.startswith("."):
        raise UserError(f"{folder / 'dataset.json'} has the file_ending '{ending}'; write e.g. '.nii.gz'")
    labels, ignore = _read_labels(content["labels"], folder / "dataset.json")
    channels = content.get("channel_names", content.get("modality", {}))
    if not isinstance(channels, (dict, list)) or not channels:
        raise UserError(f"{folder / 'dataset.json'} names no channels; write channel_names as nnU-Net documents it")
    return RawDataset(
        folder=folder,
        content=content,
        labels=labels,
        ignore=ignore,
        channels=len(channels),
        file_ending=ending,
        cases=(*_training_cases(folder, content, ending), *_test_cases(folder, ending)),
        preprocessed=_find_preprocessed(folder),
    )


def names_of(labels: Mapping[str, Iterable[int]]) -> dict[int, str]:
    """Integer to what it is called; an integer of several regions is called by all of their names."""
    names: dict[int, list[str]] = {}
    for name, integers in labels.items():
        for integer in integers:
            names.setdefault(integer, []).append(name)
    return {integer: " + ".join(names[integer]) for integer in sorted(names)}


def image_pattern(ending: str) -> re.Pattern[str]:
    """What an image file is called: the case, the channel, the ending."""
    return re.compile(rf"(?P<case>.+)_(?P<channel>\d{{4}}){re.escape(ending)}", re.DOTALL)


def _find_folder(text: str) -> Path:
    if not text.isdecimal() and (Path(text) / "dataset.json").is_file():
        return Path(text).absolute()
    root = os.environ.get(RAW)
    if not root:
        raise UserError(
            f"the environment variable nnUNet_raw is not set, so '{text}' cannot be looked up; "
            "set it, or give the folder of the dataset"
        )
    pattern = f"Dataset{int(text):03d}_*" if text.isdecimal() else None
    found = sorted(path for path in Path(root).glob(pattern) if path.is_dir()) if pattern else [Path(root) / text]
    if len(found) > 1:
        raise UserError(
            f"{root} holds more than one dataset {text} ({', '.join(path.name for path in found)}); "
            "rename one of them, or give the folder"
        )
    if not found or not (found[0] / "dataset.json").is_file():
        where = found[0] if found and found[0].is_dir() else f"'{text}'" if not pattern else f"{root}/{pattern}"
        raise UserError(
            f"{where} is no nnU-Net raw dataset (a folder with a dataset.json); "
            "give the number, the name or the folder of one"
        )
    return found[0]


def _find_preprocessed(folder: Path) -> Path | None:
    """What nnU-Net made of this very folder; a copy elsewhere of a dataset has no part in it."""
    raw, root = os.environ.get(RAW), os.environ.get(PREPROCESSED)
    if not root or (raw and Path(raw).resolve() != folder.parent.resolve()):
        return None
    preprocessed = Path(root) / folder.name
    return preprocessed if preprocessed.is_dir() else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except ValueError as error:  # JSON or UTF-8
        raise UserError(f"{path} is no valid JSON ({error}); correct it") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} has to hold a JSON object; write it as nnU-Net documents it")
    return content


def _read_labels(declared: object, path: Path) -> tuple[dict[str, tuple[int, ...]], int | None]:
    """The labels, and the integer of ``ignore``; strings are taken as the integers they spell, as nnU-Net does."""
    problem = f'{path} has to declare labels like {{"background": 0, "tumour": 1, "{IGNORE_NAME}": 2}}'
    if not isinstance(declared, dict) or not declared:
        raise UserError(f"{problem}; correct it")
    try:
        labels = {
            str(name): tuple(int(value) for value in (values if isinstance(values, list) else [values]))
            for name, values in declared.items()
        }
    except (TypeError, ValueError) as error:
        raise UserError(f"{problem} ({error}); correct it") from error
    ignore = labels.pop(IGNORE_NAME, None)
    integers = [*(integer for values in labels.values() for integer in values), *(ignore or ())]
    if not labels or (ignore is not None and len(ignore) != 1) or not all(0 <= value <= 65535 for value in integers):
        raise UserError(f"{problem}; correct it")
    return labels, ignore[0] if ignore is not None else None


def _training_cases(folder: Path, content: Mapping[str, Any], ending: str) -> list[RawCase]:
    dense_folder = folder / (scribble_notes(content).get("dense_labels") or DENSE_FOLDER)
    supervision = scribble_notes(content).get("supervision")
    kinds = supervision if isinstance(supervision, dict) else {}
    if isinstance(content.get("dataset"), dict):
        files = {str(name): _listed(folder, entry) for name, entry in content["dataset"].items()}
    else:
        files = {
            name: (images, folder / "labelsTr" / f"{name}{ending}")
            for name, images in _group_images(folder / "imagesTr", ending).items()
        }
    cases = []
    for name in sorted(files):
        images, label = files[name]
        kind = kinds.get(name, "scribble")
        cases.append(
            RawCase(
                identifier=name,
                images=images,
                label=label if label.is_file() else None,
                dense=_existing(dense_folder / f"{name}{ending}"),
                supervision=kind if kind in get_args(Supervision) else "scribble",
                listed=isinstance(content.get("dataset"), dict),
            )
        )
    return cases


def _test_cases(folder: Path, ending: str) -> list[RawCase]:
    return [
        RawCase(name, images, _existing(folder / "labelsTs" / f"{name}{ending}"), test=True)
        for name, images in sorted(_group_images(folder / "imagesTs", ending).items())
    ]


def _group_images(folder: Path, ending: str) -> dict[str, tuple[Path, ...]]:
    """The image files of each case, ordered by channel."""
    pattern = image_pattern(ending)
    grouped: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match and not is_junk(path.name):
            grouped.setdefault(match["case"], []).append(path)
    return {name: tuple(paths) for name, paths in grouped.items()}


def _listed(folder: Path, entry: Any) -> tuple[tuple[Path, ...], Path]:
    """The files of a case that ``dataset.json`` lists under ``dataset``; relative paths start at the dataset."""
    try:
        images = tuple(folder / os.path.expandvars(path) for path in entry["images"])
        return images, folder / os.path.expandvars(entry["label"])
    except (TypeError, KeyError) as error:
        raise UserError(
            f'{folder / "dataset.json"} lists a case under "dataset" without its images or label; correct it'
        ) from error


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
