"""Whether what nnU-Net preprocessed is still what lies in the raw dataset."""

from __future__ import annotations

import filecmp
import glob
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scribble_conversion.checking.dataset import RawCase, RawDataset
from scribble_conversion.checking.finding import Finding, counted
from scribble_conversion.checking.volumes import Reader, read
from scribble_conversion.console import UserError
from scribble_conversion.source import name_some

_COPIES = "gt_segmentations"
_DECISIVE = ("labels", "channel_names", "file_ending", "regions_class_order")
"""What nnU-Net preprocesses and trains by; descriptions may change."""


def check_preprocessed(dataset: RawDataset, reader: Reader) -> Iterator[Finding]:
    """Compare nnU-Net's copies of the labels and of ``dataset.json`` with the raw dataset.

    The times of files only hint: they decide nothing but a warning, and only for images, of which there is no copy.
    """
    folder = dataset.preprocessed
    if folder is None:
        return
    again = f"run nnUNetv2_plan_and_preprocess -d {dataset.handle} --clean"
    yield from _check_declarations(dataset, folder, again)
    copies = folder / _COPIES
    if not copies.is_dir():
        return
    changed, missing, newer = [], [], []
    for case in dataset.training:
        if case.label is None:
            continue
        copy = copies / f"{case.identifier}{dataset.file_ending}"
        if not copy.is_file():
            missing.append(case.identifier)
        elif not _same_label(case.label, copy, reader):
            changed.append(case.identifier)
        elif _images_newer(case, folder):
            newer.append(case.identifier)
    known = {case.identifier for case in dataset.training}
    ending = dataset.file_ending
    gone = sorted(path.name[: -len(ending)] for path in copies.iterdir() if path.name.endswith(ending))
    gone = [name for name in gone if name not in known]
    for cases, what in (
        (changed, "preprocessed before the label changed"),
        (missing, "not in what nnU-Net preprocessed"),
        (gone, "preprocessed, but no longer in imagesTr"),
    ):
        if cases:
            text = f"{counted(len(cases), 'case')} {what} ({name_some(cases)})"
            yield Finding("error", "preprocessed", text, again, tuple(cases))
    if newer:
        yield Finding(
            "warning",
            "preprocessed",
            f"the images of {counted(len(newer), 'case')} are newer than what nnU-Net preprocessed from them "
            f"({name_some(newer)})",
            f"{again} if they changed",
            tuple(newer),
        )


def _check_declarations(dataset: RawDataset, folder: Path, again: str) -> Iterator[Finding]:
    copy = folder / "dataset.json"
    if not copy.is_file():
        return
    try:
        content = json.loads(copy.read_text(encoding="utf-8"))
        different = [key for key in _DECISIVE if content.get(key) != dataset.content.get(key)]
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


def _images_newer(case: RawCase, folder: Path) -> bool:
    """Whether an image was written after the oldest file that was preprocessed from it."""
    files = [path for path in folder.glob(f"*/{glob.escape(case.identifier)}.*") if path.parent.name != _COPIES]
    made = [path.stat().st_mtime for path in files]
    images = [path.stat().st_mtime for path in case.images if path.is_file()]
    return bool(made and images) and max(images) > min(made)
