"""Pictures of slices with labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from nnunetv2_pclmix.drawing import COLOURS, Panel, draw_comparison, overlay

IMAGE = np.random.default_rng(0).normal(100, 20, (40, 50))
LABEL = np.zeros((40, 50), np.int64)
LABEL[10:20, 10:20] = 1
LABEL[25:30] = 4


def test_overlay_colours_what_is_asked_and_leaves_the_rest() -> None:
    bare = overlay(IMAGE, None, [], alpha=0.5)
    assert bare.shape == (40, 50, 3)
    assert 0 <= bare.min() <= bare.max() <= 1
    coloured = overlay(IMAGE, LABEL, [1], alpha=1.0)
    assert np.allclose(coloured[LABEL == 1], to_rgb(COLOURS[1]))
    assert np.array_equal(coloured[LABEL != 1], bare[LABEL != 1])


def test_overlay_of_a_constant_image_is_finite() -> None:
    assert np.isfinite(overlay(np.ones((4, 4)), None, [], alpha=1.0)).all()


def test_overlay_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\(40, 50\), got \(3, 3\)"):
        overlay(IMAGE, np.zeros((3, 3), int), [1], alpha=1.0)
    with pytest.raises(ValueError, match="two axes"):
        overlay(np.zeros((2, 3, 4)), None, [], alpha=1.0)
    with pytest.raises(ValueError, match="99"):
        overlay(IMAGE, LABEL, [99], alpha=1.0)


def test_writes_a_readable_png_of_the_expected_size(tmp_path: Path) -> None:
    row = [Panel("image", IMAGE), Panel("scribble", IMAGE, LABEL, sparse=True), Panel("reference", IMAGE, LABEL)]
    path = draw_comparison(
        [row, row],
        tmp_path / "new" / "picture.png",
        {0: "background", 1: "RV"},
        row_titles=["a", "b"],
        caption="under it",
        panel_inches=1.5,
        dpi=60,
    )
    picture = imread(path)
    assert picture.shape[1] == pytest.approx((3 * 1.5 + 0.25) * 60, abs=1)
    assert picture.shape[0] == pytest.approx((2 * 1.5 + 0.3 + 0.55) * 60, abs=1)
    assert picture.std() > 0.05
    assert path.stat().st_size < 300_000


def test_refuses_ragged_rows(tmp_path: Path) -> None:
    panel = Panel("image", IMAGE)
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        draw_comparison([[panel], [panel, panel]], tmp_path / "x.png", {})
    with pytest.raises(ValueError, match="at least one"):
        draw_comparison([], tmp_path / "x.png", {})
    with pytest.raises(ValueError, match="1 row titles"):
        draw_comparison([[panel]], tmp_path / "x.png", {}, row_titles=["a", "b"])
