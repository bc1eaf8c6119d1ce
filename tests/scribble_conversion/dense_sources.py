"""Small datasets with dense labels, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from skimage import io

from tests.scribble_conversion.conftest import write_volume
from tests.scribble_conversion.drawing.shapes import heart

SHAPE = (5, 60, 50)
CASES = ("one_01", "one_02", "two_01", "three_01")


def dense_volume(number: int, codes: tuple[int, ...] = (0, 1, 2, 3)) -> np.ndarray:
    """Hearts, moved a little in each slice; the last slice is empty."""
    small = heart()[::2, ::2]
    planes = [np.roll(small, (number - slice_, slice_), axis=(0, 1)) for slice_ in range(SHAPE[0])]
    planes[-1][:] = 0
    return np.array(codes, dtype=np.uint8)[np.stack(planes)]


def intensities(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(300, 50, SHAPE).astype(np.float32)


def write_raw_dataset(folder: Path, channels: int = 1, codes: tuple[int, ...] = (0, 1, 2, 3)) -> Path:
    """An nnU-Net raw dataset with a test set of one case."""
    for number, case in enumerate(CASES):
        for channel in range(channels):
            write_volume(folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz", intensities(10 * channel + number))
        write_volume(folder / "labelsTr" / f"{case}.nii.gz", dense_volume(number, codes))
    for channel in range(channels):
        write_volume(folder / "imagesTs" / f"four_01_{channel:04d}.nii.gz", intensities(99))
    write_volume(folder / "labelsTs" / "four_01.nii.gz", dense_volume(9, codes))
    content = {
        "channel_names": {str(channel): name for channel, name in enumerate(("T2", "CT", "PET")[:channels])},
        "labels": dict(zip(("background", "RV", "MYO", "LV"), codes, strict=True)),
        "numTraining": len(CASES),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def write_folders(root: Path, codes: tuple[int, ...] = (0, 1, 2, 3)) -> tuple[Path, Path]:
    """Plain folders, the files of an image and its label called the same."""
    for number, case in enumerate(CASES):
        write_volume(root / "images" / f"{case}.nii.gz", intensities(number))
        write_volume(root / "labels" / f"{case}.nii.gz", dense_volume(number, codes))
    return root / "images", root / "labels"


def write_png_folders(root: Path) -> tuple[Path, Path]:
    """Colour images with labels, 2D."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number, case in enumerate(CASES):
        labels = dense_volume(number)[1]
        colours = np.random.default_rng(number).integers(0, 255, (*labels.shape, 3)).astype(np.uint8)
        io.imsave(root / "images" / f"{case}.png", colours, check_contrast=False)
        io.imsave(root / "labels" / f"{case}.png", labels, check_contrast=False)
    return root / "images", root / "labels"


def read(path: Path) -> np.ndarray:
    """Voxels of a written label."""
    return np.asarray(io.imread(path)) if path.suffix == ".png" else sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
