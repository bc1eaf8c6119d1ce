"""``nnUNetv2_convert_scribbles nifti``: any two folders, matched by name."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
import pytest

from scribble_conversion.cli import main
from tests.scribble_conversion.conftest import SIZE, Workplace

SHAPE = SIZE[::-1]


def _arguments(place: Workplace, *more: str) -> list[str]:
    folders = ["--images", str(place.root / "images"), "--scribbles", str(place.root / "scribbles")]
    return ["nifti", *folders, "-d", "7", "-np", "1", *more]


def _labels(seed: int, codes: Sequence[float], dtype: type = np.uint16) -> np.ndarray:
    """Every code occurs; the first one is the most frequent."""
    rng = np.random.default_rng(seed)
    array = np.array(codes)[rng.integers(0, len(codes), SHAPE)]
    return np.where(rng.random(SHAPE) < 0.5, codes[0], array).astype(dtype)


def _fill(
    place: Workplace,
    names: Sequence[str],
    codes: Sequence[float] = (255, 0, 1, 2),
    image: str = "images/{}.nii.gz",
    scribble: str = "scribbles/{}_scribble.nii.gz",
    dtype: type = np.uint16,
) -> dict[str, np.ndarray]:
    """Images and scribbles of these names; returns the scribbles."""
    made = {}
    for seed, name in enumerate(names):
        made[name] = _labels(seed, codes, dtype)
        place.volume(image.format(name), np.random.default_rng(seed).normal(0, 99, SHAPE).astype(np.float32))
        place.volume(scribble.format(name), made[name])
    return made


def _splits(place: Workplace) -> list[dict[str, list[str]]]:
    (folder,) = place.preprocessed.iterdir()
    return json.loads((folder / "splits_final.json").read_text())


@pytest.mark.parametrize("suffix", ["", "_scribble", "_scribbles", "_lab", "_label", "_seg", "_manual", "_gt"])
@pytest.mark.parametrize("channel", ["", "_0000"])
def test_usual_names_need_no_pattern(
    workplace: Workplace, capsys: pytest.CaptureFixture[str], suffix: str, channel: str
) -> None:
    image, scribble = f"images/{{}}{channel}.nii.gz", f"scribbles/{{}}{suffix}.nii.gz"
    made = _fill(workplace, ("a_1", "a_2"), image=image, scribble=scribble)
    assert main(_arguments(workplace)) == 0
    told = capsys.readouterr().out
    assert f"note: scribbles were matched as '{{case}}{suffix}'" in told
    assert f"note: images were matched as '{{case}}{'_{channel}' if channel else ''}'" in told
    assert "note: 255 occurs in the scribbles and was taken for unlabelled" in told
    for name, labels in made.items():
        np.testing.assert_array_equal(workplace.label(f"labelsTr/{name}.nii.gz"), labels.clip(max=3))
    description = workplace.dataset_json()
    assert description["labels"] == {"background": 0, "class_1": 1, "class_2": 2, "ignore": 3}
    assert description["channel_names"] == {"0": "image"}


def test_all_in_one_folder(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ("a", "b"), image="all/{}.nii.gz", scribble="all/{}_scribble.nii.gz")
    for name in ("a", "b"):
        workplace.volume(f"all/{name}_gt.nii.gz", _labels(9, (0, 1, 2)))
    folder = str(workplace.root / "all")
    assert main([*_arguments(workplace), "--images", folder, "--scribbles", folder, "--dense", folder]) == 0
    assert workplace.label("labelsTr_dense/b.nii.gz").max() == 2
    assert workplace.dataset_json()["numTraining"] == 2
    assert "left out" not in capsys.readouterr().out


def test_numbered_channels(workplace: Workplace) -> None:
    _fill(workplace, ("a", "b"), image="images/{}_0000.nii.gz")
    for name in ("a", "b"):
        workplace.volume(f"images/{name}_0001.nii.gz", np.full(SHAPE, 7, np.int16))
    assert main(_arguments(workplace, "--channel-names", "T1", "CT")) == 0
    assert workplace.dataset_json()["channel_names"] == {"0": "T1", "1": "CT"}
    (dataset,) = workplace.raw.iterdir()
    source = workplace.root / "images" / "b_0001.nii.gz"
    assert (dataset / "imagesTr" / "b_0001.nii.gz").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("more", "order"), [((), ["DE", "T2"]), (("--channel-names", "t2", "de"), ["T2", "DE"])]
)  # fmt: skip
def test_channels_with_names(workplace: Workplace, more: tuple[str, ...], order: list[str]) -> None:
    _fill(workplace, ("p1", "p2"), image="images/{}_T2.nii.gz", scribble="scribbles/{}_gd.nii.gz")
    for name in ("p1", "p2"):
        workplace.volume(f"images/{name}_DE.nii.gz", np.full(SHAPE, 7, np.int16))
    patterns = ("--image-pattern", "{case}_{channel}", "--scribble-pattern", "{case}_gd.nii.gz")
    assert main(_arguments(workplace, *patterns, *more)) == 0
    written = list(workplace.dataset_json()["channel_names"].values())
    assert [name.upper() for name in written] == order
    (dataset,) = workplace.raw.iterdir()
    for index, channel in enumerate(order):
        source = workplace.root / "images" / f"p1_{channel}.nii.gz"
        assert (dataset / "imagesTr" / f"p1_{index:04d}.nii.gz").read_bytes() == source.read_bytes()


def test_patients_stay_together(workplace: Workplace) -> None:
    names = [f"pat{patient}_visit{visit}" for patient in "ABCDEFG" for visit in (1, 2)]
    _fill(workplace, names)
    assert main(_arguments(workplace, "--image-pattern", "{patient}_visit{case}.nii.gz")) == 0
    folds = _splits(workplace)
    assert len(folds) == 5
    for fold in folds:
        assert sorted(fold["train"] + fold["val"]) == names
        assert not {name[:4] for name in fold["train"]} & {name[:4] for name in fold["val"]}
    assert sorted(name for fold in folds for name in fold["val"]) == names


ACDC_NAMES = [f"patient{patient:03d}_frame{frame:02d}" for patient in range(1, 7) for frame in (1, 12)]
PHASES = [f"patient{patient:03d}_{phase}" for patient in range(1, 7) for phase in ("ED", "ES")]
VISITS = [f"anna{patient}_{visit}" for patient in range(1, 7) for visit in (1, 2)]


@pytest.mark.parametrize(
    ("names", "more", "note"),
    [
        (ACDC_NAMES, (), True),
        (PHASES, (), True),
        (VISITS, ("--scribble-pattern", "{patient}_{case}_scribble"), False),
        (ACDC_NAMES, ("--image-pattern", "{case}"), None),  # the user has said that there is no more to it
    ],
)
def test_patients_are_told_by_names_like_acdcs_and_by_any_pattern(
    workplace: Workplace,
    capsys: pytest.CaptureFixture[str],
    names: list[str],
    more: tuple[str, ...],
    note: bool | None,
) -> None:
    _fill(workplace, names)
    assert main(_arguments(workplace, *more)) == 0
    told = capsys.readouterr().out
    if note is None:
        assert "12 cases of 12 patients" in told
        return
    assert "12 cases of 6 patients" in told
    assert ("the patients were told from the cases' names" in told) == note
    patients = workplace.dataset_json()["scribbles"]["patients"]
    assert patients == {name: name.rpartition("_")[0] for name in names}
    for fold in _splits(workplace):
        assert not {patients[name] for name in fold["train"]} & {patients[name] for name in fold["val"]}


def test_files_that_fit_no_pattern_are_told(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ("a_1", "a_2", "b_1"))
    workplace.volume("images/b-2.nii.gz", np.zeros(SHAPE, np.float32))
    workplace.volume("scribbles/b_1_scribbles.nii.gz", _labels(1, (255, 0, 1, 2)))
    assert main(_arguments(workplace, "--image-pattern", "{patient}_{case}")) == 0
    told = capsys.readouterr().out
    assert f"note: --image-pattern leaves out of {workplace.root / 'images'}: b-2.nii.gz\n" in told
    folder = workplace.root / "scribbles"
    assert f"warning: left out of {folder}, because they are named otherwise: b_1_scribbles.nii.gz; name them" in told
    assert "or give --scribble-pattern" in told


@pytest.mark.parametrize("prefixes", [("scan",), ("left", "right")])
def test_what_stands_before_frame_need_not_be_a_patient(workplace: Workplace, prefixes: tuple[str, ...]) -> None:
    names = [f"{prefix}_frame{number:02d}" for prefix in prefixes for number in range(1, 7)]
    _fill(workplace, names)
    assert main(_arguments(workplace)) == 0
    assert workplace.dataset_json()["scribbles"]["patients"] == {name: name for name in names}
    assert len(_splits(workplace)) == 5


def test_patterns_with_folders(workplace: Workplace) -> None:
    _fill(workplace, ("p1", "p2"), image="images/{0}/{0}_t1.nii.gz", scribble="scribbles/{}/strokes.nii.gz")
    patterns = ("--image-pattern", "{patient}/{patient}_t1", "--scribble-pattern", "{case}/strokes.nii.gz")
    assert main(_arguments(workplace, *patterns, "--test-patients", "p2", "--split", _split_file(workplace))) == 1
    assert main(_arguments(workplace, *patterns)) == 0
    assert _splits(workplace)[0] == {"train": ["p1"], "val": ["p2"]} or _splits(workplace)[0]["val"] == ["p1"]


def _split_file(place: Workplace) -> str:
    """Folds that name somebody who is held out."""
    path = place.root / "mine.json"
    path.write_text(json.dumps([{"train": ["p1"], "val": ["p2"]}]))
    return str(path)


def test_patients_and_cases_held_out_by_name(workplace: Workplace) -> None:
    names = ("anna_1", "anna_2", "bert_1", "carl_1", "dora_1")
    _fill(workplace, names)
    for name in names:
        workplace.volume(f"dense/{name}.nii.gz", _labels(1, (0, 1, 2)))
    more = ("--dense", str(workplace.root / "dense"), "--image-pattern", "{patient}_{case}")
    chosen = ("--test-patients", "anna", "--dense-patients", "bert_1", "--unlabelled-patients", "carl")
    assert main(_arguments(workplace, *more, *chosen, "--split", "random")) == 0
    (dataset,) = workplace.raw.iterdir()
    assert sorted(path.name for path in (dataset / "labelsTs").iterdir()) == ["anna_1.nii.gz", "anna_2.nii.gz"]
    assert workplace.dataset_json()["scribbles"]["supervision"] == {"bert_1": "dense", "carl_1": "none"}
    assert {name for fold in _splits(workplace) for name in fold["val"]} == {"bert_1", "dora_1"}
    assert all("carl_1" in fold["train"] for fold in _splits(workplace))


def test_a_label_map_with_floats(workplace: Workplace) -> None:
    """Challenge codes in a file that was rescaled on saving: 499.977 is 500."""
    made = _fill(workplace, ("a", "b"), (0, 199.99, 499.977, 600.02, 3000), dtype=np.float32)
    more = ("--label-map", "0:ignore, 200:1, 500:2, 600:3, 3000:0", "--labels", "MYO", "LV", "RV")
    assert main(_arguments(workplace, *more)) == 0
    assert workplace.dataset_json()["labels"] == {"background": 0, "MYO": 1, "LV": 2, "RV": 3, "ignore": 4}
    for name, codes in made.items():
        expected = np.select([codes == 0, codes < 201, codes < 501, codes < 601], [4, 1, 2, 3], 0)
        np.testing.assert_array_equal(workplace.label(f"labelsTr/{name}.nii.gz"), expected)


def test_interpolated_floats_are_refused(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    made = _fill(workplace, ("a", "b"), (255, 200, 500), dtype=np.float32)
    more = ("--unlabelled-value", "255", "--label-map", "200:1,500:2")
    for value, sentence in ((350, "label values 350"), (350.4, "no integers (350.4)"), (499.4, "no integers (499.4)")):
        made["b"][1, 2, 3] = value
        file = workplace.volume("scribbles/b_scribble.nii.gz", made["b"])
        told = workplace.refused(capfd, _arguments(workplace, *more))
        assert str(file) in told
        assert sentence in told
    made["b"][1, 2, 3:6] = 499.7, 500.1, 500.4
    file = workplace.volume("scribbles/b_scribble.nii.gz", made["b"])
    told = workplace.refused(capfd, _arguments(workplace, *more))
    assert f"{file} holds values from 499.7 to 500.4 around the label 500, so it looks interpolated" in told


def test_floats_near_an_integer_need_a_label_map(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ("a", "b"), (255, 0, 0.98, 2), dtype=np.float32)
    told = workplace.refused(capfd, _arguments(workplace, "--unlabelled-value", "255"))
    assert "holds values that are no integers (0.98)" in told
    assert main(_arguments(workplace, "--unlabelled-value", "255", "--label-map", "1:1,2:2")) == 0


def test_dense_labels_with_other_codes(workplace: Workplace) -> None:
    _fill(workplace, ("a", "b"), (4, 0, 1, 2))
    dense = _labels(5, (0, 200, 500, 999))
    for name in ("a", "b"):
        workplace.volume(f"dense/{name}_manual.nii.gz", dense)
    more = ("--dense", str(workplace.root / "dense"), "--unlabelled-value", "4")
    assert main(_arguments(workplace, *more, "--dense-label-map", "200:1,500:2,999:ignore")) == 0
    written = workplace.label("labelsTr_dense/a.nii.gz")
    np.testing.assert_array_equal(written, np.select([dense == 200, dense == 500, dense == 999], [1, 2, 3], 0))


def test_zero_may_be_unlabelled(workplace: Workplace) -> None:
    made = _fill(workplace, ("a", "b"), (0, 1, 2, 3))
    assert main(_arguments(workplace, "--unlabelled-value", "0", "--label-map", "1:0,2:1,3:2")) == 0
    expected = np.array([3, 0, 1, 2])[made["a"]]
    np.testing.assert_array_equal(workplace.label("labelsTr/a.nii.gz"), expected)


def test_the_default_split_is_nnunets(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    names = sorted(f"case{index}" for index in range(12))
    _fill(workplace, names)
    assert main(_arguments(workplace)) == 0
    expected = generate_crossval_split(names, seed=12345, n_splits=5)
    assert _splits(workplace) == [{side: sorted(map(str, fold[side])) for side in fold} for fold in expected]
    assert "random fold 1 of 5 by patient, seed 12345" in capsys.readouterr().out


MISTAKES = [
    (("--unlabelled-value", "0"), "if 0 is the unlabelled value, the code of the background has to be told"),
    (("--labels", "one"), "the scribbles hold the values 0, 1, 2 besides 255 for unlabelled, but expected were 0 to 1; "
     "say what they mean with --label-map, e.g. 1:1,2:2"),
    (("--unlabelled-value", "2", "--labels", "one", "two"), "2 cannot mean unlabelled (--unlabelled-value) and the "
     "class two (--labels)"),
    (("--unlabelled-value", "1"), "e.g. 2:1,255:2"),
    (("--unlabelled-value", "255", "--labels", "one"), "label values 2, expected only 0, 1, 255; correct the file"),
    (("--label-map", "1:1", "--unlabelled-value", "255"), "label values 2, expected only 0, 1, 255; declare them in "
     "the label map or correct the file"),
    (("--label-map", "1:1,2:2", "--unlabelled-value", "2"), "--unlabelled-value says that 2 is unlabelled, --label-map "
     "that it is 2"),
    (("--label-map", "1:1,2:3"), "--label-map leads to 0, 1, 3, without 2; leave no gaps"),
    (("--label-map", "1:0"), "--label-map has no class besides the background"),
    (("--label-map", "1:one"), "'1:one' is no part of a label map; write --label-map like 200:1,500:2,3000:ignore"),
    (("--label-map", "1:1,1:2"), "--label-map has the code 1 twice"),
    (("--label-map", ""), "--label-map is empty"),
    (("--label-map", ",".join(f"{code}:{code}" for code in range(1, 256)), "--unlabelled-value", "999"),
     "--label-map leads to 255, but labels can be 254 at most"),
    (("--label-map", "1:1,2:99999999999"), "--label-map leads to 99999999999, but labels can be 254 at most"),
    (("--label-map", f"1:1,2:2,{10**30}:ignore"), f"--label-map has {10**30}, which no label file holds"),
    (("--unlabelled-value", str(10**30)), f"--unlabelled-value has {10**30}, which no label file holds"),
    (("--label-map", "1:1,2:2,255:3"), "every value in them has a meaning already"),
    (("--label-map", "1:1,2:2", "--labels", "one"), "--labels names 1 classes (one), but there are 2"),
    (("--label-map", "1:1,2:2", "--labels", "one", "one"), "--labels has a name twice"),
    (("--label-map", "1:1,2:2", "--labels", "one", "ignore"), "background or ignore among the classes"),
    (("--label-map", "1:1,2:2", "--dense-label-map", "9:3"), "--dense-label-map leads to 3, but the classes end with "
     "2"),
    (("--dense-label-map", "9"), "'9' is no part of a label map; write --dense-label-map"),
    (("--channel-names", "a", "b"), "there are 2 channel names (a, b), but the images have 1 channels"),
    (("--image-pattern", "{subject}.nii.gz"), "cannot be read (unknown field {subject}); write --image-pattern with"),
    (("--image-pattern", "{case"), "the pattern '{case' cannot be read"),
    (("--image-pattern", "image.nii.gz"), "names no case; write --image-pattern with {case} or {patient}"),
    (("--scribble-pattern", "{case}_x"), "say which part of the names is the case, e.g. --image-pattern "
     "'{case}.nii.gz' --scribble-pattern '{case}_scribble.nii.gz'"),
    (("--image-pattern", "a{channel}.nii.gz"), "names no case"),
    (("--images", "{root}/empty"), "empty holds no image files (.nii.gz, .nii, .nrrd"),
    (("--images", "{root}/nowhere"), "nowhere does not exist; give an existing folder with --images"),
    (("--dense", "{root}/nowhere"), "nowhere does not exist; give an existing folder with --dense"),
    (("--dense", "{root}/other"), "e.g. --image-pattern '{case}_{channel}' --dense-pattern '{case}_scribble'"),
    (("--test-patients", "nobody"), "'nobody' is no patient or case here (a, b)"),
    (("--test-patients", "a"), "the random split needs labelled cases of at least two patients, but there is only b"),
    (("--split", "own"), "this source has no split of its own; give random or a JSON file with --split"),
    (("--split", "five-fold"), "the published five folds end with patient 100, but there is a, b"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "sentence"), MISTAKES, ids=[" ".join(row[0])[:40] for row in MISTAKES])
def test_mistakes(
    workplace: Workplace, capfd: pytest.CaptureFixture[str], more: tuple[str, ...], sentence: str
) -> None:
    _fill(workplace, ("a", "b"))
    (workplace.root / "empty").mkdir()
    workplace.volume("other/z.nii.gz", _labels(1, (0, 1)))
    given = [argument.replace("{root}", str(workplace.root)) for argument in more]
    assert sentence in workplace.refused(capfd, _arguments(workplace, *given))


def test_the_unlabelled_value_has_to_be_told(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ("a", "b"), (4, 0, 1, 2))
    told = workplace.refused(capfd, _arguments(workplace))
    assert "cannot be told from the scribbles (they hold 0, 1, 2, 4); give it with --unlabelled-value" in told
    told = workplace.refused(capfd, _arguments(workplace, "--label-map", "1:1,2:2"))
    assert "cannot be told from the scribbles (they hold 4 besides the mapped codes)" in told
    assert main(_arguments(workplace, "--unlabelled-value", "4")) == 0


def test_codes_with_gaps_need_a_label_map(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ("a", "b"), (255, 0, 200, 500))
    told = workplace.refused(capfd, _arguments(workplace))
    assert "hold the values 0, 200, 500 besides 255" in told
    assert "with --label-map, e.g. 200:1,500:2" in told
    assert main(_arguments(workplace, "--label-map", "200:1,500:2")) == 0


def test_a_huge_value_takes_no_memory(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ("a", "b"), (255, 0, 1, 10**15), dtype=np.int64)
    assert "with --label-map, e.g. 1:1,1000000000000000:2" in workplace.refused(capfd, _arguments(workplace))
    assert main(_arguments(workplace, "--label-map", "1:1,1000000000000000:2", "--unlabelled-value", "255")) == 0


def test_an_image_is_no_label(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ("a", "b"))
    file = workplace.volume("scribbles/b_scribble.nii.gz", np.random.default_rng(0).normal(0, 99, SHAPE))
    told = workplace.refused(capfd, _arguments(workplace))
    assert f"{file} holds 396 different values, so it is no label file" in told


def test_names_that_do_not_fit_are_shown_with_a_pattern_that_does(
    workplace: Workplace, capfd: pytest.CaptureFixture[str]
) -> None:
    _fill(workplace, ("s1", "s12"), image="images/{}_bSSFP.nii.gz", scribble="scribbles/{}-strokes.nii.gz")
    told = workplace.refused(capfd, _arguments(workplace))
    assert "s12_bSSFP.nii.gz, s1_bSSFP.nii.gz" in told
    assert "s1-strokes.nii.gz, s12-strokes.nii.gz" in told
    patterns = ("--image-pattern", "{case}_bSSFP.nii.gz", "--scribble-pattern", "{case}-strokes.nii.gz")
    assert f"{patterns[0]} '{patterns[1]}' {patterns[2]} '{patterns[3]}'" in told
    assert main(_arguments(workplace, *patterns)) == 0


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("image missing", "1 scribbles have no image (b)"),
        ("scribble missing", "1 images have no scribble (b)"),
        ("image twice", "are the same case b; keep one of them, give a narrower folder with --images, or tell them "
         "apart with --image-pattern"),
        ("scribble twice", "are the same case b; keep one of them, give a narrower folder with --scribbles"),
        ("channel missing", "lack the channel 0001 that other cases have"),
        ("scribble elsewhere", "differ in origin, (0.0, 12.25, 88.0) instead of (-31.5, 12.25, 88.0) mm"),
    ],
)  # fmt: skip
def test_cases_that_are_not_whole(
    workplace: Workplace, capfd: pytest.CaptureFixture[str], damage: str, sentence: str
) -> None:
    _fill(workplace, ("a", "b", "c"), image="images/{}_0000.nii.gz")
    image = workplace.root / "images" / "b_0000.nii.gz"
    scribble = workplace.root / "scribbles" / "b_scribble.nii.gz"
    if damage == "image missing":
        image.unlink()
    elif damage == "scribble missing":
        scribble.unlink()
    elif damage.endswith("twice"):
        file = image if damage == "image twice" else scribble
        (file.parent / "more").mkdir()
        (file.parent / "more" / file.name).write_bytes(file.read_bytes())
    elif damage == "channel missing":
        workplace.volume("images/a_0001.nii.gz", np.zeros(SHAPE, np.int16))
    else:
        workplace.volume("scribbles/b_scribble.nii.gz", _labels(0, (255, 0, 1, 2)), origin=(0.0, 12.25, 88.0))
    assert sentence in workplace.refused(capfd, _arguments(workplace))


def test_two_processes_give_the_same(workplace: Workplace) -> None:
    _fill(workplace, ("a", "b"))
    assert main(_arguments(workplace, "-n", "One")) == 0
    assert main([*_arguments(workplace, "-n", "Two"), "-d", "8", "-np", "2"]) == 0
    files = {
        dataset.name[11:]: {file.name: file.read_bytes() for file in sorted(dataset.rglob("*.nii.gz"))}
        for dataset in workplace.raw.iterdir()
    }
    assert files["One"].keys() == files["Two"].keys()
    np.testing.assert_array_equal(*(_voxels(workplace, name) for name in ("Dataset007_One", "Dataset008_Two")))


def _voxels(place: Workplace, dataset: str) -> np.ndarray:
    import nibabel

    return np.asarray(nibabel.load(place.raw / dataset / "labelsTr" / "a.nii.gz").dataobj)


@pytest.mark.parametrize("more", [("--label-map", "0:ignore,1:1,2:2,3:0"), ("--label-map", "0:ignore,1:0,2:1")])
def test_what_is_unlabelled_in_scribbles_is_not_taken_for_so_in_dense_labels(
    workplace: Workplace, capfd: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    _fill(workplace, ("a", "b"), (0, 1, 2, 3) if "3:0" in more[1] else (0, 1, 2))
    for name in ("a", "b"):
        workplace.volume(f"dense/{name}.nii.gz", _labels(9, (0, 1)))
    given = [*_arguments(workplace, *more), "--dense", str(workplace.root / "dense")]
    assert "say what the codes of those mean with --dense-label-map" in workplace.refused(capfd, given)
    assert main([*given, "--dense-label-map", "0:0,1:1"]) == 0
    assert set(np.unique(workplace.label("labelsTr_dense/a.nii.gz"))) == {0, 1}


@pytest.mark.parametrize("option", ["--label-map", "--label-map="])
def test_a_map_may_begin_with_a_negative_code(workplace: Workplace, option: str) -> None:
    made = _fill(workplace, ("a", "b"), (-1, 0, 1, 2), dtype=np.int16)
    codes = "-1:ignore,1:1,2:2"
    given = [option + codes] if option.endswith("=") else [option, codes]
    assert main(_arguments(workplace, *given)) == 0
    np.testing.assert_array_equal(workplace.label("labelsTr/a.nii.gz"), np.where(made["a"] < 0, 3, made["a"]))


def test_labels_among_the_images_are_no_images(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ("a", "b"), image="all/{}.nii.gz", scribble="all/scr/{}_scribble.nii.gz")
    workplace.volume("all/c.nii.gz", np.random.default_rng(9).normal(0, 99, SHAPE).astype(np.float32))
    for name in ("a", "b"):
        workplace.volume(f"all/{name}_gt.nii.gz", _labels(9, (0, 1, 2)))
    folder = workplace.root / "all"
    given = ["--images", str(folder), "--scribbles", os.path.relpath(folder / "scr"), "--allow-unlabelled"]
    assert main([*_arguments(workplace), *given]) == 0
    assert workplace.dataset_json()["numTraining"] == 3
    told = capsys.readouterr().out
    assert "because they are named like labels of other images: a_gt.nii.gz, b_gt.nii.gz; give the folder" in told


def test_dense_labels_without_an_image_are_told(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ("a", "b"))
    for name in ("a", "b", "z"):
        workplace.volume(f"dense/{name}.nii.gz", _labels(9, (0, 1, 2)))
    assert main([*_arguments(workplace), "--dense", str(workplace.root / "dense")]) == 0
    assert "because they have no image: z.nii.gz" in capsys.readouterr().out


def test_accents_may_be_stored_in_two_ways(workplace: Workplace) -> None:
    _fill(workplace, ("caf\u00e9", "b"), scribble="spare/{}.nii.gz")
    for name in ("cafe\u0301", "b"):  # as macOS stores it
        workplace.volume(f"scribbles/{name}.nii.gz", _labels(1, (255, 0, 1, 2)))
    assert main(_arguments(workplace)) == 0
    assert workplace.dataset_json()["numTraining"] == 2


@pytest.mark.parametrize("names", [("one", "Ignore"), ("Background", "one", "two"), ("one", "")])
def test_names_that_mean_something_else_are_refused(
    workplace: Workplace, capfd: pytest.CaptureFixture[str], names: tuple[str, ...]
) -> None:
    _fill(workplace, ("a", "b"), (*range(len(names) + 1), 255))
    given = _arguments(workplace, "--unlabelled-value", "255", "--labels", *names)
    assert "background or ignore among the classes" in workplace.refused(capfd, given)


@pytest.mark.parametrize("channel", ["", "_0000"])
def test_an_image_with_a_scribble_is_one_whatever_it_is_called(workplace: Workplace, channel: str) -> None:
    _fill(workplace, ("a", "a_seg", "b"), image=f"images/{{}}{channel}.nii.gz")
    assert main(_arguments(workplace)) == 0
    assert (workplace.raw / "Dataset007_Scribbles" / "labelsTr" / "a_seg.nii.gz").is_file()
    assert workplace.dataset_json()["numTraining"] == 3


def test_accents_may_be_typed_in_two_ways(workplace: Workplace) -> None:
    _fill(workplace, ("e\u0301", "b", "c", "d"))
    folds = workplace.root / "folds.json"
    folds.write_text(json.dumps([{"train": ["b", "c"], "val": ["e\u0301"]}]))
    assert main(_arguments(workplace, "--test-patients", "d", "--split", str(folds))) == 0
    assert _splits(workplace)[0]["val"] == ["\u00e9"]
    assert main(_arguments(workplace, "--test-patients", "e\u0301", "--overwrite")) == 0
    assert workplace.dataset_json()["numTraining"] == 3


def test_an_unlabelled_value_that_nobody_drew_is_refused(
    workplace: Workplace, capfd: pytest.CaptureFixture[str]
) -> None:
    _fill(workplace, ("a", "b"), (3, 0, 1, 2))
    sentence = "no scribble holds 4 for unlabelled, they hold 0, 1, 2, 3; correct --unlabelled-value"
    assert sentence in workplace.refused(capfd, _arguments(workplace, "--unlabelled-value", "4"))


def test_channels_called_otherwise_are_told(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    for channel in ("pet", "ct"):
        _fill(workplace, ("p1", "p2"), image=f"images/{{}}_{channel}.nii.gz")
    given = _arguments(workplace, "--image-pattern", "{case}_{channel}", "--overwrite", "--channel-names")
    assert main([*given, "SUV", "CT"]) == 0
    told = capsys.readouterr().out
    assert (
        "note: the files call the channels otherwise than --channel-names, so they go by name: ct is SUV, pet is CT"
        in told
    )
    assert main([*given, "PET", "CT"]) == 0
    assert "call the channels" not in capsys.readouterr().out


def test_scribbles_called_so_are_taken_before_more_labels(
    workplace: Workplace, capfd: pytest.CaptureFixture[str]
) -> None:
    _fill(workplace, ("a", "b", "c"))
    for name in ("a", "b", "c"):
        workplace.volume(f"scribbles/{name}_gt.nii.gz", _labels(9, (0, 1, 2)))
    (workplace.root / "scribbles" / "c_scribble.nii.gz").unlink()
    assert "1 images have no scribble (c)" in workplace.refused(capfd, _arguments(workplace))
    assert main(_arguments(workplace, "--test-patients", "c")) == 0
    assert workplace.dataset_json()["labels"]["ignore"] == 3


def test_a_patient_spelled_in_two_ways_is_one(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ("P0_a", "p0_b", "P1_a", "p1_b"))
    assert main(_arguments(workplace, "--image-pattern", "{patient}_{case}")) == 0
    assert "4 cases of 2 patients" in capsys.readouterr().out
    assert [fold["val"] for fold in _splits(workplace)] in (
        [["P0_a", "p0_b"], ["P1_a", "p1_b"]],
        [["P1_a", "p1_b"], ["P0_a", "p0_b"]],
    )
