"""ACDC's ``Info.cfg``: which frames are end-diastolic and end-systolic, and the patient's pathology group."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scribble_conversion.console import UserError

PHASES = ("ED", "ES")
_NAME = re.compile(r"(?P<patient>patient\d+)_Info\.cfg", re.IGNORECASE)


@dataclass(frozen=True)
class Info:
    """What an ``Info.cfg`` says, as far as it can be made out.

    Attributes:
        path: the file.
        frames: phase (``ED``, ``ES``) to frame number, counted from 1.
        group: the pathology group, e.g. ``DCM``; None where it is not given.
    """

    path: Path
    frames: dict[str, int]
    group: str | None

    def require_frames(self) -> dict[str, int]:
        """Return ``frames`` if both phases are known; raise a ``UserError`` that says what is expected otherwise."""
        if len(set(self.frames.values())) != len(PHASES):
            raise UserError(
                f"{self.path} does not tell the frames of ED and ES apart, which the names of the patient's files need "
                "(expected lines like 'ED: 1' and 'ES: 12'); take the file from the ACDC download again"
            )
        return self.frames


def find_infos(files: Iterable[Path]) -> dict[str, Info]:
    """Read every ``Info.cfg`` that belongs to a patient by its folder's name (``patient001``) or its own.

    Args:
        files: files of any kind.

    Returns:
        Patient to what the file says; what cannot be read or understood is left out of it.
    """
    infos = {}
    for file in files:
        named = _NAME.fullmatch(file.name)
        if named is not None:
            infos[named["patient"]] = read_info(file)
        elif file.name.lower() == "info.cfg" and re.fullmatch(r"patient\d+", file.parent.name):
            infos[file.parent.name] = read_info(file)
    return infos


def read_info(path: Path) -> Info:
    """Read one ``Info.cfg``: lines of a name, a colon and a value.

    Most conversions do without this file, so nothing in it is refused here; see ``Info.require_frames``.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    values = {name.strip(): value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
    frames = {
        phase: int(values[phase]) for phase in PHASES if values.get(phase, "").isdecimal() and int(values[phase]) > 0
    }
    return Info(path, frames, values.get("Group") or None)
