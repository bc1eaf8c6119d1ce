"""``nnUNetv2_convert_scribbles report``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scribble_conversion.commands.check import add_dataset, inspect_dataset
from scribble_conversion.commands.help import add_command
from scribble_conversion.console import UserError

EXAMPLE = "27 -o report.html"


def add_parser(commands: Any) -> None:
    """Add the command to the sub-parsers of the command line."""
    parser = add_command(
        commands,
        "report",
        EXAMPLE,
        help="show a dataset with scribbles as one HTML page",
        description="Write an HTML page about an nnU-Net raw dataset with scribbles: facts, problems, figures per "
        "class and slices to leaf through. The page is one file and loads nothing.",
    )
    add_dataset(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the page, e.g. report.html")
    parser.add_argument(
        "--max-cases", type=int, default=24, metavar="N", help="cases whose slices are shown (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the page if it exists")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    # These import what only this command needs, and slowly.
    from scribble_conversion.checking.output import summary
    from scribble_conversion.reporting.gallery import MOST_CASES, draw_cases
    from scribble_conversion.reporting.page import check_output, render, write

    if not 0 <= args.max_cases <= MOST_CASES:
        raise UserError(f"--max-cases has to be 0 to {MOST_CASES}, got {args.max_cases}")
    check_output(args.output, args.overwrite)
    inspection = inspect_dataset(args)
    cases = draw_cases(inspection, args.max_cases, args.np)
    write(render(inspection, cases), args.output)
    print(f"{args.output} ({args.output.stat().st_size / 1e6:.1f} MB), {len(cases)} cases shown")
    print(summary(inspection.findings))
