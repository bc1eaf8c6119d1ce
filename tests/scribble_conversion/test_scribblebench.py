"""``nnUNetv2_convert_scribbles scribblebench``: nnU-Net raw datasets put right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from skimage import io

from scribble_conversion.cli import main
from tests.scribble_conversion.conftest import SIZE, Workplace

SHAPE = SIZE[::-1]
NAMES = ("a", "b", "c")
FINE = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "kidney": 1, "tumour": 2, "ignore": 3},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}


def _arguments(place: Workplace, *more: str, command: str = "scribblebench") -> list[str]:
    return [command, "--data", str(place.root / "Dataset201_KiTS"), "-d", "7", "-n", "New", "-np", "1", *more]


def _fill(
    place: Workplace,
    description: Any = FINE,
    codes: tuple[int, ...] = (3, 0, 1, 2),
    names: tuple[str, ...] = NAMES,
    ending: str = ".nii.gz",
    channels: int = 1,
    dense: bool = True,
) -> dict[str, np.ndarray]:
    """A raw dataset whose first code means unlabelled; returns the labels."""
    data = "Dataset201_KiTS"
    made = {}
    for seed, name in enumerate((*names, "t")):
        rng = np.random.default_rng(seed)
        image, label = ("imagesTs", "labelsTs") if name == "t" else ("imagesTr", "labelsTr")
        for channel in range(channels):
            place.volume(f"{data}/{image}/{name}_{channel:04d}{ending}", rng.normal(0, 9, SHAPE).astype(np.float32))
        labels = np.array(codes[1:])[rng.integers(0, len(codes) - 1, SHAPE)]
        made[name] = labels if name == "t" else np.where(rng.random(SHAPE) < 0.5, codes[0], labels)
        place.volume(f"{data}/{label}/{name}{ending}", made[name].astype(np.uint16))
        if dense and name != "t":
            place.volume(f"{data}/labelsTr_dense/{name}{ending}", labels.astype(np.uint16))
    if description is not None:
        text = description if isinstance(description, str) else json.dumps(description)
        (place.root / data / "dataset.json").write_text(text)
    return made


def _written(place: Workplace) -> dict[str, Any]:
    return json.loads((place.raw / "Dataset007_New" / "dataset.json").read_text())


@pytest.mark.parametrize("command", ["scribblebench", "nnunet"])
def test_a_sound_dataset_stays_as_it_is(workplace: Workplace, capsys: pytest.CaptureFixture[str], command: str) -> None:
    made = _fill(workplace)
    before = workplace.contents()
    assert main(_arguments(workplace, command=command)) == 0
    assert workplace.contents() == before
    written = _written(workplace)
    assert {key: written[key] for key in FINE} == FINE
    for name in NAMES:
        np.testing.assert_array_equal(workplace.label(f"labelsTr/{name}.nii.gz"), made[name])
        assert (workplace.label(f"labelsTr_dense/{name}.nii.gz") < 3).all()
    np.testing.assert_array_equal(workplace.label("labelsTs/t.nii.gz"), made["t"])
    told = capsys.readouterr().out
    assert "note: 3, the highest value in the training labels, was taken for unlabelled" in told
    assert told.count("note: ") == 1
    assert "held out: 1 cases of 1 patients (imagesTs), 1 with dense labels (labelsTs)" in told


def test_a_missing_description_is_made_anew(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, None, channels=2, ending=".nrrd")
    assert main(_arguments(workplace)) == 0
    written = _written(workplace)
    assert written["labels"] == {"background": 0, "class_1": 1, "class_2": 2, "ignore": 3}
    assert written["channel_names"] == {"0": "channel_0", "1": "channel_1"}
    assert written["file_ending"] == ".nrrd"
    assert LabelManager(written["labels"], None).ignore_label == 3
    assert "note: dataset.json was missing and was made anew" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{", "[]", '"text"'])
def test_a_broken_description_is_made_anew(workplace: Workplace, capsys: pytest.CaptureFixture[str], text: str) -> None:
    _fill(workplace, text)
    assert main(_arguments(workplace)) == 0
    assert "note: dataset.json was no valid JSON object and was made anew" in capsys.readouterr().out


def test_gaps_are_closed_and_told(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"background": 0, "kidney": 2, "tumour": 5, "ignore": 255}
    made = _fill(workplace, {**FINE, "labels": labels}, (255, 0, 2, 5))
    assert main(_arguments(workplace)) == 0
    assert _written(workplace)["labels"] == {"background": 0, "kidney": 1, "tumour": 2, "ignore": 3}
    for name in NAMES:
        expected = np.select([made[name] == 2, made[name] == 5, made[name] == 255], [1, 2, 3], 0)
        np.testing.assert_array_equal(workplace.label(f"labelsTr/{name}.nii.gz"), expected)
    told = capsys.readouterr().out
    assert "note: the labels were not consecutive: 2 became 1, 5 became 2" in told
    assert "note: the ignore label was declared as 255 and is 3" in told


def test_regions_are_kept(workplace: Workplace) -> None:
    labels = {"background": 0, "whole": [1, 2, 4], "core": [2, 4], "active": [4]}
    made = _fill(workplace, {**FINE, "labels": labels, "regions_class_order": [1, 2, 4]}, (9, 0, 1, 2, 4))
    assert main(_arguments(workplace)) == 0
    written = _written(workplace)
    assert written["labels"] == {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3, "ignore": 4}
    assert written["regions_class_order"] == [1, 2, 3]
    manager = LabelManager(written["labels"], written["regions_class_order"])
    assert manager.has_regions
    assert manager.foreground_regions == [(1, 2, 3), (2, 3), 3]
    assert manager.ignore_label == 4
    expected = np.select([made["a"] == 4, made["a"] == 9], [3, 4], made["a"])
    np.testing.assert_array_equal(workplace.label("labelsTr/a.nii.gz"), expected)


def test_shares_of_regions_count_all_their_labels(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    made = _fill(workplace, {**FINE, "labels": labels, "regions_class_order": [1, 2]}, (3, 0, 1, 2))
    assert main(_arguments(workplace)) == 0
    voxels = np.concatenate([made[name].ravel() for name in NAMES])
    share = 100 * np.isin(voxels, (1, 2)).mean()
    assert f"whole {share:.2f} %" in capsys.readouterr().out


def test_names_nnunet_would_not_find(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """Images without channel numbers as in the Decathlon, test labels with them as in ScribbleBench's MSCMR."""
    _fill(workplace, {**FINE, "modality": {"0": "LGE"}, "channel_names": None, "file_ending": ".nii"})
    data = workplace.root / "Dataset201_KiTS"
    for folder in ("imagesTr", "imagesTs"):
        for file in (data / folder).iterdir():
            file.rename(file.with_name(file.name.replace("_0000", "")))
    (data / "labelsTs" / "t.nii.gz").rename(data / "labelsTs" / "t_0000.nii.gz")
    assert main(_arguments(workplace)) == 0
    assert workplace.label("labelsTs/t.nii.gz").shape == SHAPE
    told = capsys.readouterr().out
    assert "note: the images in imagesTr had no channel number in their names and got _0000" in told
    assert "note: 1 labels in labelsTs had a channel number in their names and lost it" in told
    assert "note: file_ending was .nii and is .nii.gz" in told
    assert "note: dataset.json had no channel names and got some" in told


@pytest.mark.parametrize(
    ("declared", "expected"), [(["MRI", "CT"], ["MRI"]), ([], ["channel_0"])], ids=["too many", "too few"]
)
def test_channel_names_that_do_not_fit(
    workplace: Workplace, capsys: pytest.CaptureFixture[str], declared: list[str], expected: list[str]
) -> None:
    _fill(workplace, {**FINE, "channel_names": {str(index): name for index, name in enumerate(declared)}})
    assert main(_arguments(workplace)) == 0
    assert list(_written(workplace)["channel_names"].values()) == expected
    assert f"note: dataset.json named {len(declared)} channels, the images have 1" in capsys.readouterr().out


def test_the_reader_declared_is_kept_if_it_fits(workplace: Workplace) -> None:
    _fill(workplace, {**FINE, "overwrite_image_reader_writer": "NibabelIO"})
    assert main(_arguments(workplace)) == 0
    assert _written(workplace)["overwrite_image_reader_writer"] == "NibabelIO"
    _fill(workplace, {**FINE, "overwrite_image_reader_writer": "Tiff3DIO"})
    assert main(_arguments(workplace, "--overwrite")) == 0
    assert _written(workplace)["overwrite_image_reader_writer"] == "SimpleITKIO"


def test_colour_pictures(workplace: Workplace) -> None:
    data = workplace.root / "Dataset201_KiTS"
    for folder in ("imagesTr", "labelsTr"):
        (data / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in NAMES:
        io.imsave(data / "imagesTr" / f"{name}_0000.png", rng.integers(0, 255, (9, 8, 3)).astype(np.uint8))
        labels = np.arange(72, dtype=np.uint8).reshape(9, 8) % 4
        io.imsave(data / "labelsTr" / f"{name}.png", labels, check_contrast=False)
    names = {"0": "red", "1": "green", "2": "blue"}
    (data / "dataset.json").write_text(json.dumps({**FINE, "channel_names": names, "file_ending": ".png"}))
    assert main(_arguments(workplace)) == 0
    assert _written(workplace)["channel_names"] == names


@pytest.mark.parametrize("place", ["preprocessed", "raw"])
def test_the_datasets_own_split_is_kept_on_request(workplace: Workplace, place: str) -> None:
    _fill(workplace)
    folds = [{"train": ["a", "c"], "val": ["b"]}, {"train": ["b", "c"], "val": ["a"]}]
    folder = (workplace.preprocessed if place == "preprocessed" else workplace.root) / "Dataset201_KiTS"
    folder.mkdir(exist_ok=True)
    (folder / "splits_final.json").write_text(json.dumps(folds))
    assert main(_arguments(workplace, "--split", "own")) == 0
    assert json.loads((workplace.raw / "Dataset007_New" / "splits_final.json").read_text()) == folds


@pytest.mark.parametrize(
    ("names", "more", "note"),
    [
        (("patient001_frame01", "patient001_frame12", "patient002_frame01"), (), True),
        (("x-1", "x-2", "y-1"), ("--case-pattern", "{patient}-{case}"), False),
    ],
)
def test_patients_stay_together(
    workplace: Workplace,
    capsys: pytest.CaptureFixture[str],
    names: tuple[str, ...],
    more: tuple[str, ...],
    note: bool,
) -> None:
    _fill(workplace, names=names)
    # the test case is named otherwise, which a pattern would have to fit, too
    for folder, suffix in (("imagesTs", "_0000"), ("labelsTs", "")):
        file = workplace.root / "Dataset201_KiTS" / folder / f"t{suffix}.nii.gz"
        file.rename(file.with_name(f"{names[0].replace('1', '9')}{suffix}.nii.gz"))
    assert main(_arguments(workplace, *more)) == 0
    folds = json.loads((workplace.raw / "Dataset007_New" / "splits_final.json").read_text())
    assert sorted(fold["val"] for fold in folds) == [list(names[:2]), [names[2]]]
    assert ("the patients were told from the cases' names" in capsys.readouterr().out) == note


def test_what_is_recorded_of_the_cases_is_kept(workplace: Workplace) -> None:
    recorded = {
        "patients": {"a": "anna", "b": "anna", "c": "c"},
        "supervision": {"b": "dense", "c": "none"},
        "cases": {"a": {"phase": "ED"}},
        "drawing": {"from": "dense labels"},
    }
    made = _fill(workplace, {**FINE, "scribbles": recorded}, names=(*NAMES, "d"))
    workplace.volume("Dataset201_KiTS/labelsTr/c.nii.gz", np.full(SHAPE, 3, np.uint16))
    (workplace.root / "Dataset201_KiTS" / "labelsTr_dense" / "c.nii.gz").unlink()
    folds = [{"train": ["c", "d"], "val": ["a", "b"]}]
    split = workplace.root / "mine.json"
    split.write_text(json.dumps(folds))
    assert main(_arguments(workplace, "--split", str(split))) == 0
    written = _written(workplace)["scribbles"]
    assert written["patients"] == {"a": "anna", "b": "anna", "c": "c", "d": "d", "t": "t"}
    assert {key: written[key] for key in ("supervision", "cases", "drawing")} == {
        key: recorded[key] for key in ("supervision", "cases", "drawing")
    }
    assert (workplace.label("labelsTr/c.nii.gz") == 3).all()
    dense = workplace.label("labelsTr/b.nii.gz")
    assert dense.max() == 2
    assert np.array_equal(dense[made["b"] != 3], made["b"][made["b"] != 3])


def test_who_was_scribbled_since_is_unlabelled_no_longer(workplace: Workplace) -> None:
    made = _fill(workplace, {**FINE, "scribbles": {"supervision": {"c": "none"}}})
    assert main(_arguments(workplace)) == 0
    assert _written(workplace)["scribbles"]["supervision"] == {}
    assert np.array_equal(workplace.label("labelsTr/c.nii.gz"), made["c"])


def _remove(*names: str):
    def damage(data: Path) -> None:
        for name in names:
            (data / name).unlink()

    return damage


def _rename(old: str, new: str):
    def damage(data: Path) -> None:
        (data / old).rename(data / new)

    return damage


def _copy(old: str, new: str):
    def damage(data: Path) -> None:
        (data / new).write_bytes((data / old).read_bytes())

    return damage


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_rename("labelsTr", "labels"), "has no folder labelsTr; give the folder of an nnU-Net raw dataset"),
        (_rename("imagesTr", "images"), "has no folder imagesTr"),
        (_remove(*(f"labelsTr/{name}.nii.gz" for name in NAMES)), "has no files in imagesTr or labelsTr"),
        (_remove("labelsTr/b.nii.gz"), "1 images have no scribble (b); add the scribbles to the folder or archive of "
         "--data (labelsTr)"),
        (_remove("imagesTr/b_0000.nii.gz"), "1 scribbles have no image (b); add the images to the folder of --data "
         "(imagesTr)"),
        (_rename("imagesTr/b_0000.nii.gz", "imagesTr/b.nii.gz"), "b.nii.gz has no channel number in its name, others"),
        (_copy("imagesTr/b_0000.nii.gz", "imagesTr/b_0001.nii.gz"), "imagesTr lacks the channel 0001 of a"),
        (_copy("imagesTr/b_0000.nii.gz", "imagesTr/b_0000.nii"), "are the same image; remove one of them"),
        (_copy("labelsTr/b.nii.gz", "labelsTr/b.nrrd"), "are the same case b; remove one of them"),
        (_copy("imagesTr/b_0000.nii.gz", "imagesTs/b_0000.nii.gz"), "has b in imagesTr and in imagesTs"),
        (lambda data: (data / "dataset.json").write_text('{"dataset": {"a": {"images": [], "label": ""}}}'), "under "
         "'dataset', but only imagesTr and labelsTr are read here; put these files there and remove that entry"),
        (lambda data: (data / "labelsTr/b.nii.gz").write_text("404"), "b.nii.gz is damaged or no NIfTI file"),
    ],
)  # fmt: skip
def test_mistakes(workplace: Workplace, capfd: pytest.CaptureFixture[str], damage, sentence: str) -> None:
    _fill(workplace)
    damage(workplace.root / "Dataset201_KiTS")
    assert sentence in workplace.refused(capfd, _arguments(workplace))


REGIONS = {"background": 0, "whole": [1, 2], "core": 2}


@pytest.mark.parametrize(
    ("description", "codes", "more", "sentence"),
    [
        (FINE, (2, 0, 1, 2), (), "2 is the highest value in the training labels, but dense labels hold it, too"),
        ({**FINE, "labels": {"background": 0, "a": 1, "b": 2, "c": 3}}, (3, 0, 1, 2), (), "3 is the highest value in "
         "the training labels, but dataset.json calls it c, so it does not mean unlabelled; give the unlabelled value "
         "with --unlabelled-value"),
        (FINE, (0, 0), (), "0 is the background in nnU-Net and cannot mean unlabelled, and the training labels hold "
         "nothing else"),
        (FINE, (3, 0, 1), ("--unlabelled-value", "0"), "0 is the background in nnU-Net and cannot mean unlabelled"),
        ({**FINE, "labels": REGIONS}, (3, 0, 1, 2), (), "dataset.json has 2 regions, so its regions_class_order has to "
         "list 2 labels, one per region, got None; correct it"),
        ({**FINE, "labels": REGIONS, "regions_class_order": [1]}, (3, 0, 1, 2), (), "got [1]"),
        ({**FINE, "labels": REGIONS, "regions_class_order": [1, 7]}, (3, 0, 1, 2), (), "got [1, 7]"),
        (FINE, (3, 0, 1), ("--case-pattern", "{patient}_{case}"), "the pattern '{patient}_{case}' does not fit a, b, "
         "c and 1 more; correct --case-pattern"),
        (FINE, (3, 0, 1), ("--unlabelled-value", "5"), "no training label holds 5, they hold 0, 1, 3; correct"),
        (FINE, (255, 0, 1, 3), (), "dataset.json declares 3 as unlabelled, but 255 is the highest value in the "
         "training labels; give the unlabelled value with --unlabelled-value, or correct the labels"),
        (FINE, (3, 0, 1), ("--split", "own"), "this source has no split of its own"),
        (FINE, (3, 0, 1), ("--data", "nowhere"), "nowhere does not exist; give an existing folder with --data"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_put_right(
    workplace: Workplace,
    capfd: pytest.CaptureFixture[str],
    description: Any,
    codes: tuple[int, ...],
    more: tuple[str, ...],
    sentence: str,
) -> None:
    _fill(workplace, description, codes)
    assert sentence in workplace.refused(capfd, _arguments(workplace, *more))


def test_negative_labels(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    _fill(workplace)
    workplace.volume(
        "Dataset201_KiTS/labelsTr/b.nii.gz", np.arange(-1, 395).reshape(SHAPE).clip(max=3).astype(np.int16)
    )
    assert "there are negative labels (-1)" in workplace.refused(capfd, _arguments(workplace))


def test_the_dataset_that_is_read_is_not_replaced(
    workplace: Workplace, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(workplace)
    monkeypatch.setenv("nnUNet_raw", str(workplace.root))
    arguments = _arguments(workplace, "-d", "201", "-n", "KiTS", "--overwrite")
    assert "belongs to the dataset that would be replaced" in workplace.refused(capfd, arguments)


def test_a_dense_dataset_taken_for_scribbles_is_told(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no dataset.json and no dense labels contradict, only the share of the highest value can."""
    _fill(workplace, None, dense=False)
    for name in NAMES:
        labels = np.zeros(SHAPE, np.uint8)
        labels[0, :2, 0] = 1, 2
        workplace.volume(f"Dataset201_KiTS/labelsTr/{name}.nii.gz", labels)
    assert main(_arguments(workplace, "--unlabelled-value", "2")) == 0
    assert "warning: only 0.25 % of the voxels are unlabelled" in capsys.readouterr().out


def test_dense_labels_may_have_the_value_declared_as_ignored(workplace: Workplace) -> None:
    made = _fill(workplace)
    references = np.where(made["a"] == 3, 3, made["a"]).astype(np.uint16)
    workplace.volume("Dataset201_KiTS/labelsTr_dense/a.nii.gz", references)
    assert main(_arguments(workplace)) == 0
    assert _written(workplace)["labels"] == FINE["labels"]
    np.testing.assert_array_equal(workplace.label("labelsTr_dense/a.nii.gz"), references)


def test_a_void_value_in_dense_labels_makes_no_class(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    made = _fill(workplace)
    references = made["t"].astype(np.uint16)
    references[0, 0, 0] = 255
    workplace.volume("Dataset201_KiTS/labelsTs/t.nii.gz", references)
    sentence = "dense labels hold 255, above 3 for unlabelled, which no scribble has and dataset.json does not name"
    assert sentence in workplace.refused(capfd, _arguments(workplace))


def test_accents_may_be_stored_in_two_ways(workplace: Workplace) -> None:
    composed, stored = "M\u00fcller", "Mu\u0308ller"  # as macOS does
    _fill(workplace, names=(stored, "b", "c"))
    folds = [{"train": ["b", "c"], "val": [stored]}, {"train": ["b", stored], "val": ["c"]}]
    (workplace.root / "Dataset201_KiTS" / "splits_final.json").write_text(json.dumps(folds))
    assert main(_arguments(workplace, "--split", "own")) == 0
    (splits,) = workplace.preprocessed.rglob("splits_final.json")
    assert [fold["val"] for fold in json.loads(splits.read_text())] == [[composed], ["c"]]


@pytest.mark.parametrize(
    ("names", "written", "note"),
    [
        (["CT"], {"0": "CT"}, None),
        ("CT", {"0": "image"}, "note: dataset.json had unreadable channel names (CT) and got some"),
        (None, {"0": "image"}, "note: dataset.json had no channel names and got some"),
    ],
)
def test_channel_names_in_another_form(
    workplace: Workplace, capsys: pytest.CaptureFixture[str], names: Any, written: dict[str, str], note: str | None
) -> None:
    _fill(workplace, {**FINE, "channel_names": names})
    assert main(_arguments(workplace)) == 0
    assert _written(workplace)["channel_names"] == written
    told = capsys.readouterr().out
    assert "channel names" not in told if note is None else note in told


def test_labels_of_no_image_are_told(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    made = _fill(workplace)
    workplace.volume("Dataset201_KiTS/labelsTs/T.nii.gz", made["t"].astype(np.uint16))
    assert main(_arguments(workplace)) == 0
    assert "left out of labelsTs, because they have no image in imagesTs: T" in capsys.readouterr().out
