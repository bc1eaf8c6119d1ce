"""Names of cases, which become names of files in the dataset."""

from __future__ import annotations

import os

from scribble_conversion.console import UserError
from scribble_conversion.source import Case, Source

LONGEST_FILE_NAME = 255
"""In bytes, on all common file systems."""


def check_names(source: Source) -> None:
    """Make sure that every case's name can be that of its files.

    Spaces, letters of any script and the shell's special characters are fine.

    Args:
        source: what a reader found.

    Raises:
        UserError: if a name is not UTF-8, has control characters (line breaks included), is too long, or differs from
            another only in upper and lower case, which many file systems take for the same.
    """
    folded: dict[str, str] = {}
    for case in source.cases:
        name = case.identifier
        if not name.isprintable() and any(ord(character) < 32 or ord(character) == 127 for character in name):
            raise UserError(
                f"{_place(case)}: the name of a case must not have line breaks or the like; rename the file"
            )
        try:
            length = len(f"{name}_0000{source.file_ending}".encode())
        except UnicodeEncodeError as error:
            raise UserError(f"{_place(case)}: the name of a case has to be UTF-8; rename the file") from error
        if length > LONGEST_FILE_NAME:
            raise UserError(
                f"{_place(case)}: with the channel's number the name has {length} bytes, at most {LONGEST_FILE_NAME} "
                "are possible; rename the file"
            )
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise UserError(
                f"the cases {other} and {name} differ only in upper and lower case, which many file systems take for "
                f"the same; rename one of them ({_place(case)})"
            )


def _place(case: Case) -> str:
    return os.fspath(next(iter(case.images), case.scribble or case.dense or case.identifier))
