"""A dataset's place in nnU-Net's folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scribble_conversion.console import UserError
from scribble_conversion.target import choose_target, staged_dataset


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    monkeypatch.delenv("nnUNet_results", raising=False)
    return tmp_path


def test_choosing_creates_nothing(folders: Path) -> None:
    target = choose_target(7, "Hearts", overwrite=False)
    assert target.raw == folders / "raw" / "Dataset007_Hearts"
    assert target.preprocessed == folders / "preprocessed" / "Dataset007_Hearts"
    assert list(folders.iterdir()) == []


@pytest.mark.parametrize("folder", ["raw", "preprocessed"])
def test_an_id_under_another_name_is_refused_even_with_overwrite(folders: Path, folder: str) -> None:
    (folders / folder / "Dataset007_Brains").mkdir(parents=True)
    with pytest.raises(UserError, match="Dataset007_Brains"):
        choose_target(7, "Hearts", overwrite=True)
    assert choose_target(8, "Hearts", overwrite=False).name == "Dataset008_Hearts"


def test_what_nnunet_made_of_a_dataset_counts_as_the_dataset(folders: Path) -> None:
    preprocessed = folders / "preprocessed" / "Dataset007_Hearts"
    preprocessed.mkdir(parents=True)
    (preprocessed / "splits_final.json").write_text("[]")
    with pytest.raises(UserError, match=r"exists already; replace it with --overwrite"):
        choose_target(7, "Hearts", overwrite=False)
    assert choose_target(7, "Hearts", overwrite=True).is_taken


def test_the_dataset_appears_only_at_the_end(folders: Path) -> None:
    target = choose_target(7, "Hearts", overwrite=False)
    with staged_dataset(target, "[]") as folder:
        (folder / "dataset.json").write_text("{}")
        assert not list(folders.rglob("Dataset*"))
    assert sorted(str(path.relative_to(folders)) for path in folders.rglob("*") if path.is_file()) == [
        "preprocessed/Dataset007_Hearts/splits_final.json",
        "raw/Dataset007_Hearts/dataset.json",
    ]


def test_a_dataset_that_appeared_meanwhile_is_told(folders: Path) -> None:
    """Two conversions at once: without permission to overwrite, the later one gives way to the earlier one."""
    target = choose_target(7, "Hearts", overwrite=False)
    with pytest.raises(UserError, match="Dataset007_Hearts"), staged_dataset(target, "[1]") as folder:
        (folder / "dataset.json").write_text("late")
        target.raw.mkdir()
        (target.raw / "dataset.json").write_text("early")
    assert (target.raw / "dataset.json").read_text() == "early"
    assert [path.name for path in target.raw.parent.iterdir()] == ["Dataset007_Hearts"]
    assert not target.preprocessed.exists()


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_the_folder_has_the_permissions_any_new_folder_has(folders: Path) -> None:
    plain = folders / "plain"
    plain.mkdir()
    target = choose_target(7, "Hearts", overwrite=False)
    with staged_dataset(target, "[]"):
        pass
    assert target.raw.stat().st_mode == plain.stat().st_mode
