"""``nnUNetv2_convert_scribbles generate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scribble_conversion.commands.common import CASE_PATTERN_HELP, add_common
from scribble_conversion.commands.drawing import OWN_ELSE_RANDOM, add_drawing, axis_of, check_drawing, convert_drawn
from scribble_conversion.commands.help import add_command
from scribble_conversion.console import UserError
from scribble_conversion.drawing.slices import Pen
from scribble_conversion.drawing.volume import Plan
from scribble_conversion.generation import draw_scribbles
from scribble_conversion.readers.dense import find_dense_dataset, find_dense_folders
from scribble_conversion.source import Source

WIDEST = 30
"""Pixels."""

EXAMPLE = "--images imagesTr --labels labelsTr -d 32"


def add_parser(formats: Any) -> None:
    """Add the command to the sub-parsers of the command line."""
    parser = add_command(
        formats,
        "generate",
        EXAMPLE,
        help="draw scribbles from dense labels, as a person would draw them",
        description="Make a dataset with scribbles from one with dense labels. In every slice each structure gets a "
        "stroke in its inside, and the background a curve around the structures and strokes elsewhere. Give either "
        "--dataset, or --images and --labels.",
    )
    parser.add_argument(
        "--dataset",
        metavar="DIR_OR_ID",
        help="nnU-Net raw dataset, its folder or id; its labelsTr_dense is taken where there is one, else its "
        "labelsTr, as far as it is not scribbled (default: none)",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the images (default: none)")
    parser.add_argument("--labels", type=Path, metavar="DIR", help="folder of their dense labels (default: none)")
    parser.add_argument(
        "--image-pattern",
        default="",
        metavar="PATTERN",
        help="with --images: names such as {patient}_frame{case}_{channel}.nii.gz (default: {case}_0000 or {case})",
    )
    parser.add_argument(
        "--label-pattern",
        default="",
        metavar="PATTERN",
        help="likewise for the labels (default: {case}, or {case}_gt and the like)",
    )
    parser.add_argument("--case-pattern", default="", metavar="PATTERN", help=f"with --dataset: {CASE_PATTERN_HELP}")
    parser.add_argument(
        "--label-names",
        nargs="+",
        default=[],
        metavar="NAME",
        help="with --labels: names of the classes, in the order of their values (default: class_1, …)",
    )
    parser.add_argument(
        "--channel-names",
        nargs="+",
        default=[],
        metavar="NAME",
        help="with --images: names of the channels; nnU-Net treats one called CT differently (default: R G B for "
        "colour images, the texts of {channel} unless they are numbers, else image or channel_0, …)",
    )
    parser.add_argument(
        "--unlabelled-value",
        type=int,
        metavar="N",
        help="with --labels: value of voxels that belong to no class (default: 255 beside classes numbered from 1 on, "
        "else none; of a dataset, what its dataset.json calls ignore)",
    )
    add_drawing(parser, "length of the strokes, 1 for full length, 0.25 for a quarter of it (default: 1)", 1.0)
    pen = Pen()
    parser.add_argument(
        "--width",
        type=float,
        default=pen.width,
        metavar="PIXELS",
        help="width of the pen where the structures have room for it (default: %(default)g, as in the ACDC scribbles)",
    )
    parser.add_argument("--border", action="store_true", help="also draw along part of each structure's inner border")
    parser.add_argument(
        "--elsewhere",
        type=int,
        default=pen.elsewhere,
        metavar="N",
        help="background strokes per slice away from the structures, besides the curve around them (default: "
        "%(default)d)",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="K", help="scribble every K-th slice only (default: every slice)"
    )
    parser.add_argument(
        "--only-structures",
        action="store_true",
        help="leave slices without any structure unlabelled, but for cases without any at all",
    )
    add_common(parser, default_name="GeneratedScribbles", default_split=OWN_ELSE_RANDOM)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    check_drawing(args)
    plan = _plan(args)
    source = _source(args)
    axis, seed = axis_of(args, source), args.seed
    convert_drawn(args, source, lambda options, folder: draw_scribbles(source, options, plan, axis, seed, folder))


def _plan(args: argparse.Namespace) -> Plan:
    if not 1 <= args.width <= WIDEST:
        raise UserError(f"--width has to be 1 to {WIDEST} pixels, got {args.width:g}")
    for option, value, least in (("--every", args.every, 1), ("--elsewhere", args.elsewhere, 0)):
        if value < least:
            raise UserError(f"{option} has to be {least} or more, got {value}")
    pen = Pen(fraction=args.fraction, width=args.width, border=args.border, elsewhere=args.elsewhere)
    return Plan(pen=pen, every=args.every, empty_slices=not args.only_structures)


def _source(args: argparse.Namespace) -> Source:
    folders = args.images is not None and args.labels is not None
    if folders == (args.dataset is not None) or (args.images is None) != (args.labels is None):
        raise UserError("give either --dataset, or both --images and --labels")
    of_other = ("case_pattern",) if folders else ("image_pattern", "label_pattern", "label_names", "channel_names")
    for name in (*of_other, *(() if folders else ("unlabelled_value",))):
        if getattr(args, name) not in (None, "", []):
            option, belongs = f"--{name.replace('_', '-')}", "--dataset" if folders else "--images and --labels"
            cure = "; patients are told by {patient} in --image-pattern" if folders else ""
            raise UserError(f"{option} goes with {belongs}, leave it out{cure}")
    if not folders:
        return find_dense_dataset(args.dataset, args.case_pattern, args.np)
    patterns = (args.image_pattern, args.label_pattern)
    names = args.label_names, args.channel_names
    return find_dense_folders(args.images, args.labels, patterns, *names, args.unlabelled_value, args.np)
