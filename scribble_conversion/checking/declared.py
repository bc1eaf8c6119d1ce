"""What ``dataset.json`` declares, held against what nnU-Net demands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from scribble_conversion.checking.dataset import RawDataset
from scribble_conversion.checking.finding import Finding
from scribble_conversion.codes import listed
from scribble_conversion.recorded import scribble_notes
from scribble_conversion.source import IGNORE_NAME, Supervision, name_some


def check_declared(dataset: RawDataset) -> Iterator[Finding]:
    """Check the labels and channels; that no ``ignore`` is declared is for ``unlabelled`` to judge."""
    yield from _check_forms(dataset.content)
    if dataset.labels.get("background") != (0,):
        yield Finding(
            "error", "labels", "dataset.json does not declare background as 0", 'write "background": 0 into its labels'
        )
    values = sorted(dataset.values)
    highest = values[-1]
    if dataset.ignore is not None and dataset.ignore <= highest:
        yield Finding(
            "error",
            "ignore",
            f"ignore is declared as {dataset.ignore}, but the highest label is {highest}",
            f"nnU-Net demands ignore to be {highest + 1}: change dataset.json and the label files, or convert again",
        )
    elif dataset.ignore is not None and dataset.ignore != highest + 1:
        yield Finding(
            "error",
            "ignore",
            f"ignore is declared as {dataset.ignore}, {dataset.ignore - highest} above the highest label {highest}",
            f"nnU-Net demands ignore to be {highest + 1}: change dataset.json and the label files, or convert again",
        )
    expected = list(range(len(values)))
    if values != expected and 0 in values:
        missing = sorted(set(range(highest + 1)) - set(values))
        yield Finding(
            "error",
            "labels",
            f"dataset.json declares the labels {listed(values)}, without {listed(missing)}",
            "nnU-Net demands consecutive integers: change dataset.json and the label files, or convert again",
        )


def _check_forms(content: Mapping[str, Any]) -> Iterator[Finding]:
    """What can be understood, but ends nnU-Net with a traceback."""
    labels, order = content["labels"], content.get("regions_class_order")
    ignore, background = labels.get(IGNORE_NAME), labels.get("background")
    if ignore is not None and not isinstance(ignore, int):
        yield Finding(
            "error", "ignore", f"ignore is declared as {ignore!r}, no integer", "write it without quotes and brackets"
        )
    if isinstance(background, list):
        yield Finding("error", "labels", f"background is declared as {background}, a list", 'write "background": 0')
    regions = {name: value for name, value in labels.items() if name != IGNORE_NAME and not _is_background(value)}
    regional = any(isinstance(value, list) and len(value) > 1 for value in regions.values())
    if regional and isinstance(order, list) and len(order) == len(regions):
        yield from _check_order(regions, order)
    elif regional:
        has = "no regions_class_order" if order is None else f"{order!r} as regions_class_order"
        yield Finding(
            "error",
            "labels",
            f"dataset.json declares {len(regions)} regions ({', '.join(map(str, regions))}) and {has}",
            "write as regions_class_order a list with one label per region, in the order of the regions, that tells "
            "what a voxel of the region is where no later one holds it",
        )
    if not regions:
        yield Finding("error", "labels", "dataset.json declares nothing besides background", "add the structures")
    supervision = scribble_notes(content).get("supervision", {})
    kinds = set(map(str, supervision.values())) if isinstance(supervision, dict) else {str(supervision)}
    unknown = kinds - set(get_args(Supervision))
    if unknown:
        yield Finding(
            "error",
            "labels",
            f"dataset.json has {name_some(unknown)} under scribbles.supervision",
            f'write {{"case": kind, ...}} with the kinds {", ".join(get_args(Supervision))}',
        )
    key = "modality" if "modality" in content else "channel_names"  # nnU-Net prefers the former
    if not isinstance(content.get(key), dict):
        yield Finding(
            "error",
            "channels",
            f"dataset.json declares its {key} as a list",
            f'write them with numbers, {{"0": {json.dumps(content[key][0])}, ...}}',
        )


def _check_order(regions: Mapping[str, Any], order: list[Any]) -> Iterator[Finding]:
    """A voxel becomes what the order has for the last region that holds it, which has to be its own label."""
    made = {int(v): own for value, own in zip(regions.values(), order, strict=True) for v in _integers(value)}
    lost = {integer: own for integer, own in made.items() if own != integer}
    if lost:
        turned = ", ".join(f"{integer} into {own}" for integer, own in sorted(lost.items()))
        yield Finding(
            "error",
            "labels",
            f"regions_class_order {order} turns label {turned} in every prediction",
            "order the regions from the outermost to the innermost, each with a label that no later one holds",
        )


def _integers(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_background(value: object) -> bool:
    return all(str(integer) == "0" for integer in _integers(value))
