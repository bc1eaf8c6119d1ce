"""``nnUNetv2_convert_scribbles scribblebench``, also called ``nnunet``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from nnunetv2.imageio.reader_writer_registry import LIST_OF_IO_CLASSES

from scribble_conversion.commands.common import add_common, options_of
from scribble_conversion.conversion import convert
from scribble_conversion.formats import natural
from scribble_conversion.readers.scribblebench import RawDataset, find_raw_dataset
from scribble_conversion.repair import RepairedLabels, repair_labels
from scribble_conversion.scan import integer_values, scan_labels
from scribble_conversion.source import Source
from scribble_conversion.splits import RANDOM
from scribble_conversion.summary import summarise
from scribble_conversion.target import choose_target

_PREPROCESSED = "nnUNet_preprocessed"


def add_parser(formats: Any) -> None:
    """Add the format to the sub-parsers of the command line."""
    parser = formats.add_parser(
        "scribblebench",
        aliases=["nnunet"],
        help="an nnU-Net raw dataset with scribbles, such as ScribbleBench's, whose ignore label has to be put right",
        description="Make a new dataset from an nnU-Net raw dataset with scribbles in labelsTr: unlabelled voxels "
        "become the ignore label, all others consecutive, and dataset.json is written to fit. The dataset given stays "
        "as it is.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="dataset folder with imagesTr and labelsTr, and labelsTr_dense, imagesTs, labelsTs where there are any",
    )
    parser.add_argument(
        "--unlabelled-value",
        type=int,
        metavar="N",
        help="the value of unlabelled voxels in labelsTr (default: the highest that occurs there)",
    )
    parser.add_argument(
        "--case-pattern",
        default="",
        metavar="PATTERN",
        help="how the cases are named, so that splits go by patient, e.g. {patient}_{case} (default: "
        "{patient}_frame{case} if all are named so, else every case is a patient)",
    )
    add_common(parser, default_name="Scribbles", default_split=RANDOM)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    options = options_of(args)
    choose_target(options.dataset_id, options.name, options.overwrite)  # tells mistakes before the long work
    preprocessed = os.environ.get(_PREPROCESSED)
    found = find_raw_dataset(args.data, args.case_pattern, Path(preprocessed) if preprocessed else None)
    scanned = scan_labels([*found.scribble_files, *found.dense_files], args.np)
    scribbles, dense = (
        integer_values({file: scanned[file] for file in files}) for files in (found.scribble_files, found.dense_files)
    )
    repaired = repair_labels(found.declared, scribbles, dense, args.unlabelled_value)
    print(summarise(convert(_source(found, repaired), options)))


def _source(found: RawDataset, repaired: RepairedLabels) -> Source:
    channel_names, channel_notes = _channel_names(found)
    notes = (*found.notes, *repaired.notes, *channel_notes)
    return Source(
        format="scribblebench",
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
        notes=tuple(f"note: {note}" for note in notes or ("nothing had to be repaired",)),
        image_option="--data (imagesTr)",
        scribble_option="--data (labelsTr)",
    )


def _channel_names(found: RawDataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The channel names declared, and what had to be done about them."""
    declared: Any = found.declared.get("channel_names", found.declared.get("modality"))
    try:
        names = tuple(str(declared[key]) for key in sorted(declared, key=int))
    except (TypeError, ValueError, KeyError):
        return (), ("dataset.json had no channel names and got some",) if found.declared else ()
    if len(names) == found.channels or found.file_ending in natural.ENDINGS:  # colours count as several channels
        return names, ()
    kept = (*names[: found.channels], *(f"channel_{index}" for index in range(len(names), found.channels)))
    return kept, (f"dataset.json named {len(names)} channels, the images have {found.channels}: {', '.join(kept)}",)


def _reader_writer(found: RawDataset) -> str:
    """nnU-Net's reader as declared, if it is one of nnU-Net's and reads these files."""
    name = found.declared.get("overwrite_image_reader_writer", "")
    classes = {io.__name__: io for io in LIST_OF_IO_CLASSES}
    return name if name in classes and found.file_ending in classes[name].supported_file_endings else ""
