"""``nnUNetv2_convert_scribbles nifti``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scribble_conversion.codes import Codes, declare_codes, parse_label_map
from scribble_conversion.commands.common import add_common, options_of
from scribble_conversion.commands.help import add_command
from scribble_conversion.conversion import convert
from scribble_conversion.readers.nifti import (
    LABEL_SUFFIXES,
    Pairs,
    dense_folder,
    find_pairs,
    image_folder,
    scribble_folder,
)
from scribble_conversion.scan import scan_labels
from scribble_conversion.source import Source
from scribble_conversion.splits import RANDOM
from scribble_conversion.summary import summarise
from scribble_conversion.target import choose_target

EXAMPLE = "--images images --scribbles scribbles --unlabelled-value 4 -d 31 -n Mine"


def add_parser(formats: Any) -> None:
    """Add the format to the sub-parsers of the command line."""
    parser = add_command(
        formats,
        "nifti",
        EXAMPLE,
        help="any two folders of images and scribbles: NIfTI, NRRD, MetaImage, GIPL, PNG, BMP, TIFF",
        description="Convert images and scribbles from any two folders, matched by their names. Patterns have the "
        "fields {case}, {channel} (several files per case) and {patient} (splits keep the cases of a patient together; "
        "without it every case is a patient, unless there is no --image-pattern and it is named like ACDC's, "
        "{patient}_frame{case} or patientN_{case}). The part of the name from the first to the last of {patient} and "
        "{case} names the case and has to be the same on both sides. A pattern without an ending fits every known one, "
        "a pattern with a slash is held against the path below the folder.",
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the images")
    parser.add_argument("--scribbles", type=Path, required=True, metavar="DIR", help="folder of the scribbles")
    parser.add_argument("--dense", type=Path, metavar="DIR", help="folder of dense labels (default: none)")
    parser.add_argument(
        "--image-pattern",
        default="",
        metavar="PATTERN",
        help="e.g. {case}_{channel}.nii.gz or {patient}_frame{case}.png (default: {case}_0000 with nnU-Net's channel "
        "numbers, or {case}, whichever matches more)",
    )
    suffixes = ", ".join(f"{{case}}{suffix}" for suffix in LABEL_SUFFIXES)
    parser.add_argument(
        "--scribble-pattern",
        default="",
        metavar="PATTERN",
        help=f"e.g. {{case}}_scribble.nii.gz (default: {suffixes} or {{case}}, whichever matches most)",
    )
    parser.add_argument(
        "--dense-pattern", default="", metavar="PATTERN", help="the same for the dense labels (default: the same)"
    )
    parser.add_argument(
        "--unlabelled-value",
        type=int,
        metavar="N",
        help="the value of unlabelled voxels in the scribbles; needed unless one is recognised (default: what the "
        "label map leads to ignore, else 255 if it occurs)",
    )
    parser.add_argument(
        "--label-map",
        metavar="MAP",
        help="codes in the files to consecutive integers, e.g. 200:1,500:2,3000:ignore; 0 is background unless it is "
        "mapped or the unlabelled value; floats near a code, like 499.977, count as it then (default: the codes as "
        "they are)",
    )
    parser.add_argument(
        "--dense-label-map", metavar="MAP", help="the same for the dense labels (default: the map of the scribbles)"
    )
    parser.add_argument(
        "--labels", nargs="+", default=[], metavar="NAME", help="names of the classes from 1 on (default: class_1, …)"
    )
    parser.add_argument(
        "--channel-names",
        nargs="+",
        default=[],
        metavar="NAME",
        help="names of the channels; nnU-Net normalises a channel called CT differently (default: R G B for colour "
        "images, the texts of {channel} unless they are numbers, else image or channel_0, …)",
    )
    add_common(parser, default_name="Scribbles", default_split=RANDOM)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    options = options_of(args)
    choose_target(options.dataset_id, options.name, options.overwrite)  # tells mistakes before the long work
    pairs = find_pairs(
        image_folder(args.images, args.image_pattern),
        scribble_folder(args.scribbles, args.scribble_pattern),
        dense_folder(args.dense, args.dense_pattern) if args.dense else None,
        args.channel_names,
    )
    files = [case.scribble for case in pairs.cases if case.scribble is not None]
    codes = declare_codes(
        label_map=parse_label_map(args.label_map, "--label-map") if args.label_map is not None else None,
        dense_map=parse_label_map(args.dense_label_map, "--dense-label-map")
        if args.dense_label_map is not None
        else None,
        unlabelled=args.unlabelled_value,
        names=args.labels,
        scan=lambda: scan_labels(files, args.np),
        has_dense=args.dense is not None,
    )
    print(summarise(convert(_source(pairs, codes, args.channel_names), options)))


def _source(pairs: Pairs, codes: Codes, channel_names: list[str]) -> Source:
    told = () if all(channel.isdecimal() or not channel for channel in pairs.channels) else pairs.channels
    return Source(
        format="nifti",
        cases=pairs.cases,
        channel_names=tuple(channel_names) or told,
        labels=codes.labels,
        scribble_codes=codes.scribbles,
        dense_codes=codes.dense,
        file_ending=pairs.file_ending,
        explicit_codes=codes.explicit,
        notes=(
            *(f"note: {note}" for note in (*pairs.notes, *codes.notes)),
            *pairs.left_out,
        ),
    )
