"""Say in plain words whether everything is in place for nnUNetTrainerPCLMix, and what to do where it is not."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from scribble_conversion.console import UserError

Level = Literal["ok", "warning", "error"]

TRAINER = "nnUNetTrainerPCLMix"
TRAINER_VARIABLE = "nnUNet_extTrainer"
OPT_OUT = "NNUNETV2_PCLMIX_NO_HOOK"
PROBE_SECONDS = 300

VERSIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "nnunetv2": ((2, 8), (3,)),
    "batchgenerators": ((0, 25, 4), None),
    "batchgeneratorsv2": ((0, 3, 6), None),
    "torch": ((2, 4), None),
    "dynamic-network-architectures": ((0, 4, 4), None),
    "monai": ((1, 4), None),
}
"""Packages and the versions that fit: from, up to but without."""

FOLDERS = {
    "nnUNet_raw": "datasets as you convert them",
    "nnUNet_preprocessed": "plans and preprocessed data",
    "nnUNet_results": "trained models",
}

TORCH_PROBE = """
import json, torch
found = {"torch": torch.__version__, "cuda": torch.cuda.is_available(), "built": torch.version.cuda}
found["mps"] = torch.backends.mps.is_available()
found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if found["cuda"] else []
print(json.dumps(found))
"""

VISION_PROBE = """
import json, torch, torchvision
torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
print(json.dumps({"torchvision": torchvision.__version__}))
"""

LOOKUP_PROBE = f"""
import json
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
print(json.dumps({{"module": find({TRAINER!r}).__module__}}))
"""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        level: ``error`` where a training would fail, ``warning`` where it would be other than expected.
        text: what was found.
        cure: what to do, where there is something to do.
    """

    level: Level
    text: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.level + ':':<9}{self.text}" + (f"\n{'':<9}-> {self.cure}" if self.cure else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``nnUNetv2_pclmix doctor``."""
    parser.add_argument(
        "-d",
        metavar="DATASET",
        help="number, name or folder of a dataset in nnUNet_raw to check, too (default: none)",
    )
    parser.add_argument("-np", type=int, metavar="N", help="processes for that (default: nnU-Net's)", default=None)


def run(args: argparse.Namespace) -> int:
    """Run ``nnUNetv2_pclmix doctor``."""
    findings = []
    checks = (examine(),) if args.d is None else (examine(), check_dataset(args.d, args.np))
    for finding in chain.from_iterable(checks):
        print(finding, flush=True)
        findings.append(finding)
    errors = sum(finding.level == "error" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    if errors or warnings:
        print(f"\n{errors} errors, {warnings} warnings.")
    else:
        print("\nEverything is in place.")
    return 1 if errors else 0


def examine() -> Iterator[Finding]:
    """All checks, the quick ones first."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        check_versions,
        check_folders,
        check_hook,
        check_torch,
        check_lookup,
    )
    for check in checks:
        yield from check()


def check_versions() -> Iterator[Finding]:
    """Are nnU-Net and what it draws its patches with of versions that fit?"""
    for package, (lowest, limit) in VERSIONS.items():
        wanted = f">={_dotted(lowest)}" + (f",<{_dotted(limit)}" if limit else "")
        cure = f'pip install "{package}{wanted}"'
        try:
            text = metadata.version(package)
        except metadata.PackageNotFoundError:
            yield Finding("error", f"{package} is not installed", cure)
            continue
        version = _numbers(text)
        if version < lowest or (limit and version >= limit):
            yield Finding("error", f"{package} {text} does not fit, {wanted} is needed", cure)
        else:
            yield Finding("ok", f"{package} {text}")


def check_folders() -> Iterator[Finding]:
    """Are nnU-Net's three folders named, there, and writable?"""
    for variable, content in FOLDERS.items():
        value = os.environ.get(variable)
        if not value:
            yield Finding("error", f"{variable} ({content}) is not set", f"export {variable}=/path/to/a/folder")
        elif value.startswith("~"):
            yield Finding("error", f"{variable} is {value}, but only a shell knows what ~ is", "write the whole path")
        elif Path(value).exists() and not Path(value).is_dir():
            yield Finding("error", f"{variable} is {value}, which is a file", f"export {variable}=/path/to/a/folder")
        elif not Path(value).is_dir():
            yield Finding("error", f"{variable} is {value}, which is no folder", f'mkdir -p "{value}"')
        elif not os.access(value, os.W_OK | os.X_OK):
            read = variable == "nnUNet_raw"  # all that a training and a prediction do with it
            cure = "choose another to convert datasets into" if read else "choose another, or ask its owner"
            yield Finding("warning" if read else "error", f"{variable} is {value}, where you may not write", cure)
        else:
            yield Finding("ok", f"{variable} is {value}")


def check_hook() -> Iterator[Finding]:
    """Does nnU-Net's variable name the folder of this package's trainers?"""
    folder = Path(__file__).parent / "ext_trainer"
    value = os.environ.get(TRAINER_VARIABLE, "")
    parts = [Path(part) for part in value.split(os.pathsep) if part]
    if any(part.is_dir() and part.samefile(folder) for part in parts):
        yield Finding("ok", f"{TRAINER_VARIABLE} names the trainers' folder, {folder}")
        yield from (
            Finding(
                "warning",
                f"{TRAINER_VARIABLE} also names {part}, which does not exist",
                "nnU-Net passes over it; remove it from the variable",
            )
            for part in parts
            if not part.is_dir()
        )
    elif os.environ.get(OPT_OUT):
        yield Finding(
            "error",
            f"{OPT_OUT} is set, so the start-up hook is off and nnU-Net does not know the trainers' folder",
            f'unset {OPT_OUT}, or export {TRAINER_VARIABLE}="{folder}"',
        )
    else:
        yield Finding(
            "error",
            f"the start-up hook did not add the trainers' folder to {TRAINER_VARIABLE}",
            f'install the package with pip into this environment, or export {TRAINER_VARIABLE}="{folder}"',
        )


def check_torch() -> Iterator[Finding]:
    """Do torch and torchvision belong together, and what will they compute on?"""
    torch, problem = _probe(TORCH_PROBE)
    if torch is None:
        yield Finding(
            "error", f"torch cannot be imported: {problem}", "pip install --force-reinstall torch torchvision"
        )
        return
    vision, problem = _probe(VISION_PROBE)
    if vision is None:
        yield Finding(
            "error",
            f"torchvision {_version_of('torchvision')} does not work with torch {torch['torch']}: {problem}",
            "the two must be of one build: pip install --force-reinstall torch torchvision",
        )
    else:
        yield Finding("ok", f"torch {torch['torch']} and torchvision {vision['torchvision']} work together")
    if torch["gpus"]:
        yield Finding("ok", f"GPU: {', '.join(torch['gpus'])}")
    elif torch["mps"]:
        yield Finding("ok", "GPU of an Apple computer; train and predict with -device mps")
    else:
        build = "with CUDA; its driver was not found" if torch["built"] else "without CUDA"
        yield Finding(
            "warning",
            f"no GPU was found (torch is built {build})",
            "train and predict with -device cpu; nnUNetv2_pclmix small_plans makes a plan that a CPU can train",
        )


def check_lookup() -> Iterator[Finding]:
    """Does nnU-Net's own lookup, in a fresh Python, find the trainer of this package?"""
    found, problem = _probe(LOOKUP_PROBE)
    if found is None:
        yield Finding(
            "error",
            f"nnU-Net does not find {TRAINER}: {problem}",
            "see to the errors above first, if there are any; then reinstall this package with what it needs",
        )
    elif found["module"] != "nnunetv2_pclmix.trainer":
        yield Finding(
            "error",
            f"nnU-Net finds another {TRAINER}, in the module {found['module']}",
            f"remove that one from nnU-Net's files or from {TRAINER_VARIABLE}",
        )
    else:
        yield Finding("ok", f"nnU-Net finds {TRAINER}")


def check_dataset(dataset: str, processes: int | None = None) -> Iterator[Finding]:
    """Is anything wrong with a dataset? What ``nnUNetv2_convert_scribbles check`` says, in the doctor's words."""
    # Slow to import, and useless where nnU-Net is not installed, which the other checks have to be able to say.
    try:
        from scribble_conversion.checking.dataset import open_dataset
        from scribble_conversion.checking.inspection import inspect
    except ImportError as error:
        yield Finding("error", f"dataset {dataset} was not looked at: {error}", "see to the errors above first")
        return
    try:
        inspection = inspect(open_dataset(dataset), processes)
    except UserError as error:
        text, _, cure = str(error).rpartition("; ")
        yield Finding("error", text, cure)
        return
    name, cases = inspection.dataset.name, len(inspection.dataset.cases)
    for found in inspection.findings:
        yield Finding(found.level, f"{name}: {' '.join(found.text.split())}", found.cure)
    if not inspection.findings:
        yield Finding("ok", f"{name}: nothing is wrong with its {cases} cases")


def _probe(code: str) -> tuple[dict[str, Any] | None, str]:
    """Run code in a fresh Python; what it printed last as JSON, or None and the last line of its errors."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {PROBE_SECONDS} seconds"
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return None, lines[-1] if lines else f"Python ended with status {done.returncode}"
    for line in reversed(done.stdout.splitlines()):  # what is imported may print, too
        with suppress(ValueError):
            answer = json.loads(line)
            if isinstance(answer, dict):
                return answer, ""
    return None, "Python gave no answer"


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.8.1+cu1" -> (2, 8, 1)."""
    numbers = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
