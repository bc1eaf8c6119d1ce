"""Labels of a dataset brought into the order that nnU-Net wants: consecutive, with ``ignore`` as the highest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scribble_conversion.codes import BACKGROUND, HIGHEST, LARGEST_CODE, listed, require_code
from scribble_conversion.console import UserError
from scribble_conversion.source import IGNORE_NAME, LabelValue, integers_of

IGNORE_NAMES = frozenset(
    {IGNORE_NAME, "ignored", "unlabeled", "unlabelled", "unannotated", "unscribbled", "unknown", "void"}
)
"""What the unlabelled voxels are called in ``dataset.json`` files that have no ``ignore``."""


@dataclass(frozen=True)
class RepairedLabels:
    """Labels as nnU-Net wants them.

    Attributes:
        labels: name to integer or region, from ``background`` = 0; without ``ignore``.
        scribbles: value in a label file to the integer written.
        dense: value in a dense label file to the integer written.
        regions_class_order: for regions.
        notes: what was repaired, one sentence each.
    """

    labels: dict[str, LabelValue]
    scribbles: dict[int, int]
    dense: dict[int, int]
    regions_class_order: tuple[int, ...]
    notes: tuple[str, ...]


def ignore_name(names: Iterable[str]) -> str | None:
    """The label that means unlabelled: ``ignore``, else the first that is called like it; None where there is none."""
    known = [name for name in names if name.casefold() in IGNORE_NAMES]
    return next((name for name in known if name.casefold() == IGNORE_NAME), next(iter(known), None))


def repair_labels(
    declared: Mapping[str, Any], scribbles: Collection[int], dense: Collection[int], unlabelled: int | None = None
) -> RepairedLabels:
    """Find out which value means unlabelled, and make all others consecutive.

    Args:
        declared: the content of ``dataset.json``; may be empty or wrong.
        scribbles: the values found in the labels to train with.
        dense: the values found in dense labels.
        unlabelled: what the user says; None for the highest value in ``scribbles``.

    Returns:
        The labels with the names declared, ``class_1`` and so on where there is none.

    Raises:
        UserError: if the highest value cannot mean unlabelled because dense labels hold it or ``dataset.json`` has
            another name for it or another value for unlabelled, if there are values in dense labels that nothing tells
            of, negative ones or too many, or if regions lack their order.
    """
    notes: list[str] = []
    require_code(unlabelled or 0, "--unlabelled-value")
    names, called = declared_labels(declared.get("labels"), notes)
    ignored = None if called is None else names[called][0]
    classes = {name: value for name, value in names.items() if name != called}
    value = _unlabelled(unlabelled, scribbles, dense, classes, ignored, notes)
    named = {code for codes in classes.values() for code in codes}
    found = (set(scribbles) | set(dense) | named | {0}) - {value}
    if min(found) < 0:
        raise UserError(f"there are negative labels ({min(found)}); give the label files that hold classes from 0 on")
    if len(found) > HIGHEST:
        raise UserError(f"there are {len(found)} different labels, more than {HIGHEST}; give label files, not images")
    beyond = sorted(code for code in set(dense) - set(scribbles) - named if code > value)
    if beyond:
        raise UserError(
            f"dense labels hold {listed(beyond)}, above {value} for unlabelled, which no scribble has and dataset.json "
            "does not name; correct those labels, or name the class in dataset.json"
        )
    new = {code: index for index, code in enumerate(sorted(found))}
    ignore = len(new)
    if any(code != index for code, index in new.items()):
        moved = ", ".join(f"{code} became {index}" for code, index in new.items() if code != index)
        notes.append(f"the labels were not consecutive: {moved}")
    if called is not None and called.casefold() != IGNORE_NAME:
        notes.append(
            f"the label {called} was taken for the unlabelled voxels; if it is a class, give it another name in "
            "dataset.json"
        )
    if ignored != ignore:
        told = "not declared" if ignored is None else f"declared as {ignored}"
        notes.append(f"the ignore label was {told} and is {ignore}")
    labels, order = _named(classes, declared.get("regions_class_order"), new, notes)
    return RepairedLabels(
        labels=labels,
        scribbles={**new, value: ignore},
        dense={**new, value: ignore} if value in dense else new,
        regions_class_order=order,
        notes=tuple(notes),
    )


def unused_value(declared: Mapping[str, Any], values: Collection[int]) -> int:
    """The lowest integer above all that occur in files or that ``dataset.json`` has a name for."""
    named, _ = declared_labels(declared.get("labels"), [])
    return max(0, *values, *(code for codes in named.values() for code in codes)) + 1


def declared_labels(labels: object, notes: list[str]) -> tuple[dict[str, tuple[int, ...]], str | None]:
    """Read labels of ``dataset.json`` that may be written wrongly.

    Args:
        labels: its entry of that name.
        notes: gets what cannot be read, and what was turned round.

    Returns:
        Name to integers as far as they can be read, and which of them means unlabelled.
    """
    if labels is None:
        return {}, None
    if not isinstance(labels, Mapping):
        notes.append("the labels in dataset.json were no object of names and integers and were made anew")
        return {}, None
    if labels and all(str(key).isdecimal() and isinstance(value, str) for key, value in labels.items()):
        notes.append("the labels in dataset.json were integers to names, as nnU-Net 1 had them, and were turned round")
        labels = {value: int(key) for key, value in labels.items()}
    called = ignore_name(map(str, labels))
    read: dict[str, tuple[int, ...]] = {}
    for name, value in labels.items():
        entries = value if isinstance(value, (list, tuple)) else [value]
        try:
            integers = tuple(dict.fromkeys(int(entry) for entry in entries))
        except (TypeError, ValueError, OverflowError):
            integers = ()
        too_large = any(abs(integer) > LARGEST_CODE for integer in integers)
        if not integers or too_large or (name == called and len(integers) > 1):
            notes.append(f"the label {name} in dataset.json was no integer ({value}) and was dropped")
        else:
            read[str(name)] = integers
    return read, called if called in read else None


def _unlabelled(
    told: int | None,
    scribbles: Collection[int],
    dense: Collection[int],
    classes: Mapping[str, tuple[int, ...]],
    declared: int | None,
    notes: list[str],
) -> int:
    value = max(scribbles) if told is None else told
    if value == 0:
        raise UserError(
            "0 is the background in nnU-Net and cannot mean unlabelled"
            + (", and the training labels hold nothing else" if told is None else "")
            + "; convert with the format 'nifti' and a --label-map, or correct --unlabelled-value"
        )
    if told is not None:
        return value
    cure = "give the unlabelled value with --unlabelled-value"
    if declared is not None and declared != value and declared in scribbles:
        raise UserError(
            f"dataset.json declares {declared} as unlabelled, but {value} is the highest value in the training "
            f"labels; {cure}, or correct the labels"
        )
    if value in dense and value != declared:
        raise UserError(
            f"{value} is the highest value in the training labels, but dense labels hold it, too, so it does not mean "
            f"unlabelled; {cure}"
        )
    for name, codes in classes.items():
        if value in codes:
            raise UserError(
                f"{value} is the highest value in the training labels, but dataset.json calls it {name}, so it does "
                f"not mean unlabelled; {cure}"
            )
    notes.append(f"{value}, the highest value in the training labels, was taken for unlabelled")
    return value


def _named(
    classes: Mapping[str, tuple[int, ...]], order: object, new: Mapping[int, int], notes: list[str]
) -> tuple[dict[str, LabelValue], tuple[int, ...]]:
    """Names for all integers, and the order of the regions if there are any."""
    labels: dict[str, LabelValue] = {BACKGROUND: 0}
    for name, codes in classes.items():
        if codes == (0,):
            if name != BACKGROUND:
                notes.append(f"the label 0 was called {name} and is {BACKGROUND}")
            continue
        integers = [new[code] for code in codes if code in new]
        if not integers:
            notes.append(f"the label {name} stood for the unlabelled voxels and was dropped")
        elif name == BACKGROUND:
            notes.append(f"the label {codes[0]} was called {name} and needs another name")
        else:
            labels[name] = integers if len(integers) > 1 else integers[0]
    regional = any(len(integers_of(value)) > 1 for value in labels.values())
    ordered = _region_order(order, labels, new) if regional else []
    covered = {integer for value in labels.values() for integer in integers_of(value)}
    for integer in sorted(set(new.values()) - covered):
        name = _free_name(integer, labels)
        labels[name] = integer
        if regional:
            ordered.append(integer)
        if classes:
            notes.append(f"the label {integer} had no name in dataset.json and is called {name}")
    if not regional:
        labels = dict(sorted(labels.items(), key=lambda entry: integers_of(entry[1])))
    return labels, tuple(ordered)


def _region_order(order: object, labels: Mapping[str, LabelValue], new: Mapping[int, int]) -> list[int]:
    regions = len(labels) - 1
    if (
        not isinstance(order, list)
        or len(order) != regions
        or not all(isinstance(entry, int) and entry in new for entry in order)
    ):
        raise UserError(
            f"dataset.json has {regions} regions, so its regions_class_order has to list {regions} labels, "
            f"one per region, got {order}; correct it"
        )
    return [new[entry] for entry in order]


def _free_name(integer: int, labels: Collection[str]) -> str:
    name = f"class_{integer}"
    while name in labels:
        name += "_"
    return name
