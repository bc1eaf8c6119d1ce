"""``nnUNetv2_convert_scribbles acdc`` from the command line to the files."""

from __future__ import annotations

import gzip
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.utilities.dataset_name_id_conversion import convert_id_to_dataset_name
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from scribble_conversion.cli import main
from scribble_conversion.console import run_command
from tests.scribble_conversion.conftest import DATASET, Acdc, write_volume

TRAINING = [f"patient{number:03d}_frame{frame:02d}" for number in (21, 22, 41) for frame in (1, 12)]
HELD_OUT = ["patient081_frame01", "patient081_frame12"]


def _assert_same_geometry(left: sitk.Image, right: sitk.Image) -> None:
    assert left.GetSize() == right.GetSize()
    assert left.GetSpacing() == right.GetSpacing()
    assert left.GetOrigin() == right.GetOrigin()
    assert left.GetDirection() == right.GetDirection()


def _assert_label(written: Path, source: Path, image: Path) -> None:
    """The written label holds the source's voxels as uint8 and lies exactly on its image, for both libraries."""
    label, original = sitk.ReadImage(str(written)), sitk.ReadImage(str(source))
    assert label.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(label), sitk.GetArrayFromImage(original))
    _assert_same_geometry(label, sitk.ReadImage(str(image)))
    np.testing.assert_array_equal(nibabel.load(written).affine, nibabel.load(image).affine)
    np.testing.assert_array_equal(np.asarray(nibabel.load(written).dataobj), sitk.GetArrayFromImage(original).T)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_file_is_where_nnunet_wants_it(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    before = acdc.fingerprint()
    assert main(acdc.arguments("--test-patients", "81-100")) == 0

    assert _names(acdc.dataset) == [
        "dataset.json",
        "imagesTr",
        "imagesTs",
        "labelsTr",
        "labelsTr_dense",
        "labelsTs",
        "splits_final.json",
    ]
    assert _names(acdc.dataset / "imagesTr") == [f"{case}_0000.nii.gz" for case in TRAINING]
    assert _names(acdc.dataset / "labelsTr") == [f"{case}.nii.gz" for case in TRAINING]
    assert _names(acdc.dataset / "labelsTr_dense") == [f"{case}.nii.gz" for case in TRAINING]
    assert _names(acdc.dataset / "imagesTs") == [f"{case}_0000.nii.gz" for case in HELD_OUT]
    assert _names(acdc.dataset / "labelsTs") == [f"{case}.nii.gz" for case in HELD_OUT]
    assert _names(acdc.raw) == [DATASET]
    assert convert_id_to_dataset_name(127) == DATASET
    assert acdc.fingerprint() == before

    told = capsys.readouterr().out
    assert "training: 6 cases of 3 patients, 6 with dense labels" in told
    assert "held out: 2 cases of 1 patients (imagesTs), 2 with dense labels" in told
    assert "fold 0: 2 cases to train, 4 to validate (published fold 2 of 5, patients 21 to 40)" in told
    assert told.splitlines()[-1] == "next: nnUNetv2_plan_and_preprocess -d 127"


def test_voxels_and_geometry_survive_exactly(acdc: Acdc) -> None:
    assert main(acdc.arguments("--test-patients", "81")) == 0
    for case in TRAINING:
        image = acdc.dataset / "imagesTr" / f"{case}_0000.nii.gz"
        assert image.read_bytes() == acdc.image(case).read_bytes()
        _assert_label(acdc.dataset / "labelsTr" / f"{case}.nii.gz", acdc.scribble(case), image)
        _assert_label(acdc.dataset / "labelsTr_dense" / f"{case}.nii.gz", acdc.dense(case), image)
    for case in HELD_OUT:
        image = acdc.dataset / "imagesTs" / f"{case}_0000.nii.gz"
        assert image.read_bytes() == acdc.image(case).read_bytes()
        _assert_label(acdc.dataset / "labelsTs" / f"{case}.nii.gz", acdc.dense(case), image)


def test_dataset_json_declares_the_ignore_label_to_nnunet(acdc: Acdc) -> None:
    assert main(acdc.arguments("--test-patients", "81")) == 0
    written = json.loads((acdc.dataset / "dataset.json").read_text())
    assert written["channel_names"] == {"0": "cineMRI"}
    assert written["labels"] == {"background": 0, "RV": 1, "MYO": 2, "LV": 3, "ignore": 4}
    assert written["numTraining"] == len(TRAINING)
    assert written["file_ending"] == ".nii.gz"
    assert written["scribbles"]["source_format"] == "acdc"
    manager = LabelManager(written["labels"], None)
    assert manager.has_ignore_label
    assert manager.ignore_label == 4


def test_shares_count_the_scribbled_voxels(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(acdc.arguments()) == 0
    voxels = np.concatenate([np.asarray(nibabel.load(acdc.scribble(case)).dataobj).ravel() for case in acdc.cases()])
    expected = ", ".join(
        f"{name} {100 * np.mean(voxels == value):.2f} %"
        for value, name in enumerate(("background", "RV", "MYO", "LV", "unlabelled"))
    )
    assert f"voxels: {expected}\n" in capsys.readouterr().out


def test_a_class_never_scribbled_is_told(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    for case in acdc.cases():
        image = sitk.ReadImage(str(acdc.scribble(case)))
        array = sitk.GetArrayFromImage(image)
        write_volume(acdc.scribble(case), np.where(array == 2, 4, array).astype(np.uint16), like=image)
    assert main(acdc.arguments()) == 0
    assert "warning: MYO is never scribbled" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["parent", "flat", "archive", "uncompressed", "two processes"])
def test_other_layouts_give_the_same_dataset(acdc: Acdc, tmp_path: Path, layout: str) -> None:
    assert main(acdc.arguments("-n", "Official")) == 0
    expected = acdc.raw / "Dataset127_Official"
    given = {"--images": acdc.images, "--scribbles": acdc.scribbles, "-np": "1"}
    (acdc.images / "patient021" / "Info.cfg").write_text("ED: 1\nES: 12\n")
    (acdc.images / "patient021" / "patient021_4d.nii.gz").write_bytes(b"never opened")
    (acdc.images / "patient021" / "._patient021_frame01.nii.gz").write_bytes(b"litter")
    if layout == "parent":
        given["--images"] = acdc.root
    elif layout == "flat":
        flat = tmp_path / "flat"
        flat.mkdir()
        for file in [*acdc.images.rglob("*"), *acdc.scribbles.rglob("*")]:
            if file.is_file():
                shutil.copy(file, flat)
        given |= {"--images": flat, "--scribbles": flat}
    elif layout == "archive":
        given["--scribbles"] = acdc.zip(tmp_path / "acdc scribbles (1).zip")
    elif layout == "uncompressed":
        for case in acdc.cases():
            compressed = acdc.image(case)
            acdc.image(case, ".nii").write_bytes(gzip.decompress(compressed.read_bytes()))
            compressed.unlink()
    else:
        given["-np"] = "2"

    options = [str(part) for pair in given.items() for part in pair]
    assert main(["acdc", *options, "-d", "128", "-n", "Other"]) == 0

    other = acdc.raw / "Dataset128_Other"
    files = sorted(path.relative_to(expected) for path in expected.rglob("*.nii.gz"))
    assert sorted(path.relative_to(other) for path in other.rglob("*.nii.gz")) == files
    assert len(files) == 3 * len(acdc.cases())
    for file in files:
        left, right = sitk.ReadImage(str(expected / file)), sitk.ReadImage(str(other / file))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(left), sitk.GetArrayFromImage(right))
        assert left.GetPixelID() == right.GetPixelID()
        _assert_same_geometry(left, right)


def test_header_rounding_is_forgiven_and_the_image_geometry_wins(acdc: Acdc) -> None:
    case = "patient021_frame01"
    image = sitk.ReadImage(str(acdc.image(case)))
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(acdc.scribble(case))))
    rounded = [round(value, 3) for value in image.GetSpacing()]
    shifted = [value + 0.004 for value in image.GetOrigin()]
    write_volume(acdc.scribble(case), array, spacing=rounded, origin=shifted)
    assert main(acdc.arguments()) == 0
    _assert_same_geometry(sitk.ReadImage(str(acdc.dataset / "labelsTr" / f"{case}.nii.gz")), image)


def test_dense_labels_are_optional(acdc: Acdc) -> None:
    for case in acdc.cases():
        acdc.dense(case).unlink()
    assert main(acdc.arguments("--test-patients", "81")) == 0
    assert not (acdc.dataset / "labelsTr_dense").exists()
    assert not (acdc.dataset / "labelsTs").exists()
    assert len(_names(acdc.dataset / "imagesTs")) == len(HELD_OUT)


def test_patients_held_out_need_no_scribbles(acdc: Acdc) -> None:
    for case in HELD_OUT:
        acdc.scribble(case).unlink()
    assert main(acdc.arguments("--test-patients", "81-100")) == 0
    assert len(_names(acdc.dataset / "labelsTs")) == len(HELD_OUT)


def test_splits_lie_in_both_folders_and_spare_the_patients_held_out(acdc: Acdc) -> None:
    assert main(acdc.arguments("--test-patients", "81")) == 0
    text = (acdc.dataset / "splits_final.json").read_text()
    assert (acdc.preprocessed / DATASET / "splits_final.json").read_text() == text
    first, second = (case for case in (TRAINING[:4], TRAINING[4:]))
    assert json.loads(text) == [{"train": second, "val": first}, {"train": first, "val": second}]


def test_an_existing_dataset_is_replaced_only_on_request(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(acdc.arguments()) == 0
    (acdc.dataset / "labelsTr" / "mine.txt").write_text("keep")
    before = acdc.written()
    assert main(acdc.arguments("--test-patients", "81")) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert acdc.written() == before

    (acdc.preprocessed / DATASET / "dataset_fingerprint.json").write_text("{}")
    assert main(acdc.arguments("--test-patients", "81", "--overwrite")) == 0
    assert "next: nnUNetv2_plan_and_preprocess -d 127 --clean" in capsys.readouterr().out
    assert _names(acdc.raw) == [DATASET]
    assert _names(acdc.dataset / "labelsTr") == [f"{case}.nii.gz" for case in TRAINING]
    splits = json.loads((acdc.preprocessed / DATASET / "splits_final.json").read_text())
    assert not {case for fold in splits for side in fold.values() for case in side} & set(HELD_OUT)


def test_help_names_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "acdc" in capsys.readouterr().out


def test_options_are_not_abbreviated(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    """--unlabelled would be taken for --unlabelled-patients."""
    with pytest.raises(SystemExit, match="2"):
        main(acdc.arguments("--unlabelled", "4"))
    assert "unrecognized arguments: --unlabelled 4" in capsys.readouterr().err


def test_a_reader_that_has_read_enough_gets_no_traceback(acdc: Acdc) -> None:
    code = "import sys; from scribble_conversion.cli import main; sys.exit(main(sys.argv[1:]))"
    for unbuffered in ([], ["-u"]):
        command = [sys.executable, *unbuffered, "-c", code, *acdc.arguments("--overwrite")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            told = process.stderr.read()
            assert process.wait() == 141
        assert "Traceback" not in told
        assert "Exception ignored" not in told


def test_a_patient_trained_and_tested_with_is_told(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(acdc.arguments("--test-patients", "81")) == 0
    images, labels = (acdc.dataset / name for name in ("imagesTs", "labelsTr"))
    moved = TRAINING[0]
    (labels.parent / "imagesTr" / f"{moved}_0000.nii.gz").rename(images / f"{moved}_0000.nii.gz")
    (labels / f"{moved}.nii.gz").unlink()
    (labels.parent / "labelsTr_dense" / f"{moved}.nii.gz").unlink()
    capsys.readouterr()
    arguments = ["nnunet", "--data", str(acdc.dataset), "-d", "900", "-np", "1"]
    assert main(arguments) == 0
    patient = moved.partition("_")[0]
    sentence = f"with some cases in imagesTr and others in imagesTs ({patient})"
    assert sentence in "".join(capsys.readouterr())
    assert main(["check", "900"]) == 1
    assert sentence in "".join(capsys.readouterr())


def test_who_is_held_out_is_no_unknown_number(acdc: Acdc) -> None:
    number = str(int(TRAINING[0][7:10]))
    others = ["--dense-patients", f"{number},81", "--test-patients", "81"]
    assert main(acdc.arguments(*others)) == 0


def test_cases_that_a_split_forgets_are_told(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    file = acdc.root / "split.json"
    patients = sorted({case.split("_")[0] for case in (*TRAINING, *HELD_OUT)})
    file.write_text(json.dumps([{"train": patients[:1], "val": patients[1:2]}]))
    assert main(acdc.arguments("--split", str(file))) == 0
    told = capsys.readouterr()
    assert "warning: no fold has patient041_frame01, patient041_frame12, patient081" in told.out + told.err
    file.write_text(json.dumps([{"train": patients[1:], "val": patients[:1]}]))
    assert main(acdc.arguments("--split", str(file), "--overwrite")) == 0
    told = capsys.readouterr()
    assert "no fold has" not in told.out + told.err


def test_stdout_may_be_closed_or_full(acdc: Acdc) -> None:
    code = "import sys; from scribble_conversion.cli import main; sys.exit(main(sys.argv[1:]))"
    line = " ".join(shlex.quote(word) for word in [sys.executable, "-c", code, *acdc.arguments("--overwrite")])
    closed = subprocess.run(f"{line} >&-", shell=True, capture_output=True, text=True, check=False)
    assert (closed.returncode, "Traceback" in closed.stderr) == (0, False)
    for streams in ("2>&-", "0<&- 1>&- 2>&-"):
        silent = subprocess.run(f"{line} {streams}", shell=True, capture_output=True, text=True, check=False)
        assert silent.returncode == 0
        assert len(_names(acdc.dataset / "labelsTr")) == len(TRAINING) + len(HELD_OUT)
    if Path("/dev/full").exists():
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        full = subprocess.run(
            f"{line} > /dev/full", shell=True, capture_output=True, text=True, check=False, env=buffered
        )
        assert full.returncode == 1
        assert full.stderr.splitlines()[-1].startswith("error: what was printed cannot be written")


def test_another_closed_pipe_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with pytest.raises(BrokenPipeError):
        run_command(broken)


def test_names_that_the_terminal_cannot_show() -> None:
    body = "run_command(lambda: print('\\u03b1'))"
    code = f"import sys; from scribble_conversion.console import run_command; sys.exit({body})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "cp1252"}
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"\\u03b1", b"")
