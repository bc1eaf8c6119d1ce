"""Scribbles drawn on real dense labels, where they are at hand beside the checkout."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_labels
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from scribble_conversion.cli import main
from tests.scribble_conversion.conftest import Acdc

DATA = Path(__file__).parents[2].parent / "shared" / "data"
PATIENTS = ("patient021", "patient035", "patient046", "patient060", "patient081", "patient093")


def _read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.skipif(not (DATA / "hippocampus").is_dir(), reason=f"the hippocampus data is not in {DATA}")
def test_hippocampus(acdc: Acdc, tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        for file in sorted((DATA / "hippocampus" / folder).glob("*.nii.gz"))[:4]:
            (tmp_path / folder / file.name).symlink_to(file)
    given = ["--images", str(tmp_path / "imagesTr"), "--labels", str(tmp_path / "labelsTr")]
    assert main(["generate", *given, "-d", "204", "-np", "1"]) == 0
    written = sorted((acdc.raw / "Dataset204_GeneratedScribbles" / "labelsTr").iterdir())
    assert len(written) == 4
    for file in written:
        assert verify_labels(str(file), SimpleITKIO, [0, 1, 2, 3])
        scribbles, dense = _read(file), _read(tmp_path / "labelsTr" / file.name)
        drawn = scribbles != 3
        assert np.array_equal(scribbles[drawn], dense[drawn])
        for plane, reference in zip(scribbles, dense, strict=True):
            assert set(np.unique(reference)) <= set(np.unique(plane))


@pytest.mark.skipif(not (DATA / "acdc").is_dir(), reason=f"the ACDC data is not in {DATA}")
def test_about_as_much_is_drawn_as_a_person_did(acdc: Acdc, tmp_path: Path) -> None:
    """The share of voxels of each class, against the public expert scribbles of the same images."""
    expert = np.zeros(5)
    with zipfile.ZipFile(DATA / "acdc" / "acdc_scribbles.zip") as archive:
        for name in archive.namelist():
            if Path(name).name.startswith(PATIENTS):
                (tmp_path / "scribble.nii.gz").write_bytes(archive.read(name))
                expert += np.bincount(_read(tmp_path / "scribble.nii.gz").ravel(), minlength=5)
    for folder, ending in (("images", ""), ("labels", "_gt")):
        (tmp_path / folder).mkdir()
        for patient in PATIENTS:
            for file in (DATA / "acdc" / "training" / patient).glob(f"{patient}_frame??{ending}.nii.gz"):
                (tmp_path / folder / file.name.replace("_gt", "")).symlink_to(file)
    given = ["--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels")]
    assert main(["generate", *given, "-d", "205", "-np", "1"]) == 0
    drawn = np.zeros(5)
    for file in (acdc.raw / "Dataset205_GeneratedScribbles" / "labelsTr").iterdir():
        drawn += np.bincount(_read(file).ravel(), minlength=5)
    assert drawn.sum() == expert.sum()
    assert ((drawn / expert)[:4] > 0.6).all()
    assert ((drawn / expert)[:4] < 1.6).all()
