"""Where nnU-Net looks for a dataset, and how one gets there whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scribble_conversion.console import UserError
from scribble_conversion.files import PREPROCESSED, RAW, RESULTS
from scribble_conversion.locking import LockedError, exclusive
from scribble_conversion.parallel import interrupts_deferred

DEFAULT_PLANS = "nnUNetPlans"
SPLITS_FILE = "splits_final.json"
LONGEST_NAME = 150
"""Of a dataset, in characters; file systems allow 255 bytes, and names are made from it."""
_FOLDERS = {RAW: True, PREPROCESSED: True, RESULTS: False}
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
    def hidden(self) -> str:
        """How the names of hidden files and folders of this id begin."""
        return f".Dataset{self.identifier:03d}"

    @property
    def lock(self) -> Path:
        """What is held while the id is in use."""
        return self.raw.with_name(f"{self.hidden}.lock")

    @property
    def is_taken(self) -> bool:
        """Whether there is a dataset of this name already, or what nnU-Net made of one."""
        return os.path.lexists(self.raw) or any(
            (self.preprocessed / file).exists() for file in (SPLITS_FILE, "dataset.json")
        )

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
        The place; nothing is created, but what a killed conversion to this id left is put right.

    Raises:
        UserError: if the id or the name is unfit or taken, or if nnU-Net's folders are not set.
    """
    if not 1 <= identifier <= 999:
        raise UserError(f"the dataset id has to be 1 to 999, got {identifier}; choose another with -d")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(
            f"the dataset name '{name}' has to consist of letters, digits and _ . -; choose another with -n"
        )
    if len(name) > LONGEST_NAME:
        raise UserError(f"the dataset name has {len(name)} characters, at most {LONGEST_NAME} are possible; shorten -n")
    folders = {variable: _folder(variable, needed) for variable, needed in _FOLDERS.items()}
    full_name = f"Dataset{identifier:03d}_{name}"
    raw, preprocessed = folders[RAW], folders[PREPROCESSED]
    assert raw is not None and preprocessed is not None
    target = Target(identifier, full_name, raw / full_name, preprocessed / full_name, overwrite)
    if any(next(folder.glob(f"{target.hidden}[_.]*"), None) for folder in (raw, preprocessed)):
        with suppress(LockedError, OSError), exclusive(target.lock) as locked:
            if locked:
                _put_right(target)
    for folder in filter(None, folders.values()):
        same_id = folder.glob(f"Dataset{identifier:03d}*")
        others = sorted(path for path in same_id if path.is_dir() and path.name != full_name)
        if others:
            raise UserError(
                f"dataset id {identifier} is in use by {others[0]}; choose another with -d, or give its name with -n"
            )
    for place in (target.raw, target.preprocessed):
        if os.path.lexists(place) and not place.is_dir():
            raise UserError(f"{place} is no folder, so the dataset cannot be there; remove it, or choose another name")
    if target.is_taken and not overwrite:
        require_replaceable(target)
        place = target.raw if target.raw.exists() else target.preprocessed
        raise UserError(f"{place} exists already; replace it with --overwrite, or choose another id with -d")
    return target


def require_replaceable(target: Target) -> None:
    """Raise a ``UserError`` if there is a folder with files at a dataset's place, but they are no dataset."""
    if target.raw.is_dir() and not (target.raw / "dataset.json").is_file() and any(target.raw.iterdir()):
        raise UserError(
            f"{target.raw} holds no dataset.json, so it is no dataset to replace; move what is in it elsewhere, or "
            "choose another id with -d"
        )


@contextmanager
def staged_dataset(target: Target, splits: str) -> Iterator[Path]:
    """Give a folder to write a dataset into, and put it into its place if the block ends without an exception.

    The folder is hidden, so nnU-Net does not take it for a dataset. After an exception it is removed, and a dataset
    that was there before is as it was. One process at a time has a dataset id; what a killed one left of it is put
    right first.

    Args:
        target: the dataset's place; a dataset that is there is replaced if it may be.
        splits: the content of ``splits_final.json``, which goes into ``nnUNet_preprocessed`` along with it.

    Yields:
        The folder, empty.

    Raises:
        UserError: if nnU-Net's folders cannot be written, if another process converts to the same id, or if a dataset
            that must not be replaced appeared meanwhile.
    """
    with _reserved(target):
        mark = secrets.token_hex(4)
        staging = target.raw.with_name(f".{target.name}.partial-{mark}")
        staged_splits = target.preprocessed.with_name(f".{target.name}.splits-{mark}.json")
        try:
            try:
                staging.mkdir()
                staged_splits.write_text(splits, encoding="utf-8")
            except OSError as error:
                raise _unwritable(target.preprocessed.parent, error) from error
            yield staging
            with interrupts_deferred():
                _put_into_place(staging, staged_splits, target)
        finally:
            with interrupts_deferred():
                with suppress(OSError):
                    staged_splits.unlink(missing_ok=True)
                shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _reserved(target: Target) -> Iterator[None]:
    """Keep other processes off the dataset id, after what a killed one left of it has been put right."""
    try:
        with ExitStack() as held:
            try:
                for folder in (target.raw.parent, target.preprocessed.parent):
                    folder.mkdir(parents=True, exist_ok=True)
                if held.enter_context(exclusive(target.lock)):
                    _put_right(target)
            except OSError as error:
                raise _unwritable(target.raw.parent, error) from error
            # the id may have been taken since the target was chosen
            choose_target(target.identifier, target.name.partition("_")[2], target.overwrite)
            yield
    except LockedError as error:
        raise UserError(
            f"another conversion to dataset id {target.identifier} is under way ({target.lock}); wait for its end, or "
            "choose another id with -d"
        ) from error


def _put_right(target: Target) -> None:
    """Undo what a killed conversion to this id left, or finish it where only the splits were still to come."""
    ours = f"{target.hidden}_*"
    raw, preprocessed = target.raw.parent, target.preprocessed.parent
    for replaced in raw.glob(f"{ours}.replaced"):
        final = raw / replaced.name[1:].rpartition(".partial-")[0]
        if not os.path.lexists(final):
            replaced.rename(final)
    for splits in preprocessed.glob(f"{ours}.splits-*.json"):
        name, _, mark = splits.name[1:].removesuffix(".json").rpartition(".splits-")
        written = raw / name / SPLITS_FILE
        was_placed = not (raw / f".{name}.partial-{mark}").exists() and written.is_file()
        if was_placed and written.read_bytes() == splits.read_bytes():
            (preprocessed / name).mkdir(exist_ok=True)
            splits.replace(preprocessed / name / SPLITS_FILE)
        else:
            splits.unlink()
    for leftover in raw.glob(f"{ours}.partial-*"):
        _remove(leftover)


def _put_into_place(staging: Path, splits: Path, target: Target) -> None:
    """Rename the dataset and its splits to what nnU-Net looks for, both or neither.

    A dataset that was there is removed only after that worked, and it is only replaced if it may be.
    """
    final = target.raw
    replaced = final.with_name(f"{staging.name}.replaced")
    try:
        try:
            if target.overwrite and final.exists():
                final.rename(replaced)
            staging.rename(final)
            target.preprocessed.mkdir(exist_ok=True)
            splits.replace(target.preprocessed / SPLITS_FILE)
        except BaseException:
            if not staging.exists():
                final.rename(staging)
            if os.path.lexists(replaced) and not final.exists():
                replaced.rename(final)
            raise
    except OSError as error:
        raise UserError(
            f"{error.filename2 or error.filename or final} cannot be put into its place ({error.strerror or error}); "
            "remove what is there and check permissions"
        ) from error
    _remove(replaced)


def _remove(path: Path) -> None:
    """Remove a folder with all it holds, or a link to one but not what it leads to."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"{error.filename or folder} cannot be written ({error.strerror or error}); check permissions and free space"
    )


def _folder(variable: str, needed: bool) -> Path | None:
    """The folder an environment variable of nnU-Net's names."""
    value = os.environ.get(variable)
    if value:
        if any("\udc80" <= character <= "\udcff" for character in value):  # how Python has bytes that are not UTF-8
            raise UserError(
                f"the folder {value} is not named in UTF-8, which SimpleITK cannot write; correct {variable}"
            )
        if value.startswith("~"):
            raise UserError(f"{variable} is {value}, but only a shell knows what ~ is; write the whole path")
        return Path(value)
    if needed:
        raise UserError(f"the environment variable {variable} is not set; set it to nnU-Net's folder of that name")
    return None
