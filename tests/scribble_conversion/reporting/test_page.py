"""The page as a file: what it says, how large it grows, whom it believes."""

from __future__ import annotations

import base64
import hashlib
import io as streams
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from skimage import io

from scribble_conversion.checking.finding import size_text
from scribble_conversion.cli import main
from scribble_conversion.reporting import gallery
from scribble_conversion.reporting.pictures import outline
from tests.scribble_conversion.checking.hands import (
    CASE,
    IGNORE,
    OTHER,
    declare,
    edit_label,
    image,
    label,
    rename_cases,
    scribbled_label,
)
from tests.scribble_conversion.conftest import DATASET, Acdc

Report = Callable[..., Path]
Data = Callable[[Path], dict[str, Any]]


class Reader(HTMLParser):
    """Collects the elements of a page, and its text by section and row."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n ") and data.strip("\n")


def picture(text: str) -> np.ndarray:
    return np.asarray(Image.open(streams.BytesIO(base64.b64decode(text))).convert("RGBA"))


def test_the_figures_per_class(sound: Acdc, report: Report) -> None:
    edit_label(label(sound), lambda array: array[2].__setitem__(array[2] == 3, IGNORE))
    edit_label(label(sound, OTHER), lambda array: np.where(array == 1, IGNORE, array))
    page = Reader(report())
    rows = {row[0]: row[1:] for row in page.rows[1:5]}
    strokes = scribbled_label()
    voxels = {"background": 8 * 4 * 30, "RV": 7 * 4 * 10, "MYO": 8 * 4 * 14, "LV": (8 * 4 - 1) * 9}
    assert list(rows) == list(voxels)
    for name, row in rows.items():
        assert row[0] == f"{voxels[name]:,}"
        assert row[1] == f"{100 * voxels[name] / (8 * strokes.size):.3f} %"
        assert row[2] == f"{100 * voxels[name] / sum(voxels.values()):.1f} %"
    assert rows["RV"][3:6] == ["7 of 8", "28 of 32", "28"]
    assert rows["LV"][3:6] == ["8 of 8", "31 of 32", "31"]
    assert rows["RV"][6:] == ["15.0 mm", "1.50 mm"]  # ten pixels of 1.5 mm, one pixel wide
    assert "8 cases of 4 patients" in page.text
    assert "1.50 × 1.50 × 9.00 mm" in page.text  # noqa: RUF001


def test_small_sizes_are_told_by_their_significant_digits(sound: Acdc, report: Report) -> None:
    for folder in ("imagesTr", "labelsTr", "labelsTr_dense"):
        for path in sorted((sound.dataset / folder).iterdir()):
            shrunk = sitk.ReadImage(str(path))
            shrunk.SetSpacing((0.002, 0.002, 0.5))
            sitk.WriteImage(shrunk, str(path))
    page = Reader(report())
    assert "0.002 × 0.002 × 0.50 mm" in page.text  # noqa: RUF001
    assert {row[0]: row[7:] for row in page.rows[1:5]}["RV"] == ["0.02 mm", "0.002 mm"]


@pytest.mark.parametrize(
    ("size", "decimals", "text"),
    [(1.5, 2, "1.50"), (0.1, 2, "0.10"), (0.0977, 2, "0.0977"), (0, 2, "0.00"), (0.25, 1, "0.25"), (5, 0, "5")],
)
def test_sizes(size: float, decimals: int, text: str) -> None:
    assert size_text(size, decimals) == text


def test_the_problems_are_those_of_check(sound: Acdc, report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    assert "None was found." in Reader(report()).text
    edit_label(label(sound), lambda array: array.__setitem__((0, 40, 5), 7))
    capsys.readouterr()
    main(["check", "127", "-np", "1"])
    line, counts = capsys.readouterr().out.splitlines()
    text = Reader(report()).text
    what, _, cure = line.removeprefix("error: ").partition("; ")
    assert what in text
    assert cure in text
    assert counts in text


def test_pictures_hold_the_strokes_and_the_outlines(sound: Acdc, report: Report, data_of: Data) -> None:
    data = data_of(report())
    assert [case["name"] for case in data["cases"]] == sound.cases()
    case = data["cases"][0]
    assert [entry["index"] for entry in case["slices"]] == [0, 1, 2, 3]
    drawn = scribbled_label()[1]
    for kind in data["classes"]:
        layer = picture(case["slices"][1]["strokes"][str(kind["value"])])
        np.testing.assert_array_equal(layer[..., 3] > 0, drawn == kind["value"])
        colour = "#{:02X}{:02X}{:02X}".format(*layer[layer[..., 3] > 0][0][:3])
        assert colour == kind["colour"]
    assert picture(case["slices"][1]["image"]).shape == (48, 48, 4)
    # The outline of the right ventricle, [8, 20) by [6, 18), with the corners cut.
    path = case["slices"][1]["outlines"]["1"]
    points = np.array([[float(value) for value in point.split()] for point in re.split("[MLZ]+", path) if point])
    np.testing.assert_array_equal(points.min(axis=0), [6, 8])
    np.testing.assert_array_equal(points.max(axis=0), [18, 20])
    assert "0" not in case["slices"][1]["outlines"]
    left, top, right, bottom = case["box"]
    assert left <= 6 and top <= 8 and right >= 44 and bottom >= 44
    assert case["aspect"] == pytest.approx(1)


def test_nothing_is_loaded_from_elsewhere(sound: Acdc, report: Report) -> None:
    path = report()
    page = Reader(path)
    text = path.read_text(encoding="utf-8")
    for tag, attributes in page.elements:
        assert tag not in {"iframe", "object", "embed", "base", "form"}
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert "@import" not in text
    assert "url(" not in text
    [policy] = [attributes["content"] for tag, attributes in page.elements if "http-equiv" in attributes]
    assert policy and policy.startswith("default-src 'none'; img-src data:; ")
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


HOSTILE = "<img src=x onerror=hacked=1>"


def test_names_are_never_markup(sound: Acdc, report: Report, data_of: Data) -> None:
    rename_cases(sound, lambda case: f"{HOSTILE}{case}")
    breaking = "</script><script>hacked=1</script>"
    declare(
        sound,
        labels={"background": 0, breaking: 1, "MYO": 2, "LV&amp;": 3, "ignore": 4},
        description=f'"{breaking}',
        channel_names={"0": HOSTILE},
        reference=HOSTILE,
    )
    edit_label(label(sound, HOSTILE + CASE), lambda array: np.where(array == 1, IGNORE, array))
    path = report()
    page = Reader(path)
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert "img" not in [tag for tag, _ in page.elements]
    assert breaking in page.text
    assert f"{breaking} is not scribbled in 1 of 8 cases ({HOSTILE}{CASE})" in page.text
    data = data_of(path)
    assert data["cases"][0]["name"] == HOSTILE + CASE
    assert [kind["name"] for kind in data["classes"]] == ["background", breaking, "MYO", "LV&amp;"]


def test_the_page_stays_within_bounds(
    sound: Acdc, report: Report, data_of: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = data_of(report())
    size = sum(len(entry["image"]) for case in whole["cases"] for entry in case["slices"])
    monkeypatch.setattr(gallery, "PAGE_BYTES", size // 2)
    small = data_of(report())
    assert len(small["cases"]) == len(whole["cases"])
    drawn = [gallery._size(entry) for case in small["cases"] for entry in case["slices"]]
    assert sum(drawn) <= size // 2
    assert all(len(case["slices"]) >= 1 for case in small["cases"])


def test_slices_with_strokes_are_shown_first(
    sound: Acdc, report: Report, data_of: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "MAX_SLICES", 3)
    edit_label(label(sound), lambda array: array.__setitem__([0, 2, 3], IGNORE))
    edit_label(label(sound, OTHER), lambda array: np.full_like(array, IGNORE))
    shown = {case["name"]: case["slices"] for case in data_of(report())["cases"]}
    assert [entry["index"] for entry in shown[CASE]] == [0, 1, 3]
    assert [entry["index"] for entry in shown[OTHER]] == [0, 2, 3]
    monkeypatch.setattr(gallery, "PAGE_BYTES", 8 * gallery._size(shown[CASE][1]))
    [entry] = data_of(report())["cases"][0]["slices"]
    assert entry["index"] == 1


@pytest.mark.parametrize(
    ("drawn", "chosen"),
    [
        ({50, 100, 150}, [0, 50, 99, 100, 150, 199]),
        (set(range(0, 200, 2)), [0, 40, 80, 118, 158, 198]),
        (set(), [0, 40, 80, 119, 159, 199]),
    ],
)
def test_which_slices_are_chosen(drawn: set[int], chosen: list[int]) -> None:
    assert gallery.choose_slices(range(200), drawn, 6) == chosen


def test_large_pictures_shrink_and_keep_thin_strokes(tmp_path: Path) -> None:
    from scribble_conversion.reporting.pictures import grey_png, mask_png, reduction

    mask = np.zeros((1030, 700), dtype=bool)
    mask[501, 10:690] = True
    factor = reduction(mask.shape, 512)
    assert factor == 3
    layer = picture(mask_png(mask, "#E69F00", factor))
    assert layer.shape[:2] == (344, 234)
    np.testing.assert_array_equal(np.flatnonzero(layer[..., 3].any(axis=1)), [167])
    assert np.count_nonzero(layer[..., 3]) == 227
    grey = picture(grey_png(np.where(mask, 100.0, 0.0), (0.0, 100.0), 3))
    assert grey.shape[:2] == (344, 234)
    assert grey[167, 100, 0] == 85  # a third of white


def test_cases_with_problems_are_among_the_chosen(sound: Acdc, report: Report, data_of: Data) -> None:
    edit_label(label(sound, "patient022_frame12"), lambda array: array.__setitem__(2, IGNORE))
    data = data_of(report("--max-cases", "3"))
    names = [case["name"] for case in data["cases"]]
    assert names == [CASE, "patient022_frame12", "patient081_frame12"]
    assert [case["problems"] for case in data["cases"]] == [[], ["warning: slices"], []]
    page = report("--max-cases", "0")
    assert data_of(page)["cases"] == []
    assert "No case could be drawn." in page.read_text(encoding="utf-8")


def test_what_cannot_be_read_is_a_problem_and_not_shown(sound: Acdc, report: Report, data_of: Data) -> None:
    image(sound).write_bytes(b"nothing")
    page = report()
    assert CASE not in [case["name"] for case in data_of(page)["cases"]]
    assert "is damaged or no NIfTI file" in Reader(page).text


def test_a_damaged_channel_leaves_the_others_to_show(sound: Acdc, report: Report, data_of: Data) -> None:
    for case in sound.cases():
        shutil.copy(image(sound, case), sound.dataset / "imagesTr" / f"{case}_0001.nii.gz")
    declare(sound, channel_names={"0": "T2", "1": "cine"})
    image(sound).write_bytes(b"nothing")
    page = report()
    assert "is damaged or no NIfTI file" in Reader(page).text
    assert CASE in [case["name"] for case in data_of(page)["cases"]]


def test_pictures_have_pixels_and_all_their_colours(acdc: Acdc, data_of: Data, tmp_path: Path) -> None:
    folder = acdc.raw / "Dataset128_Cells"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    labels = np.full((40, 50), 2, np.uint8)
    labels[5, 5:30], labels[20:24, 20:24] = 0, 1
    colours = np.zeros((40, 50, 3), np.uint8)
    colours[..., 1] = np.arange(50) * 5  # nothing to see in red
    for case in ("a", "b"):
        io.imsave(folder / "imagesTr" / f"{case}_0000.png", colours, check_contrast=False)
        io.imsave(folder / "labelsTr" / f"{case}.png", labels, check_contrast=False)
    content = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "cell": 1, "ignore": 2}}
    (folder / "dataset.json").write_text(json.dumps({**content, "numTraining": 2, "file_ending": ".png"}))
    page = tmp_path / "cells.html"
    assert main(["report", str(folder), "-o", str(page), "-np", "1"]) in (0, 1)
    text = Reader(page).text
    assert "Voxel size" not in text
    assert " mm" not in text
    assert "Length of the strokes along their skeleton (pixels)" in text
    shown = picture(data_of(page)["cases"][0]["slices"][0]["image"])
    assert len(np.unique(shown[..., 0])) > 5


def test_outlines_shrink_with_their_picture() -> None:
    mask = np.zeros((400, 300), bool)
    mask[40:240, 30:210], mask[300, 100] = True, True
    whole, small = outline(mask, 1), outline(mask, 10)
    for path in (whole, small):
        subpaths = [
            np.array([[float(value) for value in point.split()] for point in re.split("[LZ]+", part) if point])
            for part in path.split("M")[1:]
        ]
        square, dot = sorted(subpaths, key=lambda points: -np.ptp(points))
        assert len(square) == 8  # cut corners, and nothing along the straight edges
        np.testing.assert_array_equal([*square.min(axis=0), *square.max(axis=0)], [30, 40, 210, 240])
        assert dot.min() >= 90
    ragged = np.random.default_rng(0).random((400, 300)) < 0.02
    assert len(outline(ragged, 8)) < 0.3 * len(outline(ragged, 1))


def test_a_page_is_not_replaced_unasked(sound: Acdc, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "mine.html"
    assert main(["report", "127", "-o", str(page), "-np", "1"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{page} (0.") and told[0].endswith(" MB), 8 cases shown")
    assert told[1] == "0 errors, 0 warnings"
    page.write_text("mine")
    for arguments, message in (
        (["-o", str(page)], "exists already"),
        (["-o", str(tmp_path)], "is a folder"),
        (["-o", str(tmp_path / "gone" / "page.html")], "does not exist"),
        (["-o", str(tmp_path / "new.html"), "--max-cases", "-1"], "--max-cases has to be 0 to 900"),
        (["-o", str(tmp_path / "new.html"), "--max-cases", "901"], "--max-cases has to be 0 to 900"),
    ):
        assert main(["report", "127", *arguments]) == 1
        assert message in capsys.readouterr().err
    assert page.read_text() == "mine"
    assert not (tmp_path / "new.html").exists()
    assert main(["report", "127", "-o", str(page), "--overwrite", "-np", "1"]) == 0
    assert DATASET in page.read_text(encoding="utf-8")
    assert not list(tmp_path.glob(".*partial*"))
