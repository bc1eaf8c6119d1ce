"""From an nnU-Net raw dataset as found to what the writer takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2.imageio.reader_writer_registry import LIST_OF_IO_CLASSES

from scribble_conversion.console import UserError
from scribble_conversion.files import PREPROCESSED, RAW
from scribble_conversion.formats import natural
from scribble_conversion.readers.scribblebench import RawDataset
from scribble_conversion.repair import RepairedLabels, declared_labels
from scribble_conversion.source import Source


def folder_of_dataset(given: str, option: str) -> Path:
    """Find a raw dataset by its folder or its id.

    Args:
        given: a folder, or an id such as ``127`` of a dataset in ``nnUNet_raw``.
        option: where it was given, for messages.

    Returns:
        The folder.

    Raises:
        UserError: if there is no such folder, or not exactly one dataset of that id.
    """
    if not given.isdecimal() or Path(given).is_dir():
        return Path(given)
    raw = os.environ.get(RAW)
    if not raw:
        raise UserError(
            f"to find dataset {given}, set the environment variable nnUNet_raw, or give a folder with {option}"
        )
    found = [path for path in sorted(Path(raw).glob(f"Dataset{int(given):03d}_*")) if path.is_dir()]
    if len(found) != 1:
        told = f"{len(found)} datasets" if found else "no dataset"
        raise UserError(f"{raw} has {told} of the id {given}; give the dataset's folder with {option}")
    return found[0]


def preprocessed_folder() -> Path | None:
    """nnU-Net's folder of preprocessed datasets, None where it is not set."""
    value = os.environ.get(PREPROCESSED)
    return Path(value) if value else None


def declared_ignore(declared: Mapping[str, Any]) -> int | None:
    """The value that a ``dataset.json`` declares as ignored, None where it declares none."""
    labels, called = declared_labels(declared.get("labels"), [])
    return None if called is None else labels[called][0]


def source_of(found: RawDataset, repaired: RepairedLabels, format_name: str, option: str) -> Source:
    """Put together what the files and ``dataset.json`` say.

    Args:
        found: the files.
        repaired: their labels.
        format_name: recorded in ``dataset.json``.
        option: the command line option that named the dataset, for messages.
    """
    channel_names, channel_notes = _channel_names(found)
    return Source(
        format=format_name,
        cases=found.cases,
        channel_names=channel_names,
        labels=repaired.labels,
        scribble_codes=repaired.scribbles,
        dense_codes=repaired.dense,
        description=str(found.declared.get("description", "")),
        reference=str(found.declared.get("reference", "")),
        licence=str(found.declared.get("licence", found.declared.get("license", ""))),
        file_ending=found.file_ending,
        regions_class_order=repaired.regions_class_order,
        reader_writer=_reader_writer(found),
        folds=found.folds,
        notes=tuple(f"note: {note}" for note in (*found.notes, *repaired.notes, *channel_notes)),
        image_option=f"{option} (imagesTr)",
        scribble_option=f"{option} (labelsTr)",
    )


def _channel_names(found: RawDataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The channel names declared, and what had to be done about them."""
    declared: Any = found.declared.get("channel_names", found.declared.get("modality"))
    if isinstance(declared, list):
        declared = dict(enumerate(declared))
    try:
        names = tuple(str(declared[key]) for key in sorted(declared, key=int))
    except (TypeError, ValueError, KeyError):
        what = "had no channel names" if declared is None else f"had unreadable channel names ({declared})"
        return (), (f"dataset.json {what} and got some",) if found.declared else ()
    if len(names) == found.channels or found.file_ending in natural.ENDINGS:  # colours count as several channels
        return names, ()
    kept = (*names[: found.channels], *(f"channel_{index}" for index in range(len(names), found.channels)))
    return kept, (f"dataset.json named {len(names)} channels, the images have {found.channels}: {', '.join(kept)}",)


def _reader_writer(found: RawDataset) -> str:
    """nnU-Net's reader as declared, if it is one of nnU-Net's and reads these files."""
    name = found.declared.get("overwrite_image_reader_writer", "")
    classes = {io.__name__: io for io in LIST_OF_IO_CLASSES}
    return name if name in classes and found.file_ending in classes[name].supported_file_endings else ""
