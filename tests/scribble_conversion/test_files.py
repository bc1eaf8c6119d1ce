"""Folders walked and archives unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from scribble_conversion.console import UserError
from scribble_conversion.files import find_files, opened_folder


def test_links_are_followed_junk_is_not(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "a.nii.gz").touch()
    root = tmp_path / "root"
    for name in ("__MACOSX", ".hidden", "deep"):
        (root / name).mkdir(parents=True)
        (root / name / f"{name}.nii.gz").touch()
    (root / "._b.nii.gz").touch()
    (root / ".DS_Store").touch()
    (root / "link").symlink_to(real)
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    (root / "circle").symlink_to(root)
    found = [root / "dangling", root / "deep" / "deep.nii.gz", root / "link" / "a.nii.gz"]
    assert find_files(root) == found  # whoever needs the one that leads nowhere will tell


def test_links_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    assert find_files(tmp_path) == [tmp_path / "a.nii.gz"]


def test_folders_of_nnunet_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("mine", "raw/Dataset001_A"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.nii.gz").touch()
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    assert find_files(tmp_path) == [tmp_path / "mine" / "a.nii.gz"]
    assert find_files(tmp_path / "raw" / "Dataset001_A") == [tmp_path / "raw" / "Dataset001_A" / "a.nii.gz"]


def test_an_archive_is_unpacked_flat_and_removed_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "scribbles.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b/c.nii.gz", b"c")
        archive.writestr("d.nii", b"d")
        archive.writestr("a/readme.txt", b"not needed")
        archive.writestr("__MACOSX/a/b/._c.nii.gz", b"litter")
    with opened_folder(path, "--scribbles") as folder:
        assert {file.name: file.read_bytes() for file in folder.rglob("*")} == {"c.nii.gz": b"c", "d.nii": b"d"}
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../c.nii.gz", "a/../../c.nii.gz", "/c.nii.gz", "..\\c.nii.gz", "C:\\c.nii.gz"])
def test_a_path_that_leaves_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "deep" / "scribbles.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"c")
    with pytest.raises(UserError, match="points outside"), opened_folder(path, "--scribbles"):
        pass
    assert [file.name for file in tmp_path.rglob("*")] == ["deep", "scribbles.zip"]


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scribbles.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("c.nii.gz", b"c")
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag in the member's own header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    path.write_bytes(content)
    with pytest.raises(UserError, match="encrypted"), opened_folder(path, "--scribbles"):
        pass
