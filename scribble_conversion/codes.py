"""What the codes in label files mean, as far as the user says and the files tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scribble_conversion.console import UserError
from scribble_conversion.scan import integer_values
from scribble_conversion.source import IGNORE_NAME, LabelValue

USUAL_UNLABELLED = 255
"""The one value that is taken for unlabelled without asking: it is no class's by convention."""
HIGHEST = 255
"""Labels are written as bytes."""
LARGEST_CODE = 2**53
"""Floats hold all integers up to here."""
BACKGROUND = "background"


@dataclass(frozen=True)
class Codes:
    """The codes of a dataset.

    Attributes:
        labels: name to integer, from ``background`` = 0; without ``ignore``.
        scribbles: code in a scribble file to the integer written, the ignore label being one above the highest.
        dense: code in a dense file to the integer written.
        explicit: whether the user declared them in a label map.
        notes: what was decided without being told, one sentence each.
    """

    labels: dict[str, LabelValue]
    scribbles: dict[int, int]
    dense: dict[int, int]
    explicit: bool
    notes: tuple[str, ...] = ()


def parse_label_map(text: str, option: str) -> dict[int, int | None]:
    """Read a label map.

    Args:
        text: e.g. ``200:1,500:2,3000:ignore``.
        option: where it was given, for messages.

    Returns:
        Code to integer, None for ``ignore``.

    Raises:
        UserError: if it is anything else, or has a code twice.
    """
    codes: dict[int, int | None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(rf"(-?\d+)\s*:\s*(\d+|{IGNORE_NAME})", part)
        if match is None:
            raise UserError(f"'{part}' is no part of a label map; write {option} like 200:1,500:2,3000:{IGNORE_NAME}")
        code = int(match[1])
        require_code(code, option)
        if code in codes:
            raise UserError(f"{option} has the code {code} twice; name it once")
        codes[code] = None if match[2] == IGNORE_NAME else int(match[2])
    if not codes:
        raise UserError(f"{option} is empty; write it like 200:1,500:2,3000:{IGNORE_NAME}")
    return codes


def require_code(code: int, option: str) -> None:
    """Raise a ``UserError`` if a file cannot hold ``code``."""
    if abs(code) > LARGEST_CODE:
        raise UserError(f"{option} has {code}, which no label file holds; give the value that is in the files")


def declare_codes(
    label_map: Mapping[int, int | None] | None,
    dense_map: Mapping[int, int | None] | None,
    unlabelled: int | None,
    names: Sequence[str],
    scan: Callable[[], Mapping[Path, tuple[float, ...]]],
    has_dense: bool = False,
) -> Codes:
    """Settle the codes of a dataset whose format does not fix them.

    Args:
        label_map: ``--label-map``; a code 0 that it does not mention is background, unless 0 is the unlabelled value.
        dense_map: ``--dense-label-map``; without it, the label map counts for dense files, too.
        unlabelled: ``--unlabelled-value``.
        names: ``--labels``, the classes from 1 on; empty for ``class_1`` and so on.
        scan: lists the values of every scribble file; called only where the options leave something open.
        has_dense: whether there are dense files.

    Raises:
        UserError: if the unlabelled value cannot be told, if the integers are not consecutive, or if the options
            contradict each other.
    """
    notes: list[str] = []
    require_code(unlabelled or 0, "--unlabelled-value")
    if label_map is None:
        unlabelled, classes = _plain_codes(unlabelled, names, lambda: integer_values(scan()), notes)
        codes: dict[int, int | None] = {code: code for code in classes}
    else:
        codes = dict(label_map)
        _check_agreement(codes, unlabelled)
        if unlabelled != 0:
            codes.setdefault(0, 0)
        if unlabelled is None and None not in codes.values():
            found = {value for values in scan().values() for value in values}
            unlabelled = _usual_unlabelled(found - codes.keys(), notes, " besides the mapped codes")
    if has_dense and dense_map is None and (unlabelled == 0 or codes.get(0, 0) is None):
        raise UserError(
            "0 means unlabelled in the scribbles, which it hardly does in the dense labels; say what the codes of "
            "those mean with --dense-label-map, e.g. 0:0,1:1,2:2"
        )
    highest = _require_consecutive(codes, "--label-map")
    dense = dict(codes)
    if dense_map is not None:
        dense = {0: 0, **dense_map}
        beyond = sorted({value for value in dense.values() if value is not None and value > highest})
        if beyond:
            raise UserError(f"--dense-label-map leads to {listed(beyond)}, but the classes end with {highest}")
    if unlabelled is not None:
        codes[unlabelled] = None
    ignore = highest + 1
    return Codes(
        labels={BACKGROUND: 0, **{name: value for value, name in enumerate(class_names(names, highest), start=1)}},
        scribbles={code: ignore if value is None else value for code, value in codes.items()},
        dense={code: ignore if value is None else value for code, value in dense.items()},
        explicit=label_map is not None or dense_map is not None,
        notes=tuple(notes),
    )


def _plain_codes(
    unlabelled: int | None, names: Sequence[str], values_of: Callable[[], set[int]], notes: list[str]
) -> tuple[int, list[int]]:
    """The unlabelled value and the classes' codes, background included, where the files use the codes nnU-Net wants."""
    if unlabelled == 0:
        raise UserError(
            "if 0 is the unlabelled value, the code of the background has to be told; "
            "give --label-map, e.g. 1:0,2:1,3:2 if 1 is the background"
        )
    classes = list(range(len(_without_background(names)) + 1)) if names else []
    if unlabelled is None or not names:
        values = values_of()
        if unlabelled is None:
            unlabelled = _usual_unlabelled(values, notes)
        elif unlabelled not in values:
            raise UserError(
                f"no scribble holds {unlabelled} for unlabelled, they hold {listed(sorted(values))}; correct "
                "--unlabelled-value"
            )
        found = sorted(values - {unlabelled})
        classes = classes or list(range(min(max(found, default=0), HIGHEST) + 1))
        if not set(found) <= set(classes) or (not names and not set(classes[1:]) <= set(found)):
            suggested = ",".join(f"{code}:{value}" for value, code in enumerate([c for c in found if c != 0], start=1))
            raise UserError(
                f"the scribbles hold the values {listed(found)} besides {unlabelled} for unlabelled, but expected "
                f"were 0 to {max(classes) if names else max(len(found) - 1, 1)}; say what they mean with --label-map, "
                f"e.g. {suggested}"
            )
    if unlabelled in classes:
        raise UserError(
            f"{unlabelled} cannot mean unlabelled (--unlabelled-value) and the class "
            f"{_without_background(names)[unlabelled - 1]} (--labels); correct one of them"
        )
    return unlabelled, classes


def _usual_unlabelled(values: Collection[float], notes: list[str], besides: str = "") -> int:
    if USUAL_UNLABELLED not in values:
        held = f"they hold {listed(sorted(values))}{besides}" if values else "every value in them has a meaning already"
        raise UserError(
            f"which value means unlabelled cannot be told from the scribbles ({held}); give it with "
            f"--unlabelled-value (only {USUAL_UNLABELLED} is recognised without asking)"
        )
    notes.append(f"{USUAL_UNLABELLED} occurs in the scribbles and was taken for unlabelled")
    return USUAL_UNLABELLED


def _check_agreement(codes: Mapping[int, int | None], unlabelled: int | None) -> None:
    if unlabelled is not None and codes.get(unlabelled) is not None:
        raise UserError(
            f"--unlabelled-value says that {unlabelled} is unlabelled, --label-map that it is {codes[unlabelled]}; "
            "correct one of them"
        )


def _require_consecutive(codes: Mapping[int, int | None], option: str) -> int:
    """The highest integer; all from 1 to it have to be there."""
    values = {value for value in codes.values() if value is not None}
    highest = max(values, default=0)
    if highest >= HIGHEST:
        raise UserError(
            f"{option} leads to {highest}, but labels can be {HIGHEST - 1} at most; leave no gaps, or join some classes"
        )
    missing = sorted(set(range(1, highest + 1)) - values)
    if highest == 0:
        raise UserError(f"{option} has no class besides the background; map at least one code to 1")
    if missing:
        raise UserError(f"{option} leads to {listed(sorted(values))}, without {listed(missing)}; leave no gaps")
    return highest


def class_names(names: Sequence[str], highest: int) -> tuple[str, ...]:
    """Names of the classes from 1 to ``highest``, those of ``--labels`` if there are any.

    Raises:
        UserError: there are fewer or more names, one is there twice, empty, or background's or ignore's.
    """
    given = _without_background(names)
    if not given:
        return tuple(f"class_{value}" for value in range(1, highest + 1))
    if len(given) != highest:
        raise UserError(
            f"--labels names {len(given)} classes ({', '.join(given)}), but there are {highest}; "
            "name each class from 1 on"
        )
    if len(set(given)) < len(given) or {BACKGROUND, IGNORE_NAME, ""} & {name.strip().casefold() for name in given}:
        raise UserError(
            f"--labels has a name twice, an empty one, or {BACKGROUND} or {IGNORE_NAME} among the classes; name each "
            "class once"
        )
    return given


def _without_background(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names[1:] if names and names[0] == BACKGROUND else names)


def listed(values: Sequence[float], most: int = 10) -> str:
    """The first few values for a message, e.g. ``0, 1, 2, …``."""
    return ", ".join(f"{value:g}" for value in values[:most]) + (", …" if len(values) > most else "")
