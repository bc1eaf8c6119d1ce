"""A small dataset with strokes like people draw them, as nnU-Net sees it, and hands to break it with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from scribble_conversion.cli import main
from tests.scribble_conversion.conftest import DATASET, Acdc, write_volume

SHAPE = (4, 48, 48)
SPACING = (1.5, 1.5, 9.0)
IGNORE = 4
CASE = "patient021_frame01"
OTHER = "patient021_frame12"
Lines = Callable[..., list[str]]
"""What the fixture ``check`` is: runs the command, returns its problems."""


def dense_label() -> np.ndarray:
    """A ventricle beside a ring around another, alike in all slices; axes z, y, x."""
    label = np.zeros(SHAPE, dtype=np.uint8)
    label[:, 8:20, 6:18] = 1
    label[:, 24:44, 20:44] = 2
    label[:, 29:39, 26:38] = 3
    return label


def scribbled_label() -> np.ndarray:
    """A stroke of each class in all slices, one pixel wide, the rest unlabelled."""
    label = np.full(SHAPE, IGNORE, dtype=np.uint8)
    label[:, 3, 4:34] = 0
    label[:, 14, 7:17] = 1
    label[:, 26, 22:36] = 2
    label[:, 34, 28:37] = 3
    return label


def convert_strokes(acdc: Acdc, *more: str) -> None:
    """Give all cases of ``acdc`` strokes and convert them."""
    for case in acdc.cases():
        rng = np.random.default_rng(list(case.encode()))
        geometry: dict[str, Sequence[float]] = {"spacing": SPACING}
        write_volume(acdc.image(case), rng.integers(0, 400, SHAPE).astype(np.int16), **geometry)
        write_volume(acdc.dense(case), dense_label(), **geometry)
        write_volume(acdc.scribble(case), scribbled_label().astype(np.uint16), **geometry)
    assert main(acdc.arguments(*more)) == 0


def edit_label(path: Path, change: Callable[[np.ndarray], Any]) -> None:
    """Change the voxels of a file in place; ``change`` may return a new array instead."""
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    changed = change(array)
    write_volume(path, array if changed is None else changed, like=image)


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file in place; ``change`` may return new content instead."""
    content = json.loads(path.read_text())
    changed = change(content)
    path.write_text(json.dumps(content if changed is None else changed))


def image(made: Acdc, case: str = CASE, channel: int = 0) -> Path:
    return made.dataset / "imagesTr" / f"{case}_{channel:04d}.nii.gz"


def label(made: Acdc, case: str = CASE, folder: str = "labelsTr") -> Path:
    return made.dataset / folder / f"{case}.nii.gz"


def every_label(made: Acdc, folder: str = "labelsTr") -> list[Path]:
    return sorted((made.dataset / folder).iterdir())


def declare(made: Acdc, **changes: object) -> None:
    edit_json(made.dataset / "dataset.json", lambda content: content.update(changes))


def rename_cases(made: Acdc, new: Callable[[str], str]) -> None:
    """Call the cases otherwise, as in a dataset that was not made by this command."""
    for case in made.cases():
        image(made, case).rename(image(made, new(case)))
        for folder in ("labelsTr", "labelsTr_dense"):
            label(made, case, folder).rename(label(made, new(case), folder))
    edit_json(made.dataset / "dataset.json", lambda content: content.pop("scribbles") and None)
    splits = made.preprocessed / DATASET / "splits_final.json"
    edit_json(splits, lambda folds: [{side: [new(case) for case in fold[side]] for side in fold} for fold in folds])
