"""``nnUNetv2_convert_scribbles mscmr``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scribble_conversion.commands.common import add_common, options_of
from scribble_conversion.commands.help import add_command
from scribble_conversion.conversion import convert
from scribble_conversion.readers.mscmr import CLASSES, find_mscmr
from scribble_conversion.splits import OWN
from scribble_conversion.summary import summarise

EXAMPLE = "--data MSCMR_dataset -d 29"


def add_parser(formats: Any) -> None:
    """Add the format to the sub-parsers of the command line."""
    parser = add_command(
        formats,
        "mscmr",
        EXAMPLE,
        help="MSCMR images with the scribbles of CycleMix",
        description="Convert the MSCMR images and scribbles as CycleMix (Zhang and Zhuang) distributes them: train "
        "with scribbles, val with dense labels as the validation side of the one fold, TestSet held out.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder MSCMR_dataset (with train, val, TestSet) or the one it lies in",
    )
    parser.add_argument(
        "--labels",
        nargs=len(CLASSES),
        default=list(CLASSES),
        metavar="NAME",
        help=f"names of the codes 1, 2, 3 (default: {' '.join(CLASSES)}, as CycleMix's evaluation calls them)",
    )
    add_common(parser, default_name="MSCMRscribbles", default_split=OWN)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    print(summarise(convert(find_mscmr(args.data, args.labels), options_of(args))))
