"""Where nnU-Net looks for a dataset, and how one gets there whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scribble_conversion.console import UserError

SPLITS_FILE = "splits_final.json"
_FOLDERS = {"nnUNet_raw": True, "nnUNet_preprocessed": True, "nnUNet_results": False}
"""nnU-Net's folders, as its environment variables name them, and whether a conversion needs them."""


@dataclass(frozen=True)
class Target:
    """A dataset's place in nnU-Net's folders.

    Attributes:
        identifier: nnU-Net's dataset id, 1 to 999.
        name: the full name, e.g. ``Dataset127_ACDCscribbles``.
        raw: the dataset folder in ``nnUNet_raw``.
        preprocessed: its folder in ``nnUNet_preprocessed``.
        overwrite: whether a dataset of this name may be replaced.
    """

    identifier: int
    name: str
    raw: Path
    preprocessed: Path
    overwrite: bool = False

    @property
    def is_taken(self) -> bool:
        """Whether there is a dataset of this name already, or what nnU-Net made of one."""
        return self.raw.exists() or any((self.preprocessed / file).exists() for file in (SPLITS_FILE, "dataset.json"))

    @property
    def is_preprocessed(self) -> bool:
        """Whether nnU-Net has planned a dataset of this name already."""
        return (self.preprocessed / "dataset_fingerprint.json").exists()


def choose_target(identifier: int, name: str, overwrite: bool) -> Target:
    """Find the place of a dataset.

    Args:
        identifier: nnU-Net's dataset id.
        name: the part of the name after the id.
        overwrite: whether a dataset of the same id and name may be replaced.

    Returns:
        The place; nothing is created.

    Raises:
        UserError: if the id or the name is unfit or taken, or if nnU-Net's folders are not set.
    """
    if not 1 <= identifier <= 999:
        raise UserError(f"the dataset id has to be 1 to 999, got {identifier}; choose another with -d")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(
            f"the dataset name '{name}' has to consist of letters, digits and _ . -; choose another with -n"
        )
    folders = {variable: _folder(variable, needed) for variable, needed in _FOLDERS.items()}
    full_name = f"Dataset{identifier:03d}_{name}"
    for folder in filter(None, folders.values()):
        others = [path for path in folder.glob(f"Dataset{identifier:03d}*") if path.is_dir() and path.name != full_name]
        if others:
            raise UserError(
                f"dataset id {identifier} is in use by {others[0]}; choose another with -d, or give its name with -n"
            )
    raw, preprocessed = folders["nnUNet_raw"], folders["nnUNet_preprocessed"]
    assert raw is not None and preprocessed is not None
    target = Target(identifier, full_name, raw / full_name, preprocessed / full_name, overwrite)
    if target.is_taken and not overwrite:
        place = target.raw if target.raw.exists() else target.preprocessed
        raise UserError(f"{place} exists already; replace it with --overwrite, or choose another id with -d")
    return target


@contextmanager
def staged_dataset(target: Target, splits: str) -> Iterator[Path]:
    """Give a folder to write a dataset into, and put it into its place if the block ends without an exception.

    The folder is hidden, so nnU-Net does not take it for a dataset. After an exception it is removed, and a dataset
    that was there before is as it was.

    Args:
        target: the dataset's place; a dataset that is there is replaced if it may be.
        splits: the content of ``splits_final.json``, which goes into ``nnUNet_preprocessed`` along with it.

    Yields:
        The folder, empty.

    Raises:
        UserError: if nnU-Net's folders cannot be written, or if a dataset that must not be replaced appeared meanwhile.
    """
    mark = secrets.token_hex(4)
    staging = target.raw.with_name(f".{target.name}.partial-{mark}")
    staged_splits = target.preprocessed.with_name(f".{target.name}.splits-{mark}.json")
    try:
        try:
            staging.mkdir(parents=True)
            staged_splits.parent.mkdir(parents=True, exist_ok=True)
            staged_splits.write_text(splits, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{error.filename} cannot be written ({error.strerror}); check permissions") from error
        yield staging
        try:
            _put_into_place(staging, target.raw, target.overwrite)
            target.preprocessed.mkdir(exist_ok=True)
            staged_splits.replace(target.preprocessed / SPLITS_FILE)
        except OSError as error:
            raise UserError(f"{target.raw} cannot be put into its place ({error}); remove it and try again") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        with suppress(OSError):
            staged_splits.unlink(missing_ok=True)


def _put_into_place(staging: Path, final: Path, overwrite: bool) -> None:
    """Rename ``staging`` to ``final``; what was there is removed only after that worked, and only if it may be."""
    replaced = final.with_name(f"{staging.name}.replaced")
    try:
        if overwrite and final.exists():
            final.rename(replaced)
        staging.rename(final)
    except BaseException:
        if replaced.exists() and not final.exists():
            replaced.rename(final)
        raise
    if replaced.is_symlink():
        replaced.unlink()
    else:
        shutil.rmtree(replaced, ignore_errors=True)


def _folder(variable: str, needed: bool) -> Path | None:
    """The folder an environment variable of nnU-Net's names."""
    value = os.environ.get(variable)
    if value:
        return Path(value)
    if needed:
        raise UserError(f"the environment variable {variable} is not set; set it to nnU-Net's folder of that name")
    return None
