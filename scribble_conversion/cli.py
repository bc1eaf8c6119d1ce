"""The command ``nnUNetv2_convert_scribbles``."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from scribble_conversion.commands import acdc, check, generate, mscmr, nifti, report, scribblebench, shorten, wsl4mis
from scribble_conversion.commands.help import new_parser
from scribble_conversion.console import run_command, terminated_like_interrupted

COMMANDS = (acdc, wsl4mis, mscmr, scribblebench, nifti, generate, shorten, check, report)
"""Modules with an ``add_parser`` and an ``EXAMPLE`` each, in the order in which the help lists them."""
MAPS = ("--label-map", "--dense-label-map")


def _get_parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "Convert a dataset with scribbles into an nnU-Net raw dataset whose unlabelled voxels are ignored, or make, "
        "check or show one.",
        {module.__name__.rpartition(".")[2]: module.EXAMPLE for module in COMMANDS},
    )
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)
    for command in COMMANDS:
        command.add_parser(formats)
    return parser


def _joined(args: Sequence[str]) -> list[str]:
    """The same with maps such as ``-1:ignore,1:1`` in one with their option, or argparse takes them for options."""
    joined: list[str] = []
    for arg in args:
        if joined and joined[-1] in MAPS and re.match(r"-\d+\s*:", arg):
            joined[-1] += f"={arg}"
        else:
            joined.append(arg)
    return joined


def main(args: list[str] | None = None) -> int:
    """Run the command.

    Args:
        args: the command line without the program's name; None for the process's own.

    Returns:
        0, or another number after an error, which is told on stderr.
    """
    parsed = _get_parser().parse_args(_joined(sys.argv[1:] if args is None else args))
    with terminated_like_interrupted():
        return run_command(lambda: parsed.run(parsed))
