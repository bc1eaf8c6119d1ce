"""Checkpoints: nnU-Net's own, plus one entry that only this trainer reads, replaced in one step."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nnunetv2_pclmix.whole_file import whole_file

ENTRY = "pclmix"


def save(save_stock: Callable[[Any], None], path: Path, state: dict[str, Any]) -> None:
    """Let nnU-Net make its checkpoint, add our state, and put the file in place at once.

    A kill while writing leaves the previous file as it was.

    Args:
        save_stock: nnU-Net's ``save_checkpoint``; given a file object.
        path: where the checkpoint goes.
        state: our entry.
    """
    buffer = io.BytesIO()
    save_stock(buffer)
    buffer.seek(0)
    content = torch.load(buffer, map_location="cpu", weights_only=False)
    content[ENTRY] = state
    write_at_once(content, path)


def write_at_once(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint beside where it goes, and put it in place when it is whole.

    Raises:
        OSError: it cannot be written, for instance on a full disk.
    """
    with whole_file(path) as partial, partial.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(str(error)) from error
        file.flush()
        os.fsync(file.fileno())


def load(filename_or_content: dict | str) -> dict[str, Any] | None:
    """Our entry of a checkpoint, or None where a stock trainer wrote it.

    Args:
        filename_or_content: the checkpoint's file, whose tensors are read to the CPU, or what was read from it.

    Returns:
        What ``save`` was given.
    """
    if isinstance(filename_or_content, dict):
        return filename_or_content.get(ENTRY)
    return torch.load(filename_or_content, map_location="cpu", weights_only=False).get(ENTRY)
