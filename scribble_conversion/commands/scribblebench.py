"""``nnUNetv2_convert_scribbles scribblebench``, also called ``nnunet``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from scribble_conversion.commands.common import add_common, add_raw_dataset, options_of
from scribble_conversion.commands.help import add_command
from scribble_conversion.conversion import convert
from scribble_conversion.readers.converted import read_recorded
from scribble_conversion.readers.raw_source import preprocessed_folder
from scribble_conversion.readers.scribblebench import find_raw_dataset
from scribble_conversion.splits import RANDOM
from scribble_conversion.summary import summarise
from scribble_conversion.target import choose_target

EXAMPLE = "--data nnUNet_raw/Dataset201_KiTS -d 30 -n KiTSscribbles"


def add_parser(formats: Any) -> None:
    """Add the format to the sub-parsers of the command line."""
    parser = add_command(
        formats,
        "scribblebench",
        EXAMPLE,
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
    add_raw_dataset(parser)
    add_common(parser, default_name="Scribbles", default_split=RANDOM)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    options = options_of(args)
    choose_target(options.dataset_id, options.name, options.overwrite)  # tells mistakes before the long work
    found = find_raw_dataset(args.data, args.case_pattern, preprocessed_folder())
    source = read_recorded(found, args.unlabelled_value, args.np, "scribblebench", "--data")
    source = replace(source, notes=source.notes or ("note: nothing had to be repaired",))
    print(summarise(convert(source, options)))
