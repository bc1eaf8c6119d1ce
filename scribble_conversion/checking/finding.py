"""One problem, in one line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from scribble_conversion.console import UserError

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """A problem of a dataset.

    Attributes:
        level: ``error`` where a training would fail or learn something wrong, ``warning`` where it may disappoint.
        check: which check found it, e.g. ``geometry``.
        text: what is wrong, with which file or cases.
        cure: what to do about it.
        cases: the cases it is about, all of them.
    """

    level: Level
    check: str
    text: str
    cure: str
    cases: tuple[str, ...] = ()

    @classmethod
    def from_error(cls, check: str, error: UserError, case: str) -> Finding:
        """An error that reading a file raised, whose text already says what to do."""
        text, _, cure = str(error).rpartition("; ")
        return cls("error", check, text, cure, (case,))

    def __str__(self) -> str:
        return f"{self.level}: {self.sentence}"

    @property
    def sentence(self) -> str:
        """What and what to do, on one line whatever the names of the files."""
        return " ".join(f"{self.text}; {self.cure}".split())

    def as_json(self) -> dict[str, Any]:
        """The finding for machines."""
        return {**asdict(self), "cases": list(self.cases)}


def count_levels(findings: Iterable[Finding]) -> tuple[int, int]:
    """Count the errors and the warnings."""
    levels = [finding.level for finding in findings]
    return levels.count("error"), levels.count("warning")


def counted(number: int, noun: str) -> str:
    """A number with its noun, e.g. ``1 case``, ``2 cases``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size_text(size: float, decimals: int) -> str:
    """A size with so many decimals, or with three significant digits where it is so small that they would tell little.

    Args:
        size: in mm or pixels, not negative.
        decimals: digits after the point.
    """
    return f"{size:.3g}" if 0 < size < 10.0 ** (1 - decimals) else f"{size:.{decimals}f}"
