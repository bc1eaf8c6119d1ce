"""Patients named on the command line, e.g. ``81-100,5`` or ``patient081,control_frame01``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from scribble_conversion.console import UserError
from scribble_conversion.naming import composed
from scribble_conversion.source import Case, name_some


@dataclass(frozen=True)
class PatientList:
    """Numbers and names that a user gave.

    Attributes:
        ranges: ranges of patient numbers, both ends included.
        names: names of patients or cases.
    """

    ranges: tuple[tuple[int, int], ...] = ()
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, cases: Sequence[Case] = ()) -> PatientList:
        """Read a list of numbers, ranges and names.

        Args:
            text: e.g. ``81-100,5,control1``; empty for none. Whatever is no number or range is taken for a name.
            cases: whose names may look like ranges (``01-003``) or hold commas.

        Raises:
            UserError: if a range runs backwards.
        """
        ranges, names = [], []
        text = composed(text)  # as the names of the cases are
        known = {name for case in cases for name in (case.patient, case.identifier)}
        for part in _parts(text, known):
            match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
            if match is None or (part in known and match[2]):
                names.append(part)
                continue
            first = int(match[1])
            last = int(match[2] or first)
            if last < first:
                raise UserError(f"the patient range '{part}' runs backwards; write {last}-{first}")
            ranges.append((first, last))
        return cls(tuple(ranges), tuple(names))

    def __bool__(self) -> bool:
        return bool(self.ranges or self.names)

    def has(self, case: Case) -> bool:
        """Tell whether a case is named: by its patient's number, its patient's name or its own."""
        number = case.patient_number
        in_range = number is not None and any(first <= number <= last for first, last in self.ranges)
        return in_range or case.patient in self.names or case.identifier in self.names

    def __str__(self) -> str:
        ranges = (f"{first}-{last}" if first != last else str(first) for first, last in self.ranges)
        return ",".join((*ranges, *self.names))

    def require_known(self, cases: Sequence[Case], option: str, others: Sequence[Case] = ()) -> None:
        """Make sure that the list means somebody.

        Args:
            cases: those it may choose from.
            option: where it was given, for messages.
            others: those held out, whose numbers may be named, too.

        Raises:
            UserError: if a name or a single number is nobody's, or if the whole list fits no case. Ranges may have
                gaps.
        """
        known = {name for case in cases for name in (case.patient, case.identifier)}
        for name in self.names:
            if name not in known:
                raise UserError(
                    f"'{name}' is no patient or case here ({name_some(known)}) and no number or range like 81-100,5; "
                    f"correct {option}"
                )
        numbers = {case.patient_number for case in (*cases, *others)}
        nobody = [first for first, last in self.ranges if first == last and first not in numbers]
        if nobody and any(map(self.has, cases)):
            raise UserError(f"there is no patient {name_some(map(str, nobody))} here; correct {option}")
        if self and not any(map(self.has, cases)):
            raise UserError(f"no case belongs to the patients {self}; give numbers that occur with {option}")


def _parts(text: str, known: Collection[str]) -> Iterator[str]:
    """The parts of a list between its commas, but for those of known names."""
    pieces = text.split(",")
    most = 1 + max((name.count(",") for name in known), default=0)
    while pieces:
        joined = (",".join(pieces[:count]).strip() for count in range(min(most, len(pieces)), 1, -1))
        part = next((name for name in joined if name in known), pieces[0].strip())
        pieces = pieces[part.count(",") + 1 :]
        if part:
            yield part


def hold_out(cases: Sequence[Case], test: PatientList) -> tuple[list[Case], list[Case]]:
    """Divide the cases into those to train with and those held out.

    Args:
        cases: all cases.
        test: patients to hold out; none if empty.

    Returns:
        Cases to train with, cases held out.

    Raises:
        UserError: if nobody or somebody unknown is named, if one case of a patient is named but not the others, or if
            none is left to train with.
    """
    test.require_known(cases, "--test-patients")
    held_out = [case for case in cases if case.test or test.has(case)]
    training = [case for case in cases if not (case.test or test.has(case))]
    parted = {case.patient for case in held_out if test.has(case)} & {case.patient for case in training}
    if parted:
        raise UserError(
            f"--test-patients names some cases of {name_some(parted)} but not all; "
            "name the patient, so that nobody is trained and tested with"
        )
    if not training:
        everybody = f"the patients {test} are" if test else "the source's own test cases are"
        raise UserError(f"{everybody} all there are; hold out fewer with --test-patients")
    return training, held_out
