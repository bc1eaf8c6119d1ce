"""What ``dataset.json`` declares, held against what nnU-Net demands."""

from __future__ import annotations

from collections.abc import Iterator

from scribble_conversion.checking.dataset import RawDataset
from scribble_conversion.checking.finding import Finding


def check_declared(dataset: RawDataset) -> Iterator[Finding]:
    """Check the integers of the labels; that no ``ignore`` is declared is for ``unlabelled`` to judge."""
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
            f"dataset.json declares the labels {_listed(values)}, without {_listed(missing)}",
            "nnU-Net demands consecutive integers: change dataset.json and the label files, or convert again",
        )


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values[:10])) + (", …" if len(values) > 10 else "")
