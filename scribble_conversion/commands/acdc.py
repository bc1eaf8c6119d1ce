"""``nnUNetv2_convert_scribbles acdc``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scribble_conversion.commands.common import add_common, options_of
from scribble_conversion.conversion import convert
from scribble_conversion.files import opened_folder
from scribble_conversion.readers.acdc import find_acdc
from scribble_conversion.summary import summarise


def add_parser(formats: Any) -> None:
    """Add the format to the sub-parsers of the command line."""
    parser = formats.add_parser(
        "acdc",
        help="ACDC images with the public expert scribbles",
        description="Convert ACDC images and the public expert scribbles (Valvano et al.).",
    )
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder 'training' of the ACDC download, its parent, or one flat folder with all files",
    )
    parser.add_argument(
        "--scribbles",
        type=Path,
        required=True,
        metavar="DIR_OR_ZIP",
        help="acdc_scribbles.zip as distributed, or the folder it unpacks to",
    )
    add_common(parser, default_name="ACDCscribbles")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    with opened_folder(args.scribbles, "--scribbles") as scribbles:
        print(summarise(convert(find_acdc(args.images, scribbles), options_of(args))))
