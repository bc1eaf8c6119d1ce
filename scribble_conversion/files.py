"""Finding source files: folders walked with care, archives unpacked without trusting the paths inside."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from scribble_conversion.console import UserError
from scribble_conversion.parallel import interrupts_deferred

MAX_DEPTH = 4
"""Folders below the given one that are searched; the official ACDC archive needs two."""
MAX_MEMBER_BYTES = 2**30
"""An archive member that claims to be larger is refused: no scribble is, but a zip bomb may be."""
MAX_ARCHIVE_BYTES = 2**33
"""Likewise for all members together."""
NIFTI_ENDINGS = (".nii.gz", ".nii")
NNUNET_VARIABLES = RAW, PREPROCESSED, RESULTS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
"""The environment variables that name nnU-Net's folders."""


def is_junk(name: str) -> bool:
    """Tell whether a file or folder name is an operating system's litter (``._x``, ``.DS_Store``, ``__MACOSX``)."""
    return name.startswith(".") or name in {"__MACOSX", "Thumbs.db", "desktop.ini"}


def find_files(folder: Path, depth: int = MAX_DEPTH, closed: frozenset[Path] | None = None) -> list[Path]:
    """List the files in ``folder`` and the folders below it, symbolic links followed, junk left out.

    Links that lead nowhere are listed, too: whoever opens one tells the user, who may not have fetched the file yet.

    Args:
        folder: an existing folder.
        depth: how many levels of folders below it are searched.
        closed: folders below it that are left out; None for nnU-Net's, lest a dataset be taken for its own source.

    Returns:
        The files, ordered by path.

    Raises:
        UserError: if a folder cannot be listed.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if not is_junk(entry.name))
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error.strerror}); check the path and its permissions") from error
    found = [entry for entry in entries if entry.is_file() or (entry.is_symlink() and not entry.exists())]
    if depth > 0:
        closed = (_nnunet_folders() if closed is None else closed) | {folder.resolve()}  # links may lead in circles
        for entry in entries:
            if entry.is_dir() and entry.resolve() not in closed:
                found.extend(find_files(entry, depth - 1, closed))
    return found


def _nnunet_folders() -> frozenset[Path]:
    """nnU-Net's own folders."""
    values = filter(None, map(os.environ.get, NNUNET_VARIABLES))
    return frozenset(Path(value).resolve() for value in values)


def match_cases(pattern: re.Pattern[str], folder: Path, option: str) -> dict[str, Path]:
    """Map cases to their files.

    Args:
        pattern: for whole file names, with a group ``case``.
        folder: searched with the folders below it.
        option: the command line option that named it, for messages.

    Returns:
        Case to file.

    Raises:
        UserError: if two files are the same case.
    """
    matched: dict[str, Path] = {}
    for file in find_files(folder):
        match = pattern.fullmatch(file.name)
        if match is None:
            continue
        identifier = match["case"]
        if identifier in matched:
            raise UserError(
                f"{matched[identifier]} and {file} are the same case {identifier}; "
                f"keep one of them, or give a narrower folder with {option}"
            )
        matched[identifier] = file
    return matched


def require_folder(path: Path, option: str) -> Path:
    """Return ``path`` if it is a folder; raise a ``UserError`` that names ``option`` otherwise."""
    if not path.exists():
        raise UserError(f"{path} does not exist; give an existing folder with {option}")
    if not path.is_dir():
        raise UserError(f"{path} is not a folder; give a folder with {option}")
    return path


@contextmanager
def writing_temporary(path: Path) -> Iterator[None]:
    """Turn a failure to write the temporary file ``path`` into a ``UserError``."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # SimpleITK raises RuntimeError
        reason = getattr(error, "strerror", None) or str(error).strip()
        raise UserError(
            f"{path} cannot be written ({reason}); free space there, or name another folder for temporary files with "
            "the environment variable TMPDIR"
        ) from error


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Give an empty temporary folder that is removed at the end, Ctrl-C or not.

    Raises:
        UserError: if there is no place for it.
    """
    with ExitStack() as stack:
        with interrupts_deferred():
            try:
                folder = Path(tempfile.mkdtemp(prefix=prefix))
            except OSError as error:
                raise UserError(
                    f"temporary files cannot be written ({error.strerror or error}); free space, or name another "
                    "folder for them with the environment variable TMPDIR"
                ) from error
            stack.callback(_remove, folder)
        yield folder


def _remove(folder: Path) -> None:
    with interrupts_deferred():
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def opened_folder(path: Path, option: str) -> Iterator[Path]:
    """Give a folder with the files of ``path``, which is a folder or a zip archive.

    An archive is unpacked into a temporary folder that is removed at the end.

    Args:
        path: folder or ``.zip`` file.
        option: the command line option that named it, for messages.

    Yields:
        The folder to read from.

    Raises:
        UserError: if ``path`` is missing, or no folder and no sound archive.
    """
    if not path.is_file():
        yield require_folder(path, option)
        return
    with temporary_folder("scribbles_") as temporary:
        unpack_nifti(path, temporary)
        yield temporary


def unpack_nifti(archive: Path, folder: Path) -> None:
    """Unpack the NIfTI files of a zip archive, all flat into ``folder``: no path of the archive's is ever used.

    Args:
        archive: the zip file.
        folder: an existing, empty folder.

    Raises:
        UserError: if the archive is damaged or encrypted, if a path in it points outside, if a member is larger than
            ``MAX_MEMBER_BYTES`` or all are larger than ``MAX_ARCHIVE_BYTES``, if two members have the same file name,
            or if there is no space.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _check_space(opened, archive, folder)
            for member in opened.infolist():
                path = PurePosixPath(member.filename.replace("\\", "/"))
                if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
                    raise UserError(
                        f"{archive} holds a path that points outside of it ({member.filename}); "
                        "download the archive again from its source"
                    )
                if member.is_dir() or any(map(is_junk, path.parts)) or not path.name.endswith(NIFTI_ENDINGS):
                    continue
                _unpack_member(opened, member, folder / path.name, archive)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError) as error:
        raise UserError(f"{archive} is not a sound zip archive ({error}); download it again") from error
    except PermissionError as error:
        raise UserError(f"{error.filename} cannot be opened ({error.strerror}); check its permissions") from error
    except OSError as error:
        raise UserError(
            f"{archive} cannot be unpacked into {folder} ({error.strerror or error}); unpack it elsewhere and give the "
            "folder instead"
        ) from error
    except RuntimeError as error:  # zipfile's way to say that a member is encrypted
        raise UserError(f"{archive} cannot be unpacked ({error}); unpack it and give the folder instead") from error


def _check_space(opened: zipfile.ZipFile, archive: Path, folder: Path) -> None:
    """Refuse an archive that claims to be larger than scribbles are or than the space there is."""
    total = sum(member.file_size for member in opened.infolist() if member.filename.endswith(NIFTI_ENDINGS))
    if total > MAX_ARCHIVE_BYTES:
        raise UserError(
            f"{archive} claims to hold {total:,} bytes, too large for scribbles; "
            "check the archive, or unpack it and give the folder instead"
        )
    free = shutil.disk_usage(folder).free
    if total > free:
        raise UserError(
            f"{archive} unpacks to {total:,} bytes, but {folder.parent} has only {free:,} left; free space there, or "
            "name another folder for temporary files with the environment variable TMPDIR"
        )


def _unpack_member(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, archive: Path) -> None:
    if member.file_size > MAX_MEMBER_BYTES:
        raise UserError(
            f"{archive} holds {member.filename} of {member.file_size:,} bytes, too large for scribbles; "
            "check the archive, or unpack it and give the folder instead"
        )
    if target.exists():
        raise UserError(
            f"{archive} holds {target.name} more than once; unpack it, keep one of them and give the folder instead"
        )
    with opened.open(member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)
