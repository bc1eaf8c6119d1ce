"""Options that the commands which draw or shorten scribbles share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from scribble_conversion.commands.common import options_of
from scribble_conversion.console import UserError
from scribble_conversion.conversion import Options, convert
from scribble_conversion.files import temporary_folder
from scribble_conversion.picture import check_picture, draw_picture
from scribble_conversion.planes import AXES, noted_axis
from scribble_conversion.source import Source
from scribble_conversion.splits import OWN, RANDOM
from scribble_conversion.summary import summarise
from scribble_conversion.target import choose_target

AUTO = "auto"
OWN_ELSE_RANDOM = f"{OWN}, else {RANDOM}"
"""Default of ``--split``: the dataset's own split where it has one."""


def add_drawing(
    parser: argparse.ArgumentParser, fraction_help: str, default_fraction: float | None, axis_default: str = AUTO
) -> None:
    """Add the options.

    Args:
        parser: the command's parser.
        fraction_help: what ``--fraction`` does.
        default_fraction: its default; None where the user has to give it.
        axis_default: what ``--axis`` is by default.
    """
    parser.add_argument(
        "--fraction",
        type=float,
        default=default_fraction,
        required=default_fraction is None,
        metavar="F",
        help=fraction_help,
    )
    parser.add_argument(
        "--axis",
        choices=[AUTO, *sorted(AXES)],
        help="axis of the file across the slices that are scribbled; auto: the one of the largest spacing, z where all "
        f"are the same (default: {axis_default})",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the randomness (default: 0)")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE.png",
        help="also draw a picture of some slices with their scribbles (default: none)",
    )


def check_drawing(args: argparse.Namespace) -> None:
    """Refuse values that cannot be, and an id or name that is taken, before anything is read.

    Raises:
        UserError: if there are any.
    """
    if not 0 < args.fraction <= 1:
        raise UserError(f"--fraction has to be above 0 and at most 1, got {args.fraction:g}")
    if args.seed < 0:
        raise UserError(f"--seed has to be 0 or more, got {args.seed}")
    check_picture(args.picture, args.overwrite)
    choose_target(args.d, args.n, args.overwrite)


def axis_of(args: argparse.Namespace, source: Source) -> int | None:
    """The array axis that the user chose, else the one that the dataset records, None for each image's own."""
    if args.axis is None:
        return noted_axis(source.drawing)
    return None if args.axis == AUTO else AXES.index(args.axis)


def convert_drawn(args: argparse.Namespace, source: Source, draw: Callable[[Options, Path], Source]) -> None:
    """Draw scribbles into a temporary folder, convert them like anybody's, and tell the user.

    Args:
        args: the command line.
        source: what a reader found.
        draw: makes the scribbles in a folder.
    """
    options = options_of(args)
    if options.split == OWN_ELSE_RANDOM:
        options = replace(options, split=OWN if source.folds else RANDOM)
    with temporary_folder("scribbles_") as folder:
        conversion = convert(draw(options, folder), options)
    print(summarise(conversion))
    if args.picture is not None:
        draw_picture(conversion, args.picture, axis_of(args, source))
        print(f"picture: {args.picture}")
