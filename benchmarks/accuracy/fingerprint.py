"""Hashes that tell whether a training has been done already: of its settings, and of the code that trains."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nnunetv2_pclmix
import scribble_conversion

PACKAGE = Path(nnunetv2_pclmix.__file__).parent
HERE = Path(__file__).parent
PICTURES = Path(scribble_conversion.__file__).parent / "formats" / "natural.py"  # which reads them to be judged
OURS = (HERE / "trainers.py", PACKAGE / "training_state.py")
NOT_TRAINING = {  # modules of the package that no training imports or that do not change what it learns
    *(
        "__init__",
        "__main__",
        "calibrate",
        "calibration",
        "cli",
        "config",
        "doctor",
        "drawing",
        "export",
        "folders",
        "held_out",
        "judge",
        "lengths",
        "monitoring",
        "plain_model",
    ),
    *("small_plans", "trained_model", "trainer_variants", "evaluation", "demo", "phantom", "ext_trainer"),
}  # of config, the values count, see jobs.py
LIBRARIES = ("nnunetv2", "batchgenerators", "batchgeneratorsv2", "dynamic-network-architectures", "monai", "torch")


def of_settings(settings: Any) -> str:
    """Hash of anything JSON can hold."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


@cache
def of_code(trainer: str) -> str:
    """Hash of the sources a trainer runs and of the versions of the libraries; comments and layout do not count."""
    files: set[Path] = set(OURS)
    if trainer == "nnUNetTrainerPCLMix":
        files |= {
            p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0].removesuffix(".py") not in NOT_TRAINING
        }
    elif trainer == "nnUNetTrainerPartialCE":
        files |= {PACKAGE / "losses" / "partial.py", PACKAGE / "losses" / "shapes.py", PACKAGE / "precision.py"}
    return _digest(files, [f"{name} {version(name)}" for name in LIBRARIES])


@cache
def of_judging() -> str:
    """Hash of the sources that judge."""
    return _digest([*(PACKAGE / "evaluation").glob("*.py"), PICTURES], ())


def _digest(files: Iterable[Path], extra: Iterable[str]) -> str:
    parts = [f"{path.parent.name}/{path.name}\n{bare_source(path.read_text('utf-8'))}" for path in sorted(files)]
    return hashlib.sha256("\n".join([*parts, *extra]).encode()).hexdigest()[:6]


def bare_source(source: str) -> str:
    """Python source without comments and docstrings, laid out afresh."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
