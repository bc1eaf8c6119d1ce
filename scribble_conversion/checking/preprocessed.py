"""Whether what nnU-Net preprocessed is still what lies in the raw dataset."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from scribble_conversion.checking.dataset import RawCase, RawDataset
from scribble_conversion.checking.finding import Finding, counted
from scribble_conversion.checking.volumes import Reader, read
from scribble_conversion.console import UserError
from scribble_conversion.recorded import recorded
from scribble_conversion.source import name_some

_COPIES = "gt_segmentations"
_DECISIVE = ("labels", "channel_names", "file_ending", "regions_class_order")
"""What nnU-Net preprocesses and trains by; descriptions may change."""
_PLANS, _CONFIGURATIONS = "nnUNetPlans", ("2d", "3d_fullres", "3d_lowres")
"""What ``nnUNetv2_plan_and_preprocess`` preprocesses unless told otherwise."""


def check_preprocessed(dataset: RawDataset, reader: Reader) -> Iterator[Finding]:
    """Compare what nnU-Net preprocessed, its copies of the labels and of ``dataset.json`` with the raw dataset.

    The times of files only hint: they decide nothing but a warning, and only for images, of which there is no copy.
    """
    folder = dataset.preprocessed
    if folder is None:
        return
    again = f"run nnUNetv2_plan_and_preprocess -d {dataset.handle} --clean"
    yield from _check_declarations(dataset, folder, again)
    yield from _check_copies(dataset, folder, reader, again)
    yield from _check_data(dataset, folder, again)


def _check_copies(dataset: RawDataset, folder: Path, reader: Reader, again: str) -> Iterator[Finding]:
    copies = folder / _COPIES
    if not copies.is_dir():
        return
    made = _times_made(folder)
    changed, missing, newer = [], [], []
    for case in dataset.training:
        if case.label is None:
            continue
        copy = copies / f"{case.identifier}{dataset.file_ending}"
        if not copy.is_file():
            missing.append(case.identifier)
        elif not _same_label(case.label, copy, reader):
            changed.append(case.identifier)
        elif _images_newer(case, made.get(case.identifier, inf)):
            newer.append(case.identifier)
    for cases, what, cure in (
        # nnU-Net does not replace a copy that is newer than the label, say one put there with its old time
        (changed, "preprocessed before the label changed", f"delete {copies} and {again}"),
        (missing, "not in what nnU-Net preprocessed", again),
    ):
        if cases:
            text = f"{counted(len(cases), 'case')} {what} ({name_some(cases)})"
            yield Finding("error", "preprocessed", text, cure, tuple(cases))
    if newer:
        yield Finding(
            "warning",
            "preprocessed",
            f"the images of {counted(len(newer), 'case')} are newer than what nnU-Net preprocessed from them "
            f"({name_some(newer)})",
            f"{again} if they changed",
            tuple(newer),
        )


def _check_data(dataset: RawDataset, folder: Path, again: str) -> Iterator[Finding]:
    """Cases that nnU-Net would train with although they are no longer there, and those that it will not find.

    Only data folders count, which preprocessing removes and writes anew. To the copies of the labels nnU-Net only ever
    adds; what is left over there is harmless, because validation, ``find_best_configuration`` and
    ``determine_postprocessing`` look up the labels of the predictions there are, and no others.
    """
    known = {case.identifier for case in dataset.training}
    copies = folder / _COPIES
    copied = {name for name in known if not copies.is_dir() or (copies / f"{name}{dataset.file_ending}").is_file()}
    gone: dict[str, set[str]] = {}
    lacking: dict[str, set[str]] = {}
    for plans, configuration, data in _data_folders(folder):
        default = plans == _PLANS and configuration in _CONFIGURATIONS
        cure = (
            again if default else f"run nnUNetv2_preprocess -d {dataset.handle} -plans_name {plans} -c {configuration}"
        )
        there = {path.stem for path in data.glob("*.pkl")}
        gone.setdefault(cure, set()).update(there - known)
        if there:  # what has no copy either is told already
            lacking.setdefault(cure, set()).update(copied - there)
    for by_cure, what in ((gone, "preprocessed, but no longer in imagesTr"), (lacking, "not preprocessed to the end")):
        for cure, cases in by_cure.items():
            if cases:
                text = f"{counted(len(cases), 'case')} {what} ({name_some(cases)})"
                yield Finding("error", "preprocessed", text, cure, tuple(sorted(cases)))


def _data_folders(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Plans, configuration and data folder, each folder once: nnU-Net's default plans come first.

    Folders that no plans name any more are left out: nobody trains from them, and no preprocessing removes them.
    """
    seen = set()
    for file in sorted(folder.glob("*.json"), key=lambda path: (path.stem != _PLANS, path.stem)):
        for name, configuration in _configurations(file).items():
            data = configuration.get("data_identifier") if isinstance(configuration, dict) else None
            if isinstance(data, str) and data not in seen:  # what inherits it has the same folder
                seen.add(data)
                yield file.stem, name, folder / data


def _configurations(file: Path) -> dict[str, Any]:
    """Those of a plans file; none of another file."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["configurations"]
    except (OSError, ValueError, KeyError, TypeError):  # a damaged plan is told where resampling is tried
        return {}
    return found if isinstance(found, dict) else {}


def _check_declarations(dataset: RawDataset, folder: Path, again: str) -> Iterator[Finding]:
    copy = folder / "dataset.json"
    if not copy.is_file():
        return
    try:
        content = json.loads(copy.read_text(encoding="utf-8"))
        different = [key for key in _DECISIVE if content.get(key) != dataset.content.get(key)]
        if recorded(content, "supervision") != recorded(dataset.content, "supervision"):
            different.append("scribbles.supervision")
    except (OSError, ValueError, AttributeError):
        yield Finding("error", "preprocessed", f"{copy} is damaged", again)
        return
    if different:
        yield Finding(
            "error",
            "preprocessed",
            f"dataset.json was preprocessed with other {' and '.join(different)} than it declares now",
            again,
        )


def _same_label(label: Path, copy: Path, reader: Reader) -> bool:
    """Whether two files hold the same label; files of other bytes may, when one was saved again."""
    if filecmp.cmp(label, copy, shallow=False):
        return True
    try:
        return np.array_equal(read(label, reader).array, read(copy, reader).array)
    except UserError:
        return False


def _times_made(folder: Path) -> dict[str, float]:
    """When the oldest file that was preprocessed from each case was written; of all at once, for there are many."""
    made: dict[str, float] = {}
    for path in folder.glob("*/*"):
        if path.parent.name != _COPIES and path.is_file():
            made[path.stem] = min(made.get(path.stem, inf), path.stat().st_mtime)
    return made


def _images_newer(case: RawCase, made: float) -> bool:
    """Whether an image was written after that."""
    return any(path.stat().st_mtime > made for path in case.images if path.is_file())
