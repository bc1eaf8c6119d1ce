"""How the help of the commands looks."""

from __future__ import annotations

import argparse
from typing import Any

PROGRAM = "nnUNetv2_convert_scribbles"
_HEADING = "example:"


class _Formatter(argparse.HelpFormatter):
    """Wraps descriptions, and keeps the lines of examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(_HEADING):
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


def add_command(commands: Any, name: str, example: str, **more: Any) -> argparse.ArgumentParser:
    """Add a sub-command whose help ends with an example.

    Args:
        commands: the sub-parsers of the command line.
        name: of the sub-command.
        example: its arguments, as one would type them.
        more: for ``add_parser``.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, epilog=_examples({name: example}), formatter_class=_Formatter, allow_abbrev=False, **more
    )
    return parser


def new_parser(description: str, examples: dict[str, str]) -> argparse.ArgumentParser:
    """The parser of the whole command, with an example of every sub-command."""
    epilog = _examples(examples) + f"\n\n{PROGRAM} FORMAT --help tells the options of one."
    return argparse.ArgumentParser(
        prog=PROGRAM, description=description, epilog=epilog, formatter_class=_Formatter, allow_abbrev=False
    )


def _examples(examples: dict[str, str]) -> str:
    return "\n".join([_HEADING, *(f"  {PROGRAM} {name} {example}" for name, example in examples.items())])
