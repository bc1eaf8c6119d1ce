"""A small sound dataset of each format, for tests that damage it; and what a refusal has to look like."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from skimage import io

from scribble_conversion.cli import main

SIZE = (7, 6, 3)  # x, y, z
SHAPE = SIZE[::-1]
SPACING = (1.5, 1.25, 9.0)


@dataclass(frozen=True)
class Sound:
    """A sound dataset.

    Attributes:
        place: a folder with ``source``, ``raw``, ``preprocessed`` and ``tmp``.
        arguments: the command line that converts it.
        image: one of its images.
        label: the scribbles of that image.
    """

    place: Path
    arguments: tuple[str, ...]
    image: Path
    label: Path

    @property
    def source(self) -> Path:
        return self.place / "source"

    @property
    def raw(self) -> Path:
        return self.place / "raw"

    @property
    def preprocessed(self) -> Path:
        return self.place / "preprocessed"

    def environment(self) -> dict[str, str]:
        folders = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}
        return {
            **{name: str(self.place / folder) for name, folder in folders.items()},
            "TMPDIR": str(self.place / "tmp"),
        }

    def listing(self) -> dict[str, str]:
        """Everything there is: links with where they lead, files with their digest."""
        found = {}
        for path in sorted(self.place.rglob("*")):
            if path.is_symlink():
                found[str(path)] = str(path.readlink())
            elif path.is_file() and os.access(path, os.R_OK):
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[str(path)] = ""
        return found

    def refused(self, capfd: pytest.CaptureFixture[str], *more: str, names: Path | None = None) -> str:
        """Convert in vain: one sentence with a cure, nothing left behind anywhere, nothing changed.

        Returns:
            The sentence.
        """
        before = self.listing()
        capfd.readouterr()
        status = main([*self.arguments, *more])
        told = capfd.readouterr()
        assert (status, told.out) == (1, ""), told
        assert_one_sentence(told.err)
        assert names is None or str(names) in told.err
        assert self.listing() == before
        return told.err


def assert_one_sentence(told: str) -> None:
    assert told.startswith("error: ")
    assert told.endswith("\n")
    assert told.count("\n") == 1, told
    assert "; " in told, "the cure comes after a semicolon"
    assert "Traceback" not in told


def _volume(path: Path, array: np.ndarray) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[: array.ndim])
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def _arrays(seed: int, unlabelled: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image, its scribbles (codes 0 to 3 and ``unlabelled``), its dense label; axes (z, y, x)."""
    rng = np.random.default_rng(seed)
    dense = rng.permutation(np.arange(np.prod(SHAPE)) % 4).reshape(SHAPE).astype(np.uint8)
    drawn = rng.permutation(np.arange(np.prod(SHAPE)) % 4 == 0).reshape(SHAPE) | (dense == 3)
    return rng.normal(100, 30, SHAPE).astype(np.float32), np.where(drawn, dense, unlabelled).astype(np.uint8), dense


def _acdc(place: Path) -> Sound:
    source = place / "source"
    for patient in (1, 21):
        image, scribble, dense = _arrays(patient, 4)
        name = f"patient{patient:03d}_frame01"
        _volume(source / "training" / name[:10] / f"{name}.nii.gz", image)
        _volume(source / "training" / name[:10] / f"{name}_gt.nii.gz", dense)
        _volume(source / "scribbles" / f"{name}_scribble.nii.gz", scribble)
    folders = ("--images", str(source / "training"), "--scribbles", str(source / "scribbles"))
    image_file = source / "training" / "patient021" / "patient021_frame01.nii.gz"
    return Sound(place, ("acdc", *folders), image_file, source / "scribbles" / "patient021_frame01_scribble.nii.gz")


def _pairs(place: Path, ending: str) -> Sound:
    source = place / "source"
    for seed, name in enumerate(("a", "b")):
        image, scribble, _ = _arrays(seed, 255)
        for folder, array in (("images", image), ("scribbles", scribble)):
            file = source / folder / f"{name}{ending}"
            if ending in {".png", ".tif"}:
                file.parent.mkdir(parents=True, exist_ok=True)
                kept = array[0].astype(np.uint8) if ending == ".png" or folder == "scribbles" else array[0]
                io.imsave(file, kept, check_contrast=False)
            else:
                _volume(file, array)
    folders = ("--images", str(source / "images"), "--scribbles", str(source / "scribbles"))
    return Sound(place, ("nifti", *folders), source / "images" / f"b{ending}", source / "scribbles" / f"b{ending}")


def _mscmr(place: Path) -> Sound:
    source = place / "source" / "MSCMR_dataset"
    for folder, subject in (("train", 2), ("train", 3), ("val", 1)):
        image, scribble, dense = _arrays(subject, 4)
        kind, label = ("scribble", scribble) if folder == "train" else ("manual", dense)
        _volume(source / folder / "images" / f"subject{subject}_DE.nii.gz", image)
        _volume(source / folder / "labels" / f"subject{subject}_DE_{kind}.nii.gz", label)
    train = source / "train"
    label_file = train / "labels" / "subject3_DE_scribble.nii.gz"
    return Sound(place, ("mscmr", "--data", str(source)), train / "images" / "subject3_DE.nii.gz", label_file)


def _scribblebench(place: Path) -> Sound:
    source = place / "source" / "Dataset201_Old"
    for seed, name in enumerate(("a", "b")):
        image, scribble, dense = _arrays(seed, 4)
        _volume(source / "imagesTr" / f"{name}_0000.nii.gz", image)
        _volume(source / "labelsTr" / f"{name}.nii.gz", scribble)
        _volume(source / "labelsTr_dense" / f"{name}.nii.gz", dense)
    files = source / "imagesTr" / "b_0000.nii.gz", source / "labelsTr" / "b.nii.gz"
    return Sound(place, ("scribblebench", "--data", str(source)), *files)


def _wsl4mis(place: Path) -> Sound:
    """``image`` is the original image, ``label`` a slice's file."""
    source = place / "source"
    for patient in (1, 21):
        image, scribble, dense = _arrays(patient, 4)
        name = f"patient{patient:03d}_frame01"
        _volume(source / "images" / f"{name}.nii.gz", image)
        (source / "slices").mkdir(exist_ok=True)
        for number in range(SIZE[2]):
            with h5py.File(source / "slices" / f"{name}_slice_{number}.h5", "w") as file:
                for key, array in (("image", image), ("scribble", scribble), ("label", dense)):
                    file[key] = array[number]
    folders = ("--data", str(source / "slices"), "--images", str(source / "images"))
    image_file = source / "images" / "patient021_frame01.nii.gz"
    return Sound(place, ("wsl4mis", *folders), image_file, source / "slices" / "patient021_frame01_slice_1.h5")


BUILDERS: dict[str, Callable[[Path], Sound]] = {
    "acdc": _acdc,
    "nifti": lambda place: _pairs(place, ".nii.gz"),
    "nrrd": lambda place: _pairs(place, ".nrrd"),
    "mha": lambda place: _pairs(place, ".mha"),
    "png": lambda place: _pairs(place, ".png"),
    "tif": lambda place: _pairs(place, ".tif"),
    "mscmr": _mscmr,
    "scribblebench": _scribblebench,
    "wsl4mis": _wsl4mis,
}
NIFTI_READERS = ("acdc", "nifti", "mscmr", "scribblebench")
"""Those whose images and labels are both NIfTI files."""


def build(reader: str, place: Path, more: Sequence[str] = ("-d", "9", "-n", "New", "-np", "1")) -> Sound:
    """Make the dataset of one reader and empty folders for nnU-Net and for temporary files."""
    for folder in ("source", "raw", "preprocessed", "tmp"):
        (place / folder).mkdir(parents=True)
    made = BUILDERS[reader](place)
    split = () if reader == "mscmr" else ("--split", "random")
    return Sound(made.place, (*made.arguments, *split, *more), made.image, made.label)
