"""Small ACDC-like datasets made on the spot, and nnU-Net's folders in a temporary place."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

from scribble_conversion.cli import main

SIZE = (11, 9, 4)  # x, y, z
SPACING = (1.40625, 1.25, 9.5)
ORIGIN = (-31.5, 12.25, 88.0)
# Rotated about two axes: no row or column is a coordinate axis.
DIRECTION = (0.8, -0.48, 0.36, 0.6, 0.64, -0.48, 0.0, 0.6, 0.8)
FRAMES = (1, 12)
DATASET = "Dataset127_ACDCscribbles"


def write_volume(path: Path, array: np.ndarray, like: sitk.Image | None = None, **geometry: Sequence[float]) -> None:
    """Write ``array`` (z, y, x) with the geometry above, parts of it replaced by ``geometry``."""
    image = sitk.GetImageFromArray(array)
    if like is not None:
        image.CopyInformation(like)
    elif array.ndim == 3:
        image.SetSpacing(geometry.get("spacing", SPACING))
        image.SetOrigin(geometry.get("origin", ORIGIN))
        image.SetDirection(geometry.get("direction", DIRECTION))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


@dataclass
class Acdc:
    """A small ACDC download.

    Attributes:
        root: holds ``training`` and ``scribbles``.
        images: what to give with ``--images``.
        scribbles: what to give with ``--scribbles``.
        raw: ``nnUNet_raw``.
        preprocessed: ``nnUNet_preprocessed``.
    """

    root: Path
    images: Path
    scribbles: Path
    raw: Path
    preprocessed: Path

    @property
    def dataset(self) -> Path:
        return self.raw / DATASET

    def image(self, case: str, ending: str = ".nii.gz") -> Path:
        return self.images / case.partition("_")[0] / f"{case}{ending}"

    def dense(self, case: str) -> Path:
        return self.image(case, "_gt.nii.gz")

    def scribble(self, case: str) -> Path:
        return self.scribbles / f"{case}_scribble.nii.gz"

    def cases(self) -> list[str]:
        return sorted(path.name.removesuffix("_scribble.nii.gz") for path in self.scribbles.glob("*_scribble.nii.gz"))

    def add(self, patient: int, dense: bool = True) -> None:
        """Add one patient; intensities, dense labels and scribbles are random but fixed by the patient's number."""
        rng = np.random.default_rng(patient)
        for frame in FRAMES:
            case = f"patient{patient:03d}_frame{frame:02d}"
            intensities = rng.normal(300, 100, SIZE[::-1])
            write_volume(self.image(case), intensities.astype(np.float32 if patient % 2 else np.int16))
            labels = rng.integers(0, 4, SIZE[::-1]).astype(np.uint8)
            if dense:
                write_volume(self.dense(case), labels)
            drawn = rng.random(SIZE[::-1]) < 0.3
            write_volume(self.scribble(case), np.where(drawn, labels, 4).astype(np.uint16))

    def zip(self, path: Path) -> Path:
        """Pack the scribbles as they are distributed, an operating system's litter included."""
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("acdc_scribbles/", "")
            archive.writestr("acdc_scribbles/.DS_Store", b"litter")
            for file in sorted(self.scribbles.glob("*.nii.gz")):
                archive.write(file, f"acdc_scribbles/{file.name}")
                archive.writestr(f"__MACOSX/acdc_scribbles/._{file.name}", b"litter")
        return path

    def arguments(self, *more: str) -> list[str]:
        """The command line, one process; ``more`` comes last."""
        given = ["--images", str(self.images), "--scribbles", str(self.scribbles), "-d", "127", "-np", "1"]
        return ["acdc", *given, *more]

    def fingerprint(self) -> dict[str, str]:
        """Digest of every source file."""
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }

    def written(self) -> list[str]:
        """Everything in nnU-Net's folders, hidden files and empty folders included."""
        return sorted(
            str(path.relative_to(self.raw.parent))
            for folder in (self.raw, self.preprocessed)
            for path in folder.rglob("*")
        )


@dataclass
class Workplace:
    """A folder for sources, and nnU-Net's folders beside it.

    Attributes:
        root: for sources.
        raw: ``nnUNet_raw``.
        preprocessed: ``nnUNet_preprocessed``.
    """

    root: Path
    raw: Path
    preprocessed: Path

    def volume(self, name: str, array: np.ndarray, **geometry: Sequence[float]) -> Path:
        """Write a volume (z, y, x) with the oblique geometry above."""
        write_volume(self.root / name, array, **geometry)
        return self.root / name

    def contents(self) -> dict[str, bytes]:
        """Every source file."""
        return {str(path): path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()}

    def written(self) -> list[str]:
        """Everything in nnU-Net's folders, hidden files and empty folders included."""
        folders = (self.raw, self.preprocessed)
        return sorted(str(path.relative_to(folder)) for folder in folders for path in folder.rglob("*"))

    def dataset_json(self) -> dict[str, Any]:
        """That of the one dataset there is."""
        (dataset,) = self.raw.iterdir()
        return json.loads((dataset / "dataset.json").read_text())

    def label(self, name: str) -> np.ndarray:
        """A label of the one dataset there is, e.g. ``labelsTr/a.nii.gz``, read by nnU-Net; axes (z, y, x)."""
        (dataset,) = self.raw.iterdir()
        description = self.dataset_json()
        reader = determine_reader_writer_from_dataset_json(description, verbose=False)()
        return reader.read_seg(str(dataset / name))[0][0]

    def refused(self, capfd: pytest.CaptureFixture[str], arguments: Sequence[object]) -> str:
        """Run a command that has to fail: one sentence, nothing written, the sources untouched.

        Returns:
            The sentence.
        """
        capfd.readouterr()
        sources, before = self.contents(), self.written()
        assert main([str(argument) for argument in arguments]) == 1
        told = capfd.readouterr()
        assert told.out == ""
        assert told.err.startswith("error: ")
        assert told.err.count("\n") == 1
        assert self.written() == before
        assert self.contents() == sources
        return told.err


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """An empty one."""
    made = Workplace(tmp_path / "source", tmp_path / "raw", tmp_path / "preprocessed")
    for folder in (made.root, made.raw, made.preprocessed):
        folder.mkdir()
    monkeypatch.setenv("nnUNet_raw", str(made.raw))
    monkeypatch.setenv("nnUNet_preprocessed", str(made.preprocessed))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    monkeypatch.delenv("nnUNet_def_n_proc", raising=False)
    return made


@pytest.fixture
def acdc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Acdc:
    """Patients 21, 22, 41 and 81 of two frames each, in the official layout; nnU-Net's folders empty."""
    made = Acdc(
        root=tmp_path / "source",
        images=tmp_path / "source" / "training",
        scribbles=tmp_path / "source" / "scribbles",
        raw=tmp_path / "nnunet" / "raw",
        preprocessed=tmp_path / "nnunet" / "preprocessed",
    )
    for patient in (21, 22, 41, 81):
        made.add(patient)
    made.raw.mkdir(parents=True)
    made.preprocessed.mkdir()
    monkeypatch.setenv("nnUNet_raw", str(made.raw))
    monkeypatch.setenv("nnUNet_preprocessed", str(made.preprocessed))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "nnunet" / "results"))
    monkeypatch.delenv("nnUNet_def_n_proc", raising=False)
    return made
