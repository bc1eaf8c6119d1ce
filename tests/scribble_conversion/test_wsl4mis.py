"""``nnUNetv2_convert_scribbles wsl4mis`` from the command line to the files."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk

from scribble_conversion.cli import main
from scribble_conversion.readers.wsl4mis import patient_of
from tests.scribble_conversion.conftest import SIZE, SPACING, Acdc, write_volume

CASE = "patient022_frame12"
NAMES = ("image", "scribble", "label")


@dataclass
class Hdf5:
    """The HDF5 files of a small ACDC."""

    acdc: Acdc
    data: Path

    @property
    def dataset(self) -> Path:
        return self.acdc.raw / "Dataset127_WSL4MIS"

    def slice(self, number: int, case: str = CASE) -> Path:
        return self.data / "ACDC_training_slices" / f"{case}_slice_{number}.h5"

    def volume(self, case: str = CASE) -> Path:
        return self.data / "ACDC_training_volumes" / f"{case}.h5"

    def arrays(self, case: str) -> dict[str, np.ndarray]:
        """What is stored of a case: intensities clipped and scaled slice by slice."""
        image = read(self.acdc.image(case)).astype(np.float64)
        low = image.min(axis=(1, 2), keepdims=True)
        top = np.percentile(image, 99, axis=(1, 2), keepdims=True)
        return {
            "image": ((image.clip(max=top) - low) / (top - low)).astype(np.float32),
            "scribble": read(self.acdc.scribble(case)),
            "label": read(self.acdc.dense(case)),
        }

    def export(self, case: str, turn: Callable[[np.ndarray], np.ndarray] = lambda array: array) -> None:
        """Write the slices of a case."""
        arrays = {name: turn(array) for name, array in self.arrays(case).items()}
        for number in range(len(arrays["image"])):
            write_h5(self.slice(number, case), {name: array[number] for name, array in arrays.items()})

    def change(self, path: Path, **arrays: np.ndarray | None) -> None:
        """Replace datasets of a file, or leave them out."""
        with h5py.File(path) as file:
            held = {name: dataset[()] for name, dataset in file.items()}
        write_h5(path, {name: array for name, array in {**held, **arrays}.items() if array is not None})

    def arguments(self, *more: str) -> list[str]:
        given = ["--data", str(self.data), "--images", str(self.acdc.images), "-d", "127", "-np", "1"]
        return ["wsl4mis", *given, *more]

    def without_images(self, *more: str) -> list[str]:
        return ["wsl4mis", "--data", str(self.data), "-d", "127", "-np", "1", *more]


def read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def write_h5(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip" if array.ndim > 1 else None)


@pytest.fixture
def hdf5(acdc: Acdc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hdf5:
    """The slices of all cases of ``acdc``; temporary files go where the tests can see them."""
    made = Hdf5(acdc, tmp_path / "source" / "h5")
    for case in acdc.cases():
        made.export(case)
    (made.data / "train.list").write_text("patient021_frame01_slice_0\n")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return made


def _same_dataset(left: Path, right: Path) -> int:
    """Check that two datasets hold the same volumes in the same geometry; return how many."""
    files = sorted(path.relative_to(left) for path in left.rglob("*.nii.gz"))
    assert files == sorted(path.relative_to(right) for path in right.rglob("*.nii.gz"))
    for file in files:
        one, other = sitk.ReadImage(str(left / file)), sitk.ReadImage(str(right / file))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(other))
        assert one.GetPixelID() == other.GetPixelID()
        for geometry in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(one, geometry)() == getattr(other, geometry)()
    return len(files)


TURNS = {
    "as it is": lambda array: array,
    "rows and columns swapped": lambda array: array.transpose(0, 2, 1),
    "upside down": lambda array: array[:, ::-1],
    "last slice first": lambda array: array[::-1],
    "rotated, last slice first": lambda array: np.rot90(array, axes=(1, 2))[::-1],
}


@pytest.mark.parametrize("name", TURNS)
def test_slices_give_what_the_nifti_scribbles_give(
    hdf5: Hdf5, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    for case in hdf5.acdc.cases()[:3]:
        hdf5.export(case, TURNS[name])
    before = hdf5.acdc.fingerprint()
    assert main([*hdf5.acdc.arguments("--test-patients", "81"), "-n", "A", "-d", "1"]) == 0
    capsys.readouterr()
    assert main(hdf5.arguments("--test-patients", "81")) == 0
    assert _same_dataset(hdf5.acdc.raw / "Dataset001_A", hdf5.dataset) == 3 * 6 + 2 * 2
    told = capsys.readouterr().out
    assert f"{0 if name == 'as it is' else 3} of 8 cases turned or flipped" in told
    assert hdf5.acdc.fingerprint() == before
    assert not list((tmp_path / "temporary").iterdir())
    recorded = json.loads((hdf5.dataset / "dataset.json").read_text())
    assert recorded["scribbles"]["source_format"] == "wsl4mis"
    assert all(0.999 < recorded["scribbles"]["cases"][case]["correlation"] <= 1 for case in hdf5.acdc.cases())
    splits = [
        json.loads((hdf5.acdc.preprocessed / dataset / "splits_final.json").read_text())
        for dataset in ("Dataset001_A", hdf5.dataset.name)
    ]
    assert splits[0] == splits[1]


def test_volumes_alone_and_beside_slices(hdf5: Hdf5) -> None:
    for case in hdf5.acdc.cases():
        write_h5(hdf5.volume(case), hdf5.arrays(case))
    image = read(hdf5.acdc.image(CASE)).astype(np.float32)  # scaled as a whole and not clipped: still the same
    hdf5.change(hdf5.volume(), image=image / image.max(), scribble=None)
    for path in (hdf5.data / "ACDC_training_slices").glob("patient041*"):
        path.unlink()
    assert main([*hdf5.acdc.arguments(), "-n", "A", "-d", "1"]) == 0
    assert main(hdf5.arguments("-np", "2")) == 0
    assert _same_dataset(hdf5.acdc.raw / "Dataset001_A", hdf5.dataset) == 3 * 8


def test_slices_counted_from_one_with_zeros_in_front(hdf5: Hdf5) -> None:
    for case in hdf5.acdc.cases():
        for number in reversed(range(SIZE[2])):
            hdf5.slice(number, case).rename(hdf5.data / f"{case}_slice_{number + 1:03d}.h5")
    assert main([*hdf5.acdc.arguments(), "-n", "A", "-d", "1"]) == 0
    assert main(hdf5.arguments()) == 0
    assert _same_dataset(hdf5.acdc.raw / "Dataset001_A", hdf5.dataset) == 3 * 8


def test_ten_slices_and_more_are_ordered_by_number(hdf5: Hdf5) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        labels = np.full((5, 6), number % 4)
        write_h5(hdf5.slice(number, "patient023_frame01"), {"image": rng.random((5, 6)), "scribble": labels})
    assert main(hdf5.without_images("--spacing", "1", "1", "1")) == 0
    written = read(hdf5.dataset / "labelsTr" / "patient023_frame01.nii.gz")
    assert written[:, 0, 0].tolist() == [number % 4 for number in range(12)]


def test_without_the_originals_the_spacing_counts(hdf5: Hdf5, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(hdf5.without_images("--spacing", *map(str, SPACING), "--test-patients", "81")) == 0
    assert "intensities as stored" in capsys.readouterr().out
    for folder, name in (("imagesTr", "image"), ("labelsTr", "scribble"), ("labelsTr_dense", "label")):
        ending = "_0000.nii.gz" if name == "image" else ".nii.gz"
        written = sitk.ReadImage(str(hdf5.dataset / folder / f"{CASE}{ending}"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(written), hdf5.arrays(CASE)[name])
        assert written.GetSpacing() == pytest.approx(SPACING)
    recorded = json.loads((hdf5.dataset / "dataset.json").read_text())
    assert recorded["labels"] == {"background": 0, "RV": 1, "MYO": 2, "LV": 3, "ignore": 4}
    assert recorded["scribbles"]["cases"] == {}


def test_other_structures_and_codes(acdc: Acdc, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for subject in range(1, 5):
        labels = rng.choice([0, 1, 2, 255], (3, 6, 5))
        write_h5(tmp_path / f"subject{subject}_DE.hdf5", {"image": rng.random((3, 6, 5)), "scribble": labels})
    (tmp_path / "split.json").write_text('[{"train": [1, 2], "val": ["subject3_DE"]}]')
    given = ["--data", str(tmp_path), "--spacing", "1", "1", "2", "-d", "127", "-n", "Scar", "-np", "1"]
    words = ["--labels", "scar", "edema", "--unlabelled-value", "255", "--channel", "LGE", "--test-patients", "4"]
    assert main(["wsl4mis", *given, *words, "--split", str(tmp_path / "split.json")]) == 0
    dataset = acdc.raw / "Dataset127_Scar"
    recorded = json.loads((dataset / "dataset.json").read_text())
    assert recorded["labels"] == {"background": 0, "scar": 1, "edema": 2, "ignore": 3}
    assert recorded["channel_names"] == {"0": "LGE"}
    with h5py.File(tmp_path / "subject2_DE.hdf5") as file:
        drawn = file["scribble"][()]
    np.testing.assert_array_equal(read(dataset / "labelsTr" / "subject2_DE.nii.gz"), np.where(drawn == 255, 3, drawn))
    assert (dataset / "imagesTs" / "subject4_DE_0000.nii.gz").is_file()


@pytest.mark.parametrize("option", [["--test-patients", "22"], ["--unlabelled-patients", "22"], ["--allow-unlabelled"]])
def test_scribbles_may_be_missing_where_nobody_needs_them(hdf5: Hdf5, option: list[str]) -> None:
    for number in range(SIZE[2]):
        hdf5.change(hdf5.slice(number), scribble=None)
    assert main(hdf5.arguments(*option)) == 0


@pytest.mark.parametrize(
    ("case", "patient"),
    [
        ("patient021_frame01", "patient021"),
        ("patient001_ED", "patient001"),
        ("subject2_DE", "subject2"),
        ("case_001", "case_001"),
        ("heart", "heart"),
        ("patient021_ed", "patient021"),
        ("patient021_01", "patient021"),
        ("case_A", "case_A"),
        ("_ED", "_ED"),
    ],
)
def test_patients(case: str, patient: str) -> None:
    assert patient_of(case) == patient


Damage = Callable[[Hdf5], "list[str] | None"]
TABLE: list[tuple[str, Damage, tuple[str, ...]]] = []


def bad(*expected: str) -> Callable[[Damage], Damage]:
    """Enter a kind of bad input into the table, with what its sentence has to contain."""

    def enter(damage: Damage) -> Damage:
        TABLE.append((damage.__name__, damage, expected))
        return damage

    return enter


@bad("nowhere", "does not exist", "--data")
def data_missing(hdf5: Hdf5) -> list[str]:
    return ["--data", str(hdf5.data / "nowhere")]


@bad("holds no HDF5 files", "--data")
def data_of_another_kind(hdf5: Hdf5) -> list[str]:
    return ["--data", str(hdf5.acdc.images)]


@bad("nowhere", "does not exist", "--images")
def images_missing(hdf5: Hdf5) -> list[str]:
    return ["--images", str(hdf5.data / "nowhere")]


@bad("lacks the images of 1 cases", f"({CASE}.nii.gz)", "--spacing")
def image_missing(hdf5: Hdf5) -> None:
    hdf5.acdc.image(CASE).unlink()


@bad("are both images of", CASE, "--images")
def image_twice(hdf5: Hdf5) -> None:
    write_volume(hdf5.acdc.images / f"{CASE}_0000.nii.gz", read(hdf5.acdc.image(CASE)))


@bad("either --images or --spacing")
def images_and_spacing(hdf5: Hdf5) -> list[str]:
    return ["--spacing", "1", "1", "1"]


@bad(f"{CASE}_slice_2.h5", "lacks", "there is slice 3")
def slice_missing(hdf5: Hdf5) -> None:
    hdf5.slice(2).unlink()


@bad(f"{CASE}_slice_0.h5", "lacks")
def first_slice_missing(hdf5: Hdf5) -> None:
    hdf5.slice(0).unlink()


@bad("(3, 9, 11)", "(4, 9, 11)", CASE, "shape")
def last_slice_missing(hdf5: Hdf5) -> None:
    hdf5.slice(3).unlink()


@bad("are the same", f"{CASE}_slice_2.h5", "--data")
def slice_twice(hdf5: Hdf5) -> None:
    (hdf5.data / f"{CASE}_slice_2.h5").write_bytes(hdf5.slice(2).read_bytes())


@bad(f"{CASE}_slice_2.h5", "(9, 10)", "(9, 11)", "one shape")
def slice_of_another_shape(hdf5: Hdf5) -> None:
    hdf5.change(hdf5.slice(2), **{name: np.ones((9, 10), np.uint8) for name in NAMES})


@bad(f"{CASE}_slice_2.h5", "(9, 10) in 'scribble'", "(9, 11) in 'image'")
def scribble_of_another_shape(hdf5: Hdf5) -> None:
    hdf5.change(hdf5.slice(2), scribble=np.ones((9, 10), np.uint8))


@bad(f"{CASE}_slice_0.h5", "lacks the dataset 'scribble' (it has 'image', 'label')")
def no_scribbles(hdf5: Hdf5) -> None:
    for number in range(SIZE[2]):
        hdf5.change(hdf5.slice(number), scribble=None)


@bad(f"{CASE}_slice_2.h5", "lacks the dataset 'scribble'")
def one_slice_without_scribbles(hdf5: Hdf5) -> list[str]:
    hdf5.change(hdf5.slice(2), scribble=None)
    return ["--allow-unlabelled"]


@bad(f"{CASE}_slice_0.h5", "lacks the dataset 'label'")
def first_slice_without_label(hdf5: Hdf5) -> None:
    hdf5.change(hdf5.slice(0), label=None)


@bad(f"{CASE}_slice_1.h5", "lacks the dataset 'image' (it has 'label', 'scribble')")
def no_image(hdf5: Hdf5) -> None:
    hdf5.change(hdf5.slice(1), image=None)


@bad(f"{CASE}_slice_1.h5", "damaged or no HDF5 file")
def text_named_as_hdf5(hdf5: Hdf5) -> None:
    hdf5.slice(1).write_text("404: Not Found")


@bad(f"{CASE}_slice_1.h5", "damaged or no HDF5 file")
def truncated(hdf5: Hdf5) -> None:
    content = hdf5.slice(1).read_bytes()
    hdf5.slice(1).write_bytes(content[: len(content) // 2])


@bad(f"{CASE}_slice_1.h5", "damaged or no HDF5 file")
def voxels_damaged(hdf5: Hdf5) -> None:
    with h5py.File(hdf5.slice(1)) as file:
        place = file["image"].id.get_chunk_info(0).byte_offset
    content = bytearray(hdf5.slice(1).read_bytes())
    content[place : place + 8] = b"\xff" * 8
    hdf5.slice(1).write_bytes(content)


@bad(f"{CASE}_slice_1.h5", "no real numbers in 'scribble'")
def words_for_labels(hdf5: Hdf5) -> None:
    hdf5.change(hdf5.slice(1), scribble=np.full(SIZE[1::-1], b"RV"))


@bad(f"{CASE}_slice_1.h5", "3 dimensions", "expected 2", "<case>.h5")
def volume_named_as_slice(hdf5: Hdf5) -> None:
    write_h5(hdf5.slice(1), hdf5.arrays(CASE))


@bad("slice1.h5", "2 dimensions", "expected 3")
def slice_named_as_volume(hdf5: Hdf5) -> list[str]:
    write_h5(hdf5.data / "slice1.h5", {name: array[0] for name, array in hdf5.arrays(CASE).items()})
    write_volume(hdf5.acdc.images / "slice1.nii.gz", read(hdf5.acdc.image(CASE)))
    return []


@bad(f"{CASE}_slice_1.h5", "NaN")
def image_of_nan(hdf5: Hdf5) -> None:
    hdf5.change(hdf5.slice(1), image=np.full(SIZE[1::-1], np.nan, np.float32))


@bad(f"{CASE}_slice_1.h5", "label values 7", "expected only 0, 1, 2, 3, 4")
def scribble_of_unknown_labels(hdf5: Hdf5) -> None:
    hdf5.change(hdf5.slice(1), scribble=np.full(SIZE[1::-1], 7, np.uint16))


@bad(f"{CASE}_slice_1.h5", "label values 4", "expected only 0, 1, 2, 3")
def dense_label_with_unlabelled_pixels(hdf5: Hdf5) -> None:
    hdf5.change(hdf5.slice(1), label=np.full(SIZE[1::-1], 4, np.uint8))


@bad(f"{CASE}.h5", "disagree", "'scribble' differs in 1 voxels")
def volume_of_other_scribbles(hdf5: Hdf5) -> None:
    arrays = hdf5.arrays(CASE)
    arrays["scribble"][0, 0, 0] = (arrays["scribble"][0, 0, 0] + 1) % 5
    write_h5(hdf5.volume(), arrays)


@bad(f"{CASE}.h5", "disagree", "'label' differs")
def volume_of_other_labels(hdf5: Hdf5) -> None:
    write_h5(hdf5.volume(), {**hdf5.arrays(CASE), "label": np.zeros(SIZE[::-1], np.uint8)})


@bad(f"{CASE}.h5", "disagree", "shapes are (4, 9, 11) and (3, 9, 11)")
def volume_of_another_shape(hdf5: Hdf5) -> None:
    write_h5(hdf5.volume(), {name: array[:3] for name, array in hdf5.arrays(CASE).items()})


@bad(f"{CASE}.h5", "disagree", "'image' has a correlation of")
def volume_of_another_image(hdf5: Hdf5) -> None:
    write_h5(hdf5.volume(), {**hdf5.arrays(CASE), "image": hdf5.arrays("patient021_frame01")["image"]})


@bad(f"{CASE}_slice_", f"{CASE}.nii.gz", "correlation", "needed 0.99")
def another_image(hdf5: Hdf5) -> None:
    write_volume(hdf5.acdc.image(CASE), read(hdf5.acdc.image("patient021_frame01")))


@bad(f"{CASE}_slice_2.h5 is not slice 2", f"{CASE}.nii.gz", "correlation")
def one_slice_of_another_image(hdf5: Hdf5) -> None:
    hdf5.change(hdf5.slice(2), image=hdf5.arrays("patient021_frame01")["image"][2])


@bad(f"{CASE}.h5, slice 2, is not slice 2", f"{CASE}.nii.gz")
def one_slice_of_another_image_in_a_volume(hdf5: Hdf5) -> None:
    arrays = hdf5.arrays(CASE)
    arrays["image"][2] = hdf5.arrays("patient021_frame01")["image"][2]
    write_h5(hdf5.volume(), arrays)
    for number in range(SIZE[2]):
        hdf5.slice(number).unlink()


@bad(f"{CASE}_slice_1.h5 is slice 2 of", f"{CASE}.nii.gz", "at place 1")
def slices_swapped(hdf5: Hdf5) -> None:
    contents = [hdf5.slice(number).read_bytes() for number in (1, 2)]
    hdf5.slice(1).write_bytes(contents[1])
    hdf5.slice(2).write_bytes(contents[0])


@bad(f"{CASE}", "correlation 0.000")
def everything_blank(hdf5: Hdf5) -> None:
    for number in range(SIZE[2]):
        hdf5.change(hdf5.slice(number), image=np.zeros(SIZE[1::-1], np.float32))
    write_volume(hdf5.acdc.image(CASE), np.zeros(SIZE[::-1], np.int16))


@bad(f"{CASE}.nii.gz", "damaged or no NIfTI file")
def original_damaged(hdf5: Hdf5) -> None:
    hdf5.acdc.image(CASE).write_text("404: Not Found")


@bad("unlabelled value 2 is the code of MYO", "--unlabelled-value")
def unlabelled_is_a_structure(hdf5: Hdf5) -> list[str]:
    return ["--unlabelled-value", "2"]


@bad("within 65535", "got 1000000")
def unlabelled_beyond_reason(hdf5: Hdf5) -> list[str]:
    return ["--unlabelled-value", "1000000"]


@bad("different names", "--labels")
def structure_twice(hdf5: Hdf5) -> list[str]:
    return ["--labels", "LV", "LV"]


@bad("none of them background or ignore", "--labels")
def structure_named_ignore(hdf5: Hdf5) -> list[str]:
    return ["--labels", "LV", "ignore"]


@bad("dataset id", "1 to 999")
def identifier_too_high(hdf5: Hdf5) -> list[str]:
    hdf5.slice(0).write_text("told before this is read")
    return ["-d", "1000"]


@bad("'eighty'", "81-100,5")
def patients_in_words(hdf5: Hdf5) -> list[str]:
    return ["--test-patients", "eighty"]


@pytest.mark.parametrize(("damage", "expected"), [pytest.param(row[1], row[2], id=row[0]) for row in TABLE])
def test_one_sentence_and_nothing_written(
    hdf5: Hdf5, tmp_path: Path, capfd: pytest.CaptureFixture[str], damage: Damage, expected: tuple[str, ...]
) -> None:
    more = damage(hdf5) or []
    capfd.readouterr()
    before = hdf5.acdc.fingerprint()
    assert main(hdf5.arguments(*more)) == 1
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    for part in expected:
        assert part in told.err
    assert hdf5.acdc.written() == []
    assert hdf5.acdc.fingerprint() == before
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(
    ("given", "expected"),
    [([], "--spacing X Y Z"), (["--spacing", "1", "0", "1"], "three positive numbers in mm, got 1 0 1")],
)
def test_a_spacing_is_needed(hdf5: Hdf5, capsys: pytest.CaptureFixture[str], given: list[str], expected: str) -> None:
    assert main(hdf5.without_images(*given)) == 1
    assert expected in capsys.readouterr().err


def test_a_full_disk_is_told(hdf5: Hdf5, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scribble_conversion.readers.wsl4mis_case.write_label", full)
    assert main(hdf5.arguments()) == 1
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert "TMPDIR" in told


def test_ctrl_c_leaves_nothing(
    hdf5: Hdf5, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        assert list((tmp_path / "temporary").rglob("*.nii.gz"))
        raise KeyboardInterrupt

    monkeypatch.setattr("scribble_conversion.conversion.convert_case", interrupted)
    assert main(hdf5.arguments()) == 130
    assert hdf5.acdc.written() == []
    assert not list((tmp_path / "temporary").iterdir())


def test_the_slices_are_not_replaced(hdf5: Hdf5, capfd: pytest.CaptureFixture[str]) -> None:
    """What is read are temporary stacks, so the folder given has to be looked at."""
    hdf5.data.rename(hdf5.dataset)
    moved = replace(hdf5, data=hdf5.dataset)
    before = moved.acdc.written()
    (moved.dataset / "dataset.json").write_text("{}")
    assert main(moved.arguments("--overwrite")) == 1
    assert "belongs to the dataset that would be replaced" in capfd.readouterr().err
    (moved.dataset / "dataset.json").unlink()
    assert main([*moved.arguments("--overwrite"), "--data", str(moved.acdc.raw)]) == 1  # the folder above
    assert "holds no dataset.json, so it is no dataset to replace" in capfd.readouterr().err
    assert main(moved.arguments()) == 1
    assert "holds no dataset.json, so it is no dataset to replace" in capfd.readouterr().err
    assert moved.acdc.written() == before


@pytest.mark.parametrize("names", [("patient{}_ed", "patient{}_es"), ("patient{}_01", "Patient{}_25")])
@pytest.mark.parametrize("split", ["five-fold", "random"])
def test_no_patient_is_on_both_sides(hdf5: Hdf5, split: str, names: tuple[str, str]) -> None:
    shutil.rmtree(hdf5.data)
    for number in ("001", "021", "041"):
        for name in names:
            write_h5(hdf5.volume(name.format(number)), hdf5.arrays(CASE))
    assert main(hdf5.without_images("--spacing", "1", "1", "5", "--split", split)) == 0
    folds = json.loads((hdf5.dataset / "splits_final.json").read_text())
    assert len(folds) == 3
    for fold in folds:
        sides = [{re.sub(r"_.*", "", name).lower() for name in fold[side]} for side in ("train", "val")]
        assert len(fold["train"]) == 4
        assert not sides[0] & sides[1]


def test_accents_may_be_stored_in_two_ways(hdf5: Hdf5) -> None:
    for number in range(SIZE[2]):
        hdf5.slice(number).rename(hdf5.slice(number, "M\u00fcller1".replace("\u00fc", "u\u0308")))
    shutil.copy(hdf5.acdc.image(CASE), hdf5.acdc.images / "M\u00fcller1.nii.gz")
    assert main(hdf5.arguments("--split", "random", "--test-patients", "M\u00fcller1")) == 0
    assert [path.name for path in (hdf5.dataset / "imagesTs").iterdir()] == ["M\u00fcller1_0000.nii.gz"]


def test_a_blank_slice_has_no_correlation(hdf5: Hdf5, capsys: pytest.CaptureFixture[str]) -> None:
    image = sitk.ReadImage(str(hdf5.acdc.image(CASE)))
    voxels = sitk.GetArrayFromImage(image)
    voxels[0] = 0
    blank = sitk.GetImageFromArray(voxels)
    blank.CopyInformation(image)
    sitk.WriteImage(blank, str(hdf5.acdc.image(CASE)))
    hdf5.change(hdf5.slice(0), image=np.zeros(voxels.shape[1:], np.float32))
    for number in range(1, SIZE[2]):
        hdf5.change(hdf5.slice(number), image=voxels[number].astype(np.float32))
    assert main(hdf5.arguments()) == 0
    assert "nan" not in capsys.readouterr().out
    assert json.loads((hdf5.dataset / "dataset.json").read_text())["scribbles"]["cases"][CASE] == {"correlation": 1.0}
