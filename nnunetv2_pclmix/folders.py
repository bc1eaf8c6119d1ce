"""Where nnU-Net keeps a dataset."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from scribble_conversion.console import UserError


def dataset_folder(variable: str, dataset: str) -> Path:
    """The folder of a dataset in one of nnU-Net's three.

    Args:
        variable: ``nnUNet_raw``, ``nnUNet_preprocessed`` or ``nnUNet_results``.
        dataset: its number, its name or its folder, of which the name counts.

    Raises:
        UserError: the variable is not set, or there is not exactly one such dataset.
    """
    root = os.environ.get(variable)
    if not root:
        raise UserError(f"{variable} is not set; nnUNetv2_pclmix doctor tells what to do")
    name = Path(dataset).name
    if name in ("", ".."):
        raise UserError(f"'{dataset}' names no dataset; give its number or name with -d")
    pattern = f"Dataset{int(name):03d}_*" if re.fullmatch(r"\d+", name) else glob.escape(name)
    found = sorted(path for path in Path(root).glob(pattern) if path.is_dir())
    if len(found) != 1:
        raise UserError(f"expected one dataset {pattern} in {root}, found {[path.name for path in found] or 'none'}")
    return found[0]
