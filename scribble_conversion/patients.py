"""Patients named on the command line, e.g. ``81-100,5``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scribble_conversion.console import UserError
from scribble_conversion.source import Case


@dataclass(frozen=True)
class PatientRanges:
    """Ranges of patient numbers, both ends included."""

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> PatientRanges:
        """Read a list of numbers and ranges.

        Args:
            text: e.g. ``81-100,5``; empty for none.

        Raises:
            UserError: if it is anything else, or a range runs backwards.
        """
        ranges = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
            if match is None:
                raise UserError(f"'{part}' is no patient number or range; write e.g. 81-100,5")
            first = int(match[1])
            last = int(match[2] or first)
            if last < first:
                raise UserError(f"the patient range '{part}' runs backwards; write {last}-{first}")
            ranges.append((first, last))
        return cls(tuple(ranges))

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and any(first <= number <= last for first, last in self.ranges)

    def __str__(self) -> str:
        return ",".join(f"{first}-{last}" if first != last else str(first) for first, last in self.ranges)


def hold_out(cases: Sequence[Case], test: PatientRanges) -> tuple[list[Case], list[Case]]:
    """Divide the cases into those to train with and those held out.

    Args:
        cases: all cases.
        test: patients to hold out; none if empty.

    Returns:
        Cases to train with, cases held out.

    Raises:
        UserError: if patients are named and none of them is there, or if none is left to train with.
    """
    held_out = [case for case in cases if case.test or case.patient_number in test]
    training = [case for case in cases if case not in held_out]
    if test.ranges and not any(case.patient_number in test for case in cases):
        raise UserError(f"no case belongs to the patients {test}; give numbers that occur with --test-patients")
    if not training:
        raise UserError(f"the patients {test} are all there are; hold out fewer with --test-patients")
    return training, held_out
