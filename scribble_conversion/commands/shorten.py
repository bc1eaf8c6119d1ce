"""``nnUNetv2_convert_scribbles shorten``."""

from __future__ import annotations

import argparse
from typing import Any

from scribble_conversion.commands.common import add_common, add_raw_dataset
from scribble_conversion.commands.drawing import (
    AUTO,
    OWN_ELSE_RANDOM,
    add_drawing,
    axis_of,
    check_drawing,
    convert_drawn,
)
from scribble_conversion.commands.help import add_command
from scribble_conversion.generation import Shortening, shorten_scribbles
from scribble_conversion.readers.converted import find_converted

EXAMPLE = "--dataset 27 --fraction 0.25 -d 33"


def add_parser(formats: Any) -> None:
    """Add the command to the sub-parsers of the command line."""
    parser = add_command(
        formats,
        "shorten",
        EXAMPLE,
        help="shorten the scribbles of a dataset",
        description="Make a dataset with shorter scribbles from an nnU-Net raw dataset with scribbles: of every "
        "stroke, slice by slice, one contiguous piece is kept at full width. Dense labels, test set and split are "
        "carried over.",
    )
    parser.add_argument(
        "--dataset", required=True, metavar="DIR_OR_ID", help="nnU-Net raw dataset with scribbles, its folder or id"
    )
    add_raw_dataset(parser, "what dataset.json calls ignore, else the highest that occurs there")
    axis = f"the one by which the scribbles were drawn where dataset.json records it, else {AUTO}"
    add_drawing(parser, "how much of each stroke is kept, e.g. 0.25 for a quarter of its length", None, axis)
    add_common(parser, default_name="ShortenedScribbles", default_split=OWN_ELSE_RANDOM)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    check_drawing(args)
    source = find_converted(args.dataset, args.case_pattern, args.unlabelled_value, args.np)
    how, axis = Shortening(args.fraction), axis_of(args, source)
    convert_drawn(
        args, source, lambda options, folder: shorten_scribbles(source, options, how, axis, args.seed, folder)
    )
