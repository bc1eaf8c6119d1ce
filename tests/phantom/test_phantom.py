"""Phantoms: deterministic, anatomically sane, scribbled like ACDC, written like ACDC."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial import KDTree

from nnunetv2_pclmix.phantom.__main__ import main
from nnunetv2_pclmix.phantom.anatomy import LV, MYO, RV, UNLABELLED, contours, draw_heart
from nnunetv2_pclmix.phantom.patient import Patient, make_patient
from nnunetv2_pclmix.phantom.writer import write_phantoms


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    return [make_patient(np.random.default_rng(seed)) for seed in range(6)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "new"
    assert main(["--output", str(folder), "--patients", "2", "--seed", "3"]) == 0
    return folder


def _frames(patients: list[Patient]):
    return [frame for patient in patients for frame in patient.frames.values()]


def test_same_seed_same_patient_and_other_seed_other_patient() -> None:
    first, second, other = (make_patient(np.random.default_rng(seed)) for seed in (1, 1, 2))
    for name, frame in first.frames.items():
        assert np.array_equal(frame.image, second.frames[name].image)
        assert np.array_equal(frame.label, second.frames[name].label)
        assert np.array_equal(frame.scribble, second.frames[name].scribble)
    assert first.spacing == second.spacing
    assert first.frames["ED"].image.shape != other.frames["ED"].image.shape or not np.array_equal(
        first.frames["ED"].image, other.frames["ED"].image
    )


def test_global_random_stream_is_left_alone() -> None:
    _, keys, position, *_ = np.random.get_state()  # noqa: NPY002
    keys = keys.copy()
    make_patient(np.random.default_rng(0))
    assert np.array_equal(keys, np.random.get_state()[1])  # noqa: NPY002
    assert position == np.random.get_state()[2]  # noqa: NPY002


def test_scribbles_agree_with_the_dense_label(patients: list[Patient]) -> None:
    for frame in _frames(patients):
        assert frame.scribble.dtype == np.uint16
        assert frame.label.dtype == np.uint8
        labelled = frame.scribble != UNLABELLED
        assert np.array_equal(frame.scribble[labelled], frame.label[labelled])


def test_scribbles_are_sparse_and_complete(patients: list[Patient]) -> None:
    shares = []
    for frame in _frames(patients):
        assert set(np.unique(frame.scribble)) == {0, 1, 2, 3, 4}
        assert set(np.unique(frame.label)) == {0, 1, 2, 3}
        shares.append((frame.scribble != UNLABELLED).mean())
        for dense, sparse in zip(frame.label, frame.scribble, strict=True):
            assert (sparse == 0).sum() >= 30
            for value in (MYO, LV):
                assert (sparse == value).any()
            assert (sparse == RV).any() or (dense == RV).sum() < 25
    assert min(shares) > 0.005
    assert max(shares) < 0.03


def test_background_strokes_stay_near_the_heart(patients: list[Patient]) -> None:
    for patient in patients:
        for frame in patient.frames.values():
            for dense, sparse in zip(frame.label, frame.scribble, strict=True):
                heart = np.argwhere(dense > 0) * patient.spacing[0]
                strokes = np.argwhere(sparse == 0) * patient.spacing[0]
                distance = KDTree(heart).query(strokes)[0]
                assert distance.min() > 2.0
                assert distance.max() < 60.0


def test_anatomy_tapers_and_contracts() -> None:
    for seed in range(20):
        heart = draw_heart(np.random.default_rng(seed))
        base, apex, systole = contours(heart, 0.05, "ED"), contours(heart, 0.97, "ED"), contours(heart, 0.05, "ES")
        assert apex.endo.mean() < base.endo.mean()
        assert systole.endo.mean() < base.endo.mean()
        assert (systole.epi - systole.endo).mean() > (base.epi - base.endo).mean()
        assert (base.endo < base.epi).all()
        assert (base.epi <= base.outer).all()
        assert (base.outer - base.epi).max() > 15.0
        assert (apex.outer - apex.epi).max() < 0.6 * (base.outer - base.epi).max()


def test_right_ventricle_vanishes_in_some_apical_slice(patients: list[Patient]) -> None:
    at_apex = [(frame.label[-1] == RV).sum() for frame in _frames(patients)]
    at_base = [(frame.label[0] == RV).sum() for frame in _frames(patients)]
    assert min(at_apex) == 0
    assert min(at_base) > 50


def test_images_are_usable(patients: list[Patient]) -> None:
    for frame in _frames(patients):
        assert frame.image.dtype == np.int16
        assert frame.image.min() >= 0
        assert frame.image[frame.label == LV].mean() > 1.3 * frame.image[frame.label == MYO].mean()


def test_contours_refuse_nonsense() -> None:
    heart = draw_heart(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"1\.5"):
        contours(heart, 1.5, "ED")
    with pytest.raises(ValueError, match="'XX'"):
        contours(heart, 0.5, "XX")


def test_layout_is_that_of_acdc(written: Path) -> None:
    names = sorted(path.name for path in (written / "training").iterdir())
    assert names == ["patient001", "patient002"]
    archive = zipfile.ZipFile(written / "acdc_scribbles.zip")
    assert any(name.startswith("__MACOSX/") for name in archive.namelist())
    for folder in (written / "training").iterdir():
        info = dict(line.split(": ") for line in (folder / "Info.cfg").read_text().splitlines())
        assert {"ED", "ES", "Group", "Height", "NbFrame", "Weight"} == set(info)
        stems = [f"{folder.name}_frame{int(info[key]):02d}" for key in ("ED", "ES")]
        expected = {"Info.cfg"} | {f"{stem}{end}.nii.gz" for stem in stems for end in ("", "_gt")}
        assert {path.name for path in folder.iterdir()} == expected
        for stem in stems:
            assert f"acdc_scribbles/{stem}_scribble.nii.gz" in archive.namelist()


def test_geometry_is_anisotropic_and_equal(written: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(written / "acdc_scribbles.zip").extractall(tmp_path)
    for label_path in (written / "training").glob("*/*_gt.nii.gz"):
        stem = label_path.name.removesuffix("_gt.nii.gz")
        image = sitk.ReadImage(str(label_path.with_name(f"{stem}.nii.gz")))
        scribbles = sitk.ReadImage(str(tmp_path / "acdc_scribbles" / f"{stem}_scribble.nii.gz"))
        assert image.GetSpacing()[2] > 3 * image.GetSpacing()[0]
        for other in (sitk.ReadImage(str(label_path)), scribbles):
            assert other.GetSize() == image.GetSize()
            assert np.allclose(other.GetSpacing(), image.GetSpacing())
            assert np.allclose(other.GetOrigin(), image.GetOrigin())
            assert np.allclose(other.GetDirection(), image.GetDirection())
        assert scribbles.GetPixelID() == sitk.sitkUInt16


def test_first_patients_do_not_depend_on_how_many_follow(written: Path, tmp_path: Path) -> None:
    write_phantoms(tmp_path, 1, np.random.default_rng(3))
    for path in (tmp_path / "training" / "patient001").glob("*.nii.gz"):
        twin = written / "training" / "patient001" / path.name
        assert np.array_equal(
            sitk.GetArrayFromImage(sitk.ReadImage(str(path))), sitk.GetArrayFromImage(sitk.ReadImage(str(twin)))
        )


def test_refuses_a_full_folder_and_silly_numbers(written: Path, tmp_path: Path, capsys) -> None:
    assert main(["--output", str(written), "--patients", "1"]) == 2
    assert "not empty" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["--output", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["--output", str(tmp_path / "x"), "--patients", "0"]) == 2
    assert "at least one" in capsys.readouterr().err
