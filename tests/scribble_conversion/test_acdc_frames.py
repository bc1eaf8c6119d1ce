"""Frames of the 4D files as unlabelled images to train with."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from scribble_conversion.cli import main
from scribble_conversion.readers.acdc_frames import choose_frames
from tests.scribble_conversion.conftest import Acdc

FRAMES = 14
PATIENTS = ("patient021", "patient022", "patient041", "patient081")
CASE = "patient022_frame01"


def _series(acdc: Acdc, patient: str) -> Path:
    return acdc.images / patient / f"{patient}_4d.nii.gz"


def _write_series(acdc: Acdc, patient: str, change: Callable[[np.ndarray], np.ndarray] = lambda array: array) -> None:
    """Write the 4D file of a patient: the frames that are there, random ones between."""
    frames = {frame: nibabel.load(acdc.image(f"{patient}_frame{frame:02d}")) for frame in (1, 12)}
    first = frames[1]
    voxels = np.random.default_rng(int(patient[-3:])).normal(300, 100, (*first.shape, FRAMES))
    voxels = voxels.astype(first.get_data_dtype())
    for frame, image in frames.items():
        voxels[..., frame - 1] = np.asanyarray(image.dataobj)
    voxels = change(voxels)
    image = nibabel.Nifti1Image(voxels, first.affine)
    image.header.set_zooms((*first.header.get_zooms(), 0.04)[: voxels.ndim])
    image.to_filename(_series(acdc, patient))


def _names(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".nii.gz").removesuffix("_0000") for path in folder.iterdir())


def _scribbles_entry(acdc: Acdc) -> dict[str, dict[str, object]]:
    return json.loads((acdc.dataset / "dataset.json").read_text())["scribbles"]


@pytest.fixture
def series(acdc: Acdc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Acdc:
    """The ACDC of the fixture with 4D files; temporary files go where the tests can see them."""
    for patient in PATIENTS:
        _write_series(acdc, patient)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return acdc


@pytest.mark.parametrize("processes", ["1", "2"])
def test_all_other_frames(series: Acdc, tmp_path: Path, capsys: pytest.CaptureFixture[str], processes: str) -> None:
    before = series.fingerprint()
    assert main(series.arguments("--other-frames", "all", "--test-patients", "81", "-np", processes)) == 0
    assert series.fingerprint() == before
    assert not list((tmp_path / "temporary").iterdir())

    expected = [f"{patient}_frame{frame:02d}" for patient in PATIENTS[:3] for frame in range(1, FRAMES + 1)]
    assert _names(series.dataset / "imagesTr") == expected
    assert _names(series.dataset / "labelsTr") == expected
    assert _names(series.dataset / "labelsTr_dense") == [case for case in expected if case[-2:] in ("01", "12")]
    assert _names(series.dataset / "imagesTs") == ["patient081_frame01", "patient081_frame12"]
    assert "6 cases with scribbles, 0 with dense labels, 36 with none" in capsys.readouterr().out
    for case in expected:
        patient, _, frame = case.partition("_frame")
        written = nibabel.load(series.dataset / "imagesTr" / f"{case}_0000.nii.gz")
        whole = nibabel.load(_series(series, patient))
        first = nibabel.load(series.image(f"{patient}_frame01"))
        assert written.ndim == 3
        np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(whole.dataobj)[..., int(frame) - 1])
        assert written.get_data_dtype() == first.get_data_dtype()
        np.testing.assert_array_equal(written.affine, first.affine)
        assert written.header.get_zooms() == first.header.get_zooms() == whole.header.get_zooms()[:3]
        label = sitk.ReadImage(str(series.dataset / "labelsTr" / f"{case}.nii.gz"))
        assert (sitk.GetArrayFromImage(label) == 4).all() == (frame not in ("01", "12"))


def test_unlabelled_frames_never_validate(series: Acdc) -> None:
    assert main(series.arguments("--other-frames", "3")) == 0
    recorded = _scribbles_entry(series)["supervision"]
    assert set(recorded.values()) == {"none"}
    assert len(recorded) == 3 * len(PATIENTS)
    for fold in json.loads((series.preprocessed / series.dataset.name / "splits_final.json").read_text()):
        assert not set(fold["val"]) & recorded.keys()
        validated = {case.partition("_")[0] for case in fold["val"]}
        assert set(fold["train"]) & recorded.keys() == {
            case for case in recorded if case.partition("_")[0] not in validated
        }


def test_a_split_file_names_patients_or_cases(series: Acdc, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = tmp_path / "split.json"
    arguments = series.arguments("--other-frames", "2", "--split", str(split))
    split.write_text(json.dumps([{"train": [21, 22, 41], "val": ["patient081"]}]))
    assert main(arguments) == 0
    fold = json.loads((series.preprocessed / series.dataset.name / "splits_final.json").read_text())[0]
    assert fold["val"] == ["patient081_frame01", "patient081_frame12"]
    assert len(fold["train"]) == 3 * 4
    unlabelled = min(_scribbles_entry(series)["supervision"])
    split.write_text(json.dumps([{"train": [22, 41], "val": [81, unlabelled]}]))
    assert main([*arguments, "--overwrite"]) == 1
    assert f"fold 0, val names {unlabelled}, but there is no label" in capsys.readouterr().err


def test_test_set_and_scaled_files(series: Acdc) -> None:
    """Intensities are as the file means them, though it stores others; patients of the test set have no frames."""
    path = _series(series, "patient022")
    image = nibabel.load(path)
    voxels = np.asanyarray(image.dataobj)
    scaled = nibabel.Nifti1Image((voxels - 10) * 2, image.affine, image.header)
    scaled.header.set_slope_inter(0.5, 10)
    scaled.to_filename(path)
    assert nibabel.load(path).dataobj.slope == 0.5
    testing = series.root / "testing" / "patient101"
    testing.mkdir(parents=True)
    (testing / "patient101_frame01.nii.gz").write_bytes(series.image("patient021_frame01").read_bytes())

    assert main(series.arguments("--images", str(series.root), "--other-frames", "all")) == 0

    written = nibabel.load(series.dataset / "imagesTr" / "patient022_frame05_0000.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), voxels[..., 4])
    assert written.dataobj.slope == 1
    assert _names(series.dataset / "imagesTs") == ["patient101_frame01"]


def test_uncompressed_files(series: Acdc) -> None:
    for patient in PATIENTS:
        path = _series(series, patient)
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert main(series.arguments("--other-frames", "1")) == 0
    assert len(_names(series.dataset / "imagesTr")) == 12


def test_phases_are_turned_into_frames(series: Acdc) -> None:
    """Files named by phase: ``Info.cfg`` tells which frames are no other ones, and which to check by."""
    for folder in (series.images, series.scribbles):
        for file in sorted(folder.rglob("*_frame*")):
            file.rename(file.with_name(file.name.replace("frame01", "ES").replace("frame12", "ED")))
    for patient in PATIENTS:
        (series.images / patient / "Info.cfg").write_text("ED: 12\nES: 1\nGroup: HCM\n")
    assert main(series.arguments("--other-frames", "all")) == 0
    frames = [f"frame{frame:02d}" for frame in range(1, FRAMES + 1) if frame not in (1, 12)]
    assert _names(series.dataset / "imagesTr") == [
        f"{patient}_{name}" for patient in PATIENTS for name in ("ED", "ES", *frames)
    ]
    cases = _scribbles_entry(series)["cases"]
    assert cases["patient021_ED"] == {"phase": "ED", "group": "HCM"}
    assert cases["patient021_frame02"] == {"group": "HCM"}


def test_dense_patients_keep_their_other_frames_unlabelled(series: Acdc) -> None:
    assert main(series.arguments("--other-frames", "1", "--dense-patients", "22")) == 0
    recorded = _scribbles_entry(series)["supervision"]
    assert [recorded[case] for case in sorted(recorded) if "patient022" in case] == ["dense", "none", "dense"]


@pytest.mark.parametrize(
    ("most", "expected"),
    [(None, list(range(2, 12))), (10, list(range(2, 12))), (99, list(range(2, 12))), (1, [7]), (2, [4, 9])],
)
def test_frames_are_evenly_spaced(most: int | None, expected: list[int]) -> None:
    assert choose_frames(range(2, 12), most) == expected


@pytest.mark.parametrize("number", range(1, 29))
def test_frames_differ_and_spread(number: int) -> None:
    chosen = choose_frames(range(1, 29), number)
    assert len(set(chosen)) == number
    steps = np.diff(chosen)
    assert number == 1 or steps.max() - steps.min() <= 1


Damage = Callable[[Acdc], "list[str] | None"]
TABLE: dict[str, tuple[Damage, tuple[str, ...]]] = {}


def bad(*expected: str) -> Callable[[Damage], None]:
    """Enter a kind of bad input into the table, with what its sentence has to contain."""

    def enter(damage: Damage) -> None:
        TABLE[damage.__name__] = (damage, expected)

    return enter


@bad("'few' is no number of frames", "--other-frames")
def number_in_words(acdc: Acdc) -> list[str]:
    return ["--other-frames", "few"]


@bad("'0' is no number of frames")
def number_of_none(acdc: Acdc) -> list[str]:
    return ["--other-frames", "0"]


@bad("1 patients have no 4D file (patient022_4d.nii.gz)", "--images", "--other-frames")
def series_missing(acdc: Acdc) -> None:
    _series(acdc, "patient022").unlink()


@bad("are the same 4D file", "patient022_4d.nii.gz")
def series_twice(acdc: Acdc) -> None:
    (acdc.images / "patient022_4d.nii.gz").write_bytes(b"")


@bad("patient022_4d.nii.gz", "damaged or no NIfTI file")
def series_of_text(acdc: Acdc) -> None:
    _series(acdc, "patient022").write_text("404: Not Found")


@bad("patient022_4d.nii", "damaged or no NIfTI file")
def series_of_another_format(acdc: Acdc) -> None:
    nibabel.MGHImage(np.zeros((4, 4, 4, 2), np.float32), np.eye(4)).to_filename(acdc.root / "x.mgz")
    _series(acdc, "patient022").unlink()
    _series(acdc, "patient022").with_suffix("").write_bytes((acdc.root / "x.mgz").read_bytes())


@bad("patient022_4d.nii.gz", "damaged or no NIfTI file")
def series_truncated(acdc: Acdc) -> None:
    content = _series(acdc, "patient022").read_bytes()
    _series(acdc, "patient022").write_bytes(content[: len(content) // 2])


@bad("patient022_4d.nii.gz has 3 dimensions, expected 4")
def series_of_three_dimensions(acdc: Acdc) -> None:
    _write_series(acdc, "patient022", lambda voxels: voxels[..., 0])


@bad("patient022_4d.nii.gz holds the frames 1 to 11", "a frame 12")
def series_cut_short(acdc: Acdc) -> None:
    _write_series(acdc, "patient022", lambda voxels: voxels[..., :11])


@bad("patient022_4d.nii.gz does not contain", f"{CASE}.nii.gz", "same ACDC download")
def series_of_another_patient(acdc: Acdc) -> None:
    _write_series(acdc, "patient022", lambda voxels: voxels[..., ::-1])


@bad("patient022_4d.nii.gz has another size than", "(11, 9, 3) and (11, 9, 4)")
def series_of_another_size(acdc: Acdc) -> None:
    _write_series(acdc, "patient022", lambda voxels: voxels[:, :, :3])


@bad("patient022_4d.nii.gz has another spacing than", "(1.40625, 1.25, 8) and (1.40625, 1.25, 9.5)")
def series_of_another_spacing(acdc: Acdc) -> None:
    image = nibabel.load(_series(acdc, "patient022"))
    whole = nibabel.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header)
    whole.header.set_zooms((1.40625, 1.25, 8.0, 0.04))
    whole.to_filename(_series(acdc, "patient022"))


@bad("patient021_4d.nii.gz holds NaN", "frame 3")
def series_of_nan(acdc: Acdc) -> None:
    def spoil(voxels: np.ndarray) -> np.ndarray:
        voxels[0, 0, 0, 2] = np.nan
        return voxels

    _write_series(acdc, "patient021", spoil)


@bad(f"{CASE}.nii.gz", "damaged or no NIfTI file")
def reference_damaged(acdc: Acdc) -> None:
    acdc.image(CASE).write_text("404: Not Found")


@bad("patient021_ED.nii.gz is named by phase", "no Info.cfg", "patient021_Info.cfg")
def phases_without_info(acdc: Acdc) -> None:
    for folder in (acdc.images, acdc.scribbles):
        for file in sorted(folder.rglob("patient021_frame*")):
            file.rename(file.with_name(file.name.replace("frame01", "ED").replace("frame12", "ES")))


@bad("dataset id", "1 to 999")
def identifier_too_high(acdc: Acdc) -> list[str]:
    _series(acdc, "patient021").write_text("told before this is read")
    return ["-d", "1000"]


@pytest.mark.parametrize("name", TABLE)
def test_one_sentence_and_nothing_written(
    series: Acdc, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    damage, expected = TABLE[name]
    more = damage(series) or []
    before = series.fingerprint()
    assert main(series.arguments("--other-frames", "all", *more)) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    for part in expected:
        assert part in told.err
    assert series.written() == []
    assert series.fingerprint() == before
    assert not list((tmp_path / "temporary").iterdir())


def test_a_full_disk_is_told(series: Acdc, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nibabel.Nifti1Image, "to_filename", full)
    assert main(series.arguments("--other-frames", "1")) == 1
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert "TMPDIR" in told


def test_frames_that_no_fold_trains_with_are_told(series: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    file = series.root / "split.json"
    sides = {"train": ["patient022", "patient041", "patient081"], "val": ["patient021"]}
    cases = {side: [f"{name}_frame{f:02d}" for name in names for f in (1, 12)] for side, names in sides.items()}
    given = series.arguments("--other-frames", "2", "--split", str(file), "--overwrite")
    turned = {"train": [*cases["val"], *cases["train"][2:]], "val": cases["train"][:2]}  # patient 22 validates here
    for folds, told in (([cases], True), ([cases, turned], True), ([sides], False)):
        file.write_text(json.dumps(folds))
        assert main(given) == 0
        said = "".join(capsys.readouterr())
        assert ("warning: no fold trains with the unlabelled patient02" in said) == told
