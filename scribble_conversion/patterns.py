"""Patterns for file names, e.g. ``{case}_{channel}.nii.gz``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from string import Formatter

from scribble_conversion.console import UserError
from scribble_conversion.formats.registry import ENDINGS, ending_of
from scribble_conversion.naming import composed

NUMBERED_CHANNEL = r"\d{4}"
"""nnU-Net's channels, ``0000`` and so on."""
_FIELDS = {"patient": r"[^/]+?", "case": r"[^/]+", "channel": r"[A-Za-z0-9]+"}
_NAMING = ("patient", "case")


@dataclass(frozen=True)
class Named:
    """What a file's name says.

    Attributes:
        identifier: of the case: the stretch of the name from the first to the last of ``{patient}`` and ``{case}``;
            those in different folders are joined by ``_``, or left out where the file's own name begins with the
            patient.
        patient: the text of ``{patient}``, else the identifier.
        channel: the text of ``{channel}``, else empty.
    """

    identifier: str
    patient: str
    channel: str


@dataclass(frozen=True)
class NamePattern:
    """A pattern for names with fields in braces.

    ``{case}`` or ``{patient}`` has to be there. A pattern with a slash is held against the path below the folder,
    one without against the bare name. A pattern without a known ending fits files of every known ending. A field that
    occurs twice has to have the same text in both places.

    Attributes:
        text: as the user wrote it.
        expression: the same as a regular expression.
    """

    text: str
    expression: re.Pattern[str]

    @classmethod
    def parse(cls, text: str, option: str = "the pattern", channel: str = _FIELDS["channel"]) -> NamePattern:
        """Make a pattern from its text.

        Args:
            text: e.g. ``{patient}_frame{case}_{channel}.nii.gz``.
            option: where it was given, for messages.
            channel: regular expression of the channels.

        Raises:
            UserError: if there is an unknown field, a stray brace, or neither ``{case}`` nor ``{patient}``.
        """
        fields = {**_FIELDS, "channel": channel}
        parts: list[str] = []
        seen: dict[str, int] = {}
        try:
            for literal, name, spec, conversion in Formatter().parse(text):
                parts.append(re.escape(literal))
                if name is None:
                    continue
                if name not in fields or spec or conversion:
                    raise ValueError(f"unknown field {{{name}}}")
                seen[name] = seen.get(name, 0) + 1
                again = f"(?P={name})"
                parts.append(
                    f"(?P<{name}{'' if seen[name] == 1 else seen[name]}>{fields[name] if seen[name] == 1 else again})"
                )
        except ValueError as error:
            raise UserError(
                f"the pattern '{text}' cannot be read ({error}); "
                f"write {option} with {{case}}, {{patient}} and {{channel}}"
            ) from error
        if not any(name in seen for name in _NAMING):
            raise UserError(f"the pattern '{text}' names no case; write {option} with {{case}} or {{patient}} in it")
        if ending_of(text) is None:
            parts.append(f"(?i:{'|'.join(map(re.escape, ENDINGS))})")
        return cls(text, re.compile(composed("".join(parts))))

    def match(self, file: Path, folder: Path) -> Named | None:
        """Hold a file below ``folder`` against the pattern; None if it does not fit."""
        name = file.relative_to(folder).as_posix() if "/" in self.text else file.name
        name = composed(name)
        match = self.expression.fullmatch(name)
        if match is None:
            return None
        groups = match.groupdict()
        spans = [match.span(group) for group in groups if group.startswith(_NAMING)]
        stretches = [
            name[min(start for start, _ in part) : max(end for _, end in part)]
            for _, grouped in groupby(spans, key=lambda span: name.count("/", 0, span[0]))
            for part in [list(grouped)]
        ]
        patient = groups.get("patient") or ""
        named_after = patient and re.match(rf"{re.escape(patient)}(?![A-Za-z0-9])", stretches[-1])
        identifier = stretches[-1] if named_after else "_".join(stretches)
        return Named(identifier, patient or identifier, groups.get("channel") or "")


def suggest_patterns(first: Sequence[str], second: Sequence[str]) -> tuple[str, str] | None:
    """Guess patterns that would bring two lists of names together.

    Args:
        first: file names.
        second: file names of the other side.

    Returns:
        The patterns that fit the two names with the longest common beginning, ``{case}`` standing for the beginning;
        None if no two names begin alike.
    """
    best, suggestion = 0, None
    for left in first:
        for right in second:
            common = _common_beginning(left, right)
            if len(common) > best:
                best, suggestion = len(common), ("{case}" + left[len(common) :], "{case}" + right[len(common) :])
    return suggestion


def _common_beginning(left: str, right: str) -> str:
    """The words that two names begin with, ending before a separator or the ending."""
    stems = [name[: len(name) - len(ending_of(name) or "")] for name in (left, right)]
    length = next(
        (index for index, pair in enumerate(zip(*stems, strict=False)) if pair[0] != pair[1]), min(map(len, stems))
    )
    # a number must not be cut in two, 'a1' and 'a12' are different cases
    while length and any(len(stem) > length and stem[length].isalnum() for stem in stems):
        length -= 1
    return stems[0][:length].rstrip("_-. ")
