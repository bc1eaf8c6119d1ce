"""``nnUNetv2_convert_scribbles acdc``."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scribble_conversion.commands.common import add_common, options_of
from scribble_conversion.commands.help import add_command
from scribble_conversion.conversion import convert
from scribble_conversion.files import opened_folder
from scribble_conversion.patients import PatientList
from scribble_conversion.readers.acdc import find_acdc
from scribble_conversion.readers.acdc_frames import ALL, other_frames, parse_most
from scribble_conversion.summary import summarise
from scribble_conversion.target import choose_target

EXAMPLE = "--images ACDC/training --scribbles acdc_scribbles.zip -d 27"


def add_parser(formats: Any) -> None:
    """Add the format to the sub-parsers of the command line."""
    parser = add_command(
        formats,
        "acdc",
        EXAMPLE,
        help="ACDC images with the public expert scribbles",
        description="Convert ACDC images and the public expert scribbles (Valvano et al.).",
    )
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder 'training' of the ACDC download, its parent ('testing' beside it is held out then), or one flat "
        "folder with all files",
    )
    parser.add_argument(
        "--test-images",
        type=Path,
        metavar="DIR",
        help="folder 'testing' of the ACDC download, held out as imagesTs and labelsTs, where it lies elsewhere "
        "(default: 'testing' beside 'training' if --images is their parent, else none)",
    )
    parser.add_argument(
        "--scribbles",
        type=Path,
        required=True,
        metavar="DIR_OR_ZIP",
        help="acdc_scribbles.zip as distributed, or the folder it unpacks to",
    )
    parser.add_argument(
        "--other-frames",
        metavar=f"N|{ALL}",
        help="train also with the images of the other frames in the 4D files, at most N per patient or all of them "
        "(default: none)",
    )
    add_common(parser, default_name="ACDCscribbles")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    options = options_of(args)
    with ExitStack() as temporary:
        scribbles = temporary.enter_context(opened_folder(args.scribbles, "--scribbles"))
        source = find_acdc(args.images, scribbles, args.test_images)
        if args.other_frames is not None:
            choose_target(options.dataset_id, options.name, options.overwrite)  # tells mistakes before the long work
            most, held_out = parse_most(args.other_frames), PatientList.parse(options.test_patients)
            frames = other_frames(source, args.images, most, held_out, options.processes)
            source = temporary.enter_context(frames)
        print(summarise(convert(source, options)))
