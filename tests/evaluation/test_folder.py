from __future__ import annotations

import csv
import io
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from nnunetv2_pclmix.evaluation import evaluate_folder
from nnunetv2_pclmix.evaluation.case import label_integers
from nnunetv2_pclmix.evaluation.volume import read_labels
from scribble_conversion.console import UserError
from tests.evaluation import oracle
from tests.evaluation.files import SPACING, write_labels

LABELS = {"background": 0, "RV": 1, "MYO": 2, "ignore": 3}
SHAPE = (4, 8, 7)


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Three cases on disk: a good one, one whose MYO is missed, one without MYO at all."""
    rng = np.random.default_rng(0)
    made = {}
    for name in ("a", "b", "c"):
        reference = np.zeros(SHAPE, dtype=np.uint8)
        reference[1:3, 2:6, 1:5] = 1
        if name != "c":
            reference[:, 6:, 5:] = 2
        prediction = np.where(rng.random(SHAPE) < 0.1, 1, reference).astype(np.uint8)
        if name == "b":
            prediction[prediction == 2] = 0
        write_labels(tmp_path / "predictions" / f"{name}.nii.gz", prediction)
        write_labels(tmp_path / "references" / f"{name}.nii.gz", reference)
        made[name] = (prediction, reference)
    return made


def test_scores_means_and_files(tmp_path: Path, cases: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    result = evaluate_folder(tmp_path / "predictions", tmp_path / "references", LABELS, progress=False)
    assert [case.name for case in result.cases] == ["a", "b", "c"]
    assert result.structures == ("RV", "MYO")
    rv_dice = []
    for case in result.cases:
        prediction, reference = (volume == 1 for volume in cases[case.name])
        rv_dice.append(oracle.dice(prediction, reference))
        assert case.structures["RV"].dice == pytest.approx(rv_dice[-1])
        assert case.structures["RV"].hd95_mm == pytest.approx(oracle.hd95(prediction, reference, SPACING), rel=1e-5)
    classes = result.classes
    assert classes["RV"]["dice"].mean == pytest.approx(sum(rv_dice) / 3)
    assert classes["RV"]["dice"].std == pytest.approx(np.std(rv_dice))
    assert classes["MYO"]["dice"].cases == 2
    myo = oracle.dice(*(volume == 2 for volume in cases["a"])) / 2
    assert classes["MYO"]["dice"].mean == pytest.approx(myo)
    assert result.mean["dice"] == pytest.approx((sum(rv_dice) / 3 + myo) / 2)

    table = result.table()
    assert "MYO: in the reference but not predicted in 1 of 3 cases." in table
    assert "MYO: in neither in 1 of 3 cases." in table
    assert f"{result.mean['dice']:.3f}" in table

    result.write(tmp_path / "out" / "deep")
    written = json.loads((tmp_path / "out" / "deep" / "dense_evaluation.json").read_text())
    assert written["mean"]["dice"] == pytest.approx(result.mean["dice"])
    assert written["cases"]["c"]["MYO"]["dice"] is None
    with (tmp_path / "out" / "deep" / "dense_evaluation.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    assert [row["dice"] for row in rows if row["case"] == "c" and row["structure"] == "MYO"] == [""]


def test_regions_and_ignored_voxels(tmp_path: Path) -> None:
    reference = np.zeros(SHAPE, dtype=np.uint8)
    reference[0], reference[1], reference[2, 0] = 1, 2, 3
    prediction = np.zeros(SHAPE, dtype=np.uint8)
    prediction[:2], prediction[2, 0] = 1, 1
    write_labels(tmp_path / "p" / "x.nii.gz", prediction)
    write_labels(tmp_path / "r" / "x.nii.gz", reference)
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    result = evaluate_folder(tmp_path / "p", tmp_path / "r", labels, progress=False)
    assert result.cases[0].structures["whole"].dice == 1.0
    assert result.cases[0].structures["core"].missed
    assert result.cases[0].ignored_voxels == SHAPE[2]
    assert "bear the ignore label" in result.table()


def test_nothing_to_judge_gives_no_figures(tmp_path: Path) -> None:
    for folder in "pr":
        write_labels(tmp_path / folder / "x.nii.gz", np.zeros(SHAPE, dtype=np.uint8))
    result = evaluate_folder(tmp_path / "p", tmp_path / "r", {"RV": 1}, progress=False)
    assert math.isnan(result.mean["dice"])
    assert "-" in result.table()
    result.write(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros((3, 8, 7), np.uint8)}, "differ in shape"),
        ({"spacing": (5.0, 1.5, 0.9)}, "differ in spacing"),
        ({"origin": (0.0, 1.0, 0.0)}, "differ in origin"),
        ({"direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)}, "differ in direction"),
        ({"labels": np.full(SHAPE, 9, np.uint8)}, r"holds the labels \[9\]"),
        ({"labels": np.full(SHAPE, 0.5, np.float32)}, "no whole numbers"),
    ],
)
def test_unfit_predictions_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    write_labels(tmp_path / "r" / "x.nii.gz", np.zeros(SHAPE, dtype=np.uint8))
    write_labels(tmp_path / "p" / "x.nii.gz", **{"labels": np.zeros(SHAPE, np.uint8), **change})
    with pytest.raises(UserError, match=message):
        evaluate_folder(tmp_path / "p", tmp_path / "r", LABELS, progress=False)


def test_scribbles_are_no_references(tmp_path: Path) -> None:
    write_labels(tmp_path / "r" / "x.nii.gz", np.full(SHAPE, 3, np.uint8))
    write_labels(tmp_path / "p" / "x.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(UserError, match="these are scribbles"):
        evaluate_folder(tmp_path / "p", tmp_path / "r", LABELS, progress=False)


def test_missing_files_are_named(tmp_path: Path, cases: dict) -> None:
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    with pytest.raises(UserError, match="does not exist"):
        evaluate_folder(tmp_path / "nowhere", references, LABELS, progress=False)
    (predictions / "b.nii.gz").unlink()
    result = evaluate_folder(predictions, references, LABELS, progress=False)
    assert result.unpredicted == ("b",)
    assert "1 references have no prediction" in result.table()
    with pytest.raises(UserError, match="1 of 3 references have no prediction"):
        evaluate_folder(predictions, references, LABELS, progress=False, require_all=True)
    (references / "a.nii.gz").unlink()
    with pytest.raises(UserError, match=r"a\.nii\.gz has no reference"):
        evaluate_folder(predictions, references, LABELS, progress=False)
    result = evaluate_folder(predictions, references, LABELS, progress=False, require_references=False)
    assert ([case.name for case in result.cases], result.unreferenced) == (["c"], ("a",))
    assert "1 predictions have no reference" in result.table()
    (references / "c.nii.gz").unlink()
    with pytest.raises(UserError, match=r"a\.nii\.gz has no reference"):
        evaluate_folder(predictions, references, LABELS, progress=False, require_references=False)
    with pytest.raises(UserError, match=r"ends in \.mha"):
        evaluate_folder(predictions, references, LABELS, progress=False, file_ending=".mha")


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_pictures_as_nnunet_writes_them(tmp_path: Path, ending: str) -> None:
    reference = np.zeros((30, 40), np.uint8)
    reference[5:20, 10:30], reference[22:28, 3:9] = 1, 2
    prediction = np.roll(reference, 2, 1)
    for folder, labels in (("p", prediction), ("r", reference)):
        (tmp_path / folder).mkdir()
        NaturalImage2DIO().write_seg(labels[None], str(tmp_path / folder / f"x{ending}"), {})
    result = evaluate_folder(tmp_path / "p", tmp_path / "r", LABELS, file_ending=ending, progress=False)
    (case,) = result.cases
    for name, value in (("RV", 1), ("MYO", 2)):
        pair = prediction == value, reference == value
        assert case.structures[name].dice == pytest.approx(oracle.dice(*pair))
        assert case.structures[name].hd95_mm == pytest.approx(oracle.hd95(*pair, (1, 1)))


def test_labels_given_as_text_or_fractions() -> None:
    assert label_integers("12") == (12,)
    assert label_integers(1.0) == (1,)
    assert label_integers([1, "2"]) == (1, 2)


def test_a_name_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/M\xfcller.nii.gz"))
    path.touch()
    with pytest.raises(UserError, match="not UTF-8"):
        read_labels(path)


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    write_labels(tmp_path / "r" / "x.nii.gz", np.zeros(SHAPE, np.uint8))
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "x.nii.gz").write_bytes(b"no image")
    with pytest.raises(UserError, match="is damaged or no NIfTI file"):
        evaluate_folder(tmp_path / "p", tmp_path / "r", LABELS, progress=False)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd", ".gipl"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_told(tmp_path: Path, ending: str, share: float) -> None:
    """SimpleITK reads what is missing as background."""
    labels = np.random.default_rng(0).integers(0, 4, (6, 20, 20)).astype(np.uint8)
    path = write_labels(tmp_path / f"a{ending}", labels)
    assert np.array_equal(read_labels(path).labels, labels)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"damaged|truncated|missing"):
        read_labels(path)


def test_values_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    labels = np.zeros((2, 4, 4), np.float32)
    labels[0, 0, 0] = np.nan
    for ending in (".nii.gz", ".mha"):
        path = write_labels(tmp_path / f"a{ending}", labels)
        with pytest.raises(UserError):
            read_labels(path)


def test_what_cannot_be_written_whole_leaves_what_was_there(
    tmp_path: Path, cases: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = evaluate_folder(tmp_path / "predictions", tmp_path / "references", LABELS, progress=False)
    out = tmp_path / "out"
    result.write(out)
    before = {file.name: file.read_text() for file in out.iterdir()}
    other = replace(result, cases=result.cases[:2])

    class Full(io.TextIOWrapper):
        def write(self, text: str) -> int:
            super().write(text[:20])
            raise OSError("no space left on device")

    def opened(path: Path, *_: object, **__: object) -> Full:
        return Full(io.FileIO(path, "w"))

    for name in ("dense_evaluation.csv", "dense_evaluation.json"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
            real = Path.open
            patch.setattr(Path, "open", lambda p, *a, n=name, o=real, **k: (opened if n in p.name else o)(p, *a, **k))
            other.write(out)
        assert (out / name).read_text() == before[name]
        assert sorted(file.name for file in out.iterdir()) == sorted(before)


@pytest.mark.slow
def test_worker_processes_give_the_same(tmp_path: Path, cases: dict) -> None:
    folders = tmp_path / "predictions", tmp_path / "references"
    alone = evaluate_folder(*folders, LABELS, progress=False)
    together = evaluate_folder(*folders, LABELS, progress=False, num_processes=2)
    assert together.to_dict() == alone.to_dict()


def test_the_spacing_of_a_tiff_is_in_the_file_beside_it(tmp_path: Path) -> None:
    """As nnU-Net's ``Tiff3DIO`` reads and writes it."""
    reference = np.zeros((8, 6, 5), np.uint8)
    reference[1] = 1
    prediction = np.roll(reference, 3, 0)
    for folder, labels in (("p", prediction), ("r", reference)):
        (tmp_path / folder).mkdir()
        Tiff3DIO().write_seg(labels, str(tmp_path / folder / "a.tif"), {"spacing": (5.0, 1.0, 1.0)})

    def hd95() -> tuple[float, float]:
        result = evaluate_folder(tmp_path / "p", tmp_path / "r", {"bone": 1}, file_ending=".tif", progress=False)
        return result.mean["hd95_mm"], result.mean["hd95_voxels"]

    assert hd95() == (15.0, 3.0)
    (tmp_path / "p" / "a.json").unlink()
    with pytest.raises(UserError, match=r"differ in spacing.* \.json file of its name beside it"):
        hd95()
    (tmp_path / "r" / "a.json").write_text('{"spacing": [5, 1]}')
    with pytest.raises(UserError, match="expected 3 positive values as spacing"):
        hd95()
    (tmp_path / "r" / "a.json").write_text("5 1 1")
    with pytest.raises(UserError, match=r"does not hold the spacing of a\.tif"):
        hd95()
    (tmp_path / "r" / "a.json").unlink()
    assert hd95() == (3.0, 3.0)
