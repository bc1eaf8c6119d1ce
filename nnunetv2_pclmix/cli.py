"""What the PCLMix plugin adds beside nnU-Net's own commands."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from nnunetv2_pclmix import __version__
from scribble_conversion.console import run_command, terminated_like_interrupted

COMMANDS = {
    "calibrate": ("nnunetv2_pclmix.calibrate", "fit a trained network's last biases to held-out strokes"),
    "doctor": ("nnunetv2_pclmix.doctor", "say whether everything is in place, and what to do where it is not"),
    "evaluate": ("nnunetv2_pclmix.evaluate", "Dice and HD95 of predictions against dense references"),
    "export": ("nnunetv2_pclmix.export", "a trained model for machines that have nnU-Net but not this package"),
    "small_plans": ("nnunetv2_pclmix.small_plans", "add a small configuration, for CPUs, to a copy of the plans"),
}
"""Subcommands: name -> (module, help).

A module has ``add_arguments(parser)`` and ``run(args) -> int``, and imports what is slow to import inside ``run``.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; after parsing, ``args.run`` is the chosen one's body."""
    parser = argparse.ArgumentParser(prog="nnUNetv2_pclmix", description=__doc__)
    parser.add_argument("--version", action="version", version=f"nnunetv2-pclmix {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module_name, help_text) in COMMANDS.items():
        module = importlib.import_module(module_name)
        subparser = subparsers.add_parser(name, help=help_text, description=module.__doc__)
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: the arguments without the program's name; None takes them from ``sys.argv``.

    Returns:
        The exit status: 0 where all went well, 1 after a mistake of the user's, which is told on stderr.
    """
    parsed = build_parser().parse_args(args)
    with terminated_like_interrupted():
        return run_command(lambda: parsed.run(parsed))
