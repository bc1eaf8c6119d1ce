"""Every mistake gives one clear sentence, a non-zero exit, and nothing half written."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scribble_conversion.cli import main
from tests.scribble_conversion.conftest import SIZE, Acdc, write_volume

CASE = "patient022_frame12"
Damage = Callable[[Acdc, pytest.MonkeyPatch], "list[str] | None"]
"""Spoils the sources or the environment; what it returns is appended to the command line (the last option wins)."""

TABLE: list[tuple[str, Damage, tuple[str, ...]]] = []


def bad(*expected: str) -> Callable[[Damage], Damage]:
    """Enter a kind of bad input into the table, with what its sentence has to contain."""

    def enter(damage: Damage) -> Damage:
        TABLE.append((damage.__name__, damage, expected))
        return damage

    return enter


def _labels(acdc: Acdc) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(acdc.scribble(CASE))))


def _archive(acdc: Acdc, member: str, content: bytes = b"x") -> list[str]:
    path = acdc.root / "scribbles.zip"
    with zipfile.ZipFile(acdc.zip(path), "a") as archive:
        archive.writestr(member, content)
    return ["--scribbles", str(path)]


def _split(acdc: Acdc, content: object) -> list[str]:
    path = acdc.root / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return ["--split", str(path)]


@bad("nowhere", "does not exist", "--images")
def images_missing(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["--images", str(acdc.root / "nowhere")]


@bad("nowhere", "does not exist", "--scribbles")
def scribbles_missing(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["--scribbles", str(acdc.root / "nowhere")]


@bad("is not a folder", "--images")
def images_are_a_file(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["--images", str(acdc.image(CASE))]


@bad("holds no ACDC images", "--images")
def no_images(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(acdc.images)
    acdc.images.mkdir()


@bad("holds no ACDC scribbles", "--scribbles")
def no_scribbles(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(acdc.scribbles)
    acdc.scribbles.mkdir()


@bad("2 images have no scribble", "patient041_frame01, patient041_frame12", "--test-patients")
def image_without_scribble(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in acdc.scribbles.glob("patient041*"):
        file.unlink()


@bad("1 scribbles have no image", CASE, "--images")
def scribble_without_image(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    acdc.image(CASE).unlink()


@bad("are the same case", CASE, "--images")
def image_twice(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(acdc.image(CASE), acdc.images / f"{CASE}.nii.gz")


@bad(f"{CASE}.nii.gz", "damaged or no NIfTI file")
def truncated_image(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = acdc.image(CASE).read_bytes()
    acdc.image(CASE).write_bytes(whole[: len(whole) // 2])


@bad(f"{CASE}.nii", "truncated", "lacks 10 bytes")
def truncated_uncompressed_image(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    sitk.WriteImage(sitk.ReadImage(str(acdc.image(CASE))), str(acdc.image(CASE, ".nii")))
    acdc.image(CASE).unlink()
    acdc.image(CASE, ".nii").write_bytes(acdc.image(CASE, ".nii").read_bytes()[:-10])


@bad(f"{CASE}_scribble.nii.gz", "damaged or no NIfTI file")
def scribble_of_flipped_bits(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(acdc.scribble(CASE).read_bytes())
    content[-6] ^= 0xFF  # in the checksum
    acdc.scribble(CASE).write_bytes(content)


@bad(f"{CASE}_gt.nii.gz", "damaged or no NIfTI file")
def empty_dense_label(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    acdc.dense(CASE).write_bytes(b"")


@bad(f"{CASE}.nii.gz", "damaged or no NIfTI file")
def text_named_as_image(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    acdc.image(CASE).write_text("404: Not Found")


@bad(f"{CASE}.nii.gz", "has 4 dimensions, expected 3")
def image_of_four_dimensions(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    slices = [sitk.ReadImage(str(acdc.image(CASE))) for _ in range(3)]
    sitk.WriteImage(sitk.JoinSeries(slices), str(acdc.image(CASE)))


@bad(f"{CASE}.nii.gz", "has 2 dimensions, expected 3")
def image_of_two_dimensions(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume(acdc.image(CASE), np.ones((9, 11), np.int16))


@bad(f"{CASE}.nii.gz", "vector", "single real numbers")
def image_of_colours(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    image = sitk.GetImageFromArray(np.zeros((*SIZE[::-1], 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(acdc.image(CASE)))


@bad(f"{CASE}.nii.gz", "complex", "single real numbers")
def image_of_complex_numbers(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume(acdc.image(CASE), np.zeros(SIZE[::-1], np.complex64))


@bad(f"{CASE}.nii.gz", "NaN")
def image_of_nan(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.zeros(SIZE[::-1], np.float32)
    array[1, 2, 3] = np.nan
    write_volume(acdc.image(CASE), array)


@bad(f"{CASE}_scribble.nii.gz", "NaN")
def scribble_of_nan(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = _labels(acdc).astype(np.float32)
    labels[0, 0, 0] = np.nan
    write_volume(acdc.scribble(CASE), labels)


@bad(f"{CASE}_scribble.nii.gz", "size", "(9, 11, 4)")
def scribble_with_axes_swapped(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume(acdc.scribble(CASE), np.ascontiguousarray(_labels(acdc).transpose(0, 2, 1)))


@bad(f"{CASE}_scribble.nii.gz", "spacing", "9.4")
def scribble_of_other_spacing(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume(acdc.scribble(CASE), _labels(acdc), spacing=(1.40625, 1.25, 9.4))


@bad(f"{CASE}_scribble.nii.gz", "origin", "13.25")
def scribble_of_other_origin(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume(acdc.scribble(CASE), _labels(acdc), origin=(-31.5, 13.25, 88.0))


@bad(f"{CASE}_gt.nii.gz", "direction")
def dense_label_of_other_direction(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume(acdc.dense(CASE), np.zeros(SIZE[::-1], np.uint8), direction=(1, 0, 0, 0, 1, 0, 0, 0, 1))


@bad(f"{CASE}_scribble.nii.gz", "label values 7, 255", "expected only 0, 1, 2, 3, 4")
def scribble_of_unknown_labels(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = _labels(acdc)
    labels[0, 0, :2] = (255, 7)
    write_volume(acdc.scribble(CASE), labels)


@bad(f"{CASE}_scribble.nii.gz", "label values -1")
def scribble_of_negative_labels(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume(acdc.scribble(CASE), _labels(acdc).astype(np.int16) - 1)


@bad(f"{CASE}_scribble.nii.gz", "no integers (1.5)", "nearest neighbour")
def scribble_of_fractions(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = _labels(acdc).astype(np.float32)
    labels[0, 0, 0] = 1.5
    write_volume(acdc.scribble(CASE), labels)


@bad(f"{CASE}_gt.nii.gz", "label values 4", "expected only 0, 1, 2, 3")
def dense_label_with_unlabelled_voxels(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(acdc.scribble(CASE), acdc.dense(CASE))


@bad("scribbles.zip", "not a sound zip archive")
def archive_that_is_none(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (acdc.root / "scribbles.zip").write_text("404: Not Found")
    return ["--scribbles", str(acdc.root / "scribbles.zip")]


@bad("scribbles.zip", "not a sound zip archive")
def archive_cut_short(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    path = acdc.zip(acdc.root / "scribbles.zip")
    path.write_bytes(path.read_bytes()[:-100])
    return ["--scribbles", str(path)]


@bad("scribbles.zip", "not a sound zip archive", "CRC")
def archive_with_a_damaged_member(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    path = acdc.zip(acdc.root / "scribbles.zip")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"acdc_scribbles/{CASE}_scribble.nii.gz")
    content[member.header_offset + 30 + len(member.filename) + 20] ^= 0xFF
    path.write_bytes(content)
    return ["--scribbles", str(path)]


@bad("points outside", "../../patient021_frame01_scribble.nii.gz")
def archive_that_climbs_out(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return _archive(acdc, "../../patient021_frame01_scribble.nii.gz")


@bad("points outside", "/etc/patient021_frame01_scribble.nii.gz")
def archive_with_an_absolute_path(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return _archive(acdc, "/etc/patient021_frame01_scribble.nii.gz")


@bad("more than once", f"{CASE}_scribble.nii.gz")
def archive_with_a_case_twice(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return _archive(acdc, f"copy/{CASE}_scribble.nii.gz")


@bad("too large", "bomb.nii.gz")
def archive_with_a_bomb(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("scribble_conversion.files.MAX_MEMBER_BYTES", 2**16)
    return _archive(acdc, "acdc_scribbles/bomb.nii.gz", b"0" * (2**16 + 1))


@bad("only a shell knows what ~ is; write the whole path")
def a_folder_that_a_shell_would_know(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", "~/nnUNet_raw")


@bad("nnUNet_raw is not set")
def raw_unset(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_raw")


@bad("nnUNet_preprocessed is not set")
def preprocessed_unset(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_preprocessed")


@bad("a_file", "cannot be written")
def raw_is_a_file(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    (acdc.root / "a_file").write_text("not a folder")
    monkeypatch.setenv("nnUNet_raw", str(acdc.root / "a_file"))


@bad("id 127 is in use by", "Dataset127_Other", "-d")
def identifier_in_use(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    results = acdc.root / "results"
    (results / "Dataset127_Other").mkdir(parents=True)
    monkeypatch.setenv("nnUNet_results", str(results))


@bad("dataset id", "1 to 999", "1000")
def identifier_too_high(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["-d", "1000"]


@bad("dataset name '../evil'", "-n")
def name_that_climbs_out(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["-n", "../evil"]


@bad("-np", "at least 1", "0")
def no_processes(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["-np", "0"]


@bad("'eighty' is no patient or case here", "number or range like 81-100,5", "--test-patients")
def held_out_patients_in_words(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["--test-patients", "21,eighty"]


@bad("'100-81'", "runs backwards")
def held_out_patients_backwards(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["--test-patients", "100-81"]


@bad("no case belongs to the patients 1-20", "--test-patients")
def held_out_patients_absent(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["--test-patients", "1-20"]


@bad("are all there are", "--test-patients")
def held_out_patients_are_everybody(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["--test-patients", "1-100"]


@bad("at least two of them", "published fold 2 of 5", "--split")
def five_fold_of_one_fold(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["--test-patients", "41,81"]


@bad("end with patient 100", "patient101", "--test-patients")
def five_fold_beyond_its_end(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    acdc.add(101)


@bad("maag", "--split")
def maag_without_its_patients(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["--test-patients", "41", "--split", "maag"]


@bad("ten-fold", "five-fold, maag, random or an existing JSON file")
def split_unknown(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["--split", "ten-fold"]


@bad("mine.json", "no valid JSON")
def split_no_json(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return _split(acdc, "[{")


@bad("mine.json", "list of folds")
def split_of_another_form(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return _split(acdc, {"train": ["patient021"], "val": ["patient022"]})


@bad("mine.json, fold 0, val names patient099")
def split_with_an_unknown_patient(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return _split(acdc, [{"train": ["patient021"], "val": ["patient099"]}])


@bad("mine.json, fold 0, train names patient081", "held out")
def split_with_a_patient_held_out(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return [*_split(acdc, [{"train": ["patient081"], "val": [22]}]), "--test-patients", "81"]


@bad("mine.json", "patient021 in train and in val of fold 1")
def split_with_a_patient_on_both_sides(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    fine = {"train": ["patient022"], "val": ["patient021"]}
    return _split(acdc, [fine, {"train": ["patient021_frame01"], "val": ["patient021_frame12"]}])


@bad("mine.json, fold 0, val is empty")
def split_without_validation(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return _split(acdc, [{"train": ["patient021"], "val": []}])


@pytest.mark.parametrize(("damage", "expected"), [pytest.param(row[1], row[2], id=row[0]) for row in TABLE])
def test_one_sentence_and_nothing_written(
    acdc: Acdc,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    damage: Damage,
    expected: tuple[str, ...],
) -> None:
    more = damage(acdc, monkeypatch) or []
    capfd.readouterr()  # what SimpleITK said while the damage was done
    before = acdc.fingerprint()

    assert main(acdc.arguments(*more)) == 1

    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    for part in expected:
        assert part in told.err
    assert acdc.written() == []
    assert acdc.fingerprint() == before


def test_the_undamaged_dataset_converts(acdc: Acdc) -> None:
    """What the table's damages are done to is fine by itself."""
    assert main(acdc.arguments()) == 0


def test_a_worker_process_tells_its_mistake_like_the_parent(acdc: Acdc, capfd: pytest.CaptureFixture[str]) -> None:
    acdc.image(CASE).write_text("404: Not Found")
    assert main(acdc.arguments("-np", "2")) == 1
    told = capfd.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert f"{CASE}.nii.gz" in told
    assert acdc.written() == []


def test_a_mistake_while_overwriting_leaves_the_old_dataset(acdc: Acdc, tmp_path: Path) -> None:
    assert main(acdc.arguments()) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "nnunet").rglob("*") if path.is_file()}
    acdc.image(CASE).write_text("404: Not Found")
    assert main(acdc.arguments("--overwrite", "--test-patients", "81")) == 1
    assert {path: path.read_bytes() for path in (tmp_path / "nnunet").rglob("*") if path.is_file()} == before
