"""What the names of the files tell: images, labels and channels without each other, files nnU-Net stumbles over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scribble_conversion.checking.dataset import RawCase, RawDataset, image_pattern
from scribble_conversion.checking.finding import Finding, counted
from scribble_conversion.files import is_junk
from scribble_conversion.source import name_some

TIFF_ENDINGS = (".tif", ".tiff")
"""nnU-Net keeps the spacing of these in a JSON file beside them."""


def check_layout(dataset: RawDataset) -> Iterator[Finding]:
    """Compare the files that are there with those that nnU-Net will look for."""
    if not dataset.training:
        yield Finding(
            "error",
            "layout",
            f"{dataset.folder / 'imagesTr'} holds no images named like case_0000{dataset.file_ending}",
            "put the training images there, or correct file_ending in dataset.json",
        )
        return
    yield from _check_number(dataset)
    yield from _check_labels(dataset)
    for case in dataset.cases:
        yield from _check_images(dataset, case)
    if not isinstance(dataset.content.get("dataset"), dict):
        for folder in ("imagesTr", "labelsTr"):
            yield from _check_strays(dataset, dataset.folder / folder)
    yield from _check_strays(dataset, dataset.folder / "imagesTs")


def _check_number(dataset: RawDataset) -> Iterator[Finding]:
    declared, found = dataset.content.get("numTraining"), len(dataset.training)
    if declared != found:
        yield Finding(
            "error",
            "layout",
            f"dataset.json says numTraining {declared}, but there are {counted(found, 'training case')}",
            f"write {found} if none is missing",
        )


def _check_labels(dataset: RawDataset) -> Iterator[Finding]:
    bare = [case.identifier for case in dataset.training if case.label is None]
    if bare:
        yield Finding(
            "error",
            "orphan",
            f"{counted(len(bare), 'training image')} without a label in labelsTr ({name_some(bare)})",
            "add the labels, or take the images out",
            tuple(bare),
        )
    for folder, test in (("labelsTr", False), ("labelsTs", True)):
        known = {case.identifier for case in dataset.cases if case.test == test}
        orphans = [name for name in _label_names(dataset, folder) if name not in known]
        if orphans and not (isinstance(dataset.content.get("dataset"), dict) and not test):
            yield Finding(
                "error",
                "orphan",
                f"{counted(len(orphans), 'label')} in {folder} without an image ({name_some(orphans)})",
                f"add the images to {folder.replace('labels', 'images')}, or take the labels out",
                tuple(orphans),
            )


def _check_images(dataset: RawDataset, case: RawCase) -> Iterator[Finding]:
    """Channels named but not there; how many there have to be is known only after a file was opened."""
    missing = [path.name for path in case.images if not path.is_file()]
    if missing:
        yield Finding(
            "error",
            "channels",
            f"{case.identifier} is listed with {name_some(missing)}, not found",
            "add the files, or correct dataset.json",
            (case.identifier,),
        )


def _check_strays(dataset: RawDataset, folder: Path) -> Iterator[Finding]:
    """Files whose names nnU-Net misreads, or passes over."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    ending, place = dataset.file_ending, folder.name
    litter = [name for name in names if is_junk(name) and name.endswith(ending)]
    if litter:
        yield Finding(
            "error",
            "stray",
            f"{place} holds {counted(len(litter), 'hidden file')} that nnU-Net takes for data ({name_some(litter)})",
            "delete them",
        )
    visible = [name for name in names if not is_junk(name)]
    pattern = image_pattern(ending)
    wrong = [name for name in visible if name.endswith(ending) and not pattern.fullmatch(name)]
    if wrong and place != "labelsTr":
        yield Finding(
            "error",
            "stray",
            f"{place} holds {counted(len(wrong), 'file')} whose names lack the channel ({name_some(wrong)})",
            f"name images like case_0000{ending}",
        )
    aside = (".json",) if ending in TIFF_ENDINGS else ()
    passed = [name for name in visible if not name.endswith((ending, *aside))]
    if passed:
        yield Finding(
            "warning",
            "stray",
            f"{place} holds {counted(len(passed), 'file')} that nnU-Net passes over ({name_some(passed)})",
            f"convert them to {ending}, or move them elsewhere",
        )


def _label_names(dataset: RawDataset, folder: str) -> list[str]:
    path, ending = dataset.folder / folder, dataset.file_ending
    names = sorted(file.name for file in path.iterdir() if file.is_file()) if path.is_dir() else []
    return [name[: -len(ending)] for name in names if name.endswith(ending) and not is_junk(name)]
