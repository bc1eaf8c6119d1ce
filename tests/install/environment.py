"""Small virtual environments that see the packages of the running one, to install this project into."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).parents[2]
DISTRIBUTION = "nnunetv2-pclmix"
OURS = ("nnUNet_extTrainer", "NNUNETV2_PCLMIX_NO_HOOK", "PYTHONPATH")
"""Variables that would let the outer environment shine through."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        folder: where it lies.
        source: the copy of the project that was installed.
        trainer_folder: the folder that nnU-Net has to find.
    """

    folder: Path
    source: Path
    trainer_folder: Path = field(default=Path())

    @property
    def scripts(self) -> Path:
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    @property
    def python(self) -> Path:
        return self.scripts / "python"

    @property
    def site_packages(self) -> Path:
        return Path(sysconfig.get_path("purelib", "venv", {"base": str(self.folder)}))

    def run(self, *command: str | Path, **variables: str) -> str:
        """Run a command away from the project's folder; return what it printed, fail with its errors."""
        outer = {key: value for key, value in os.environ.items() if key not in OURS}
        done = subprocess.run(
            [str(part) for part in command],
            env={**outer, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Error processing line" not in done.stderr
        return done.stdout

    def pip(self, *arguments: str | Path) -> None:
        """Run the outer environment's pip on this one."""
        self.run(sys.executable, "-m", "pip", "--python", self.python, *arguments)


def make_environment(folder: Path, *, editable: bool) -> Environment:
    """Copy the project, make an environment and install the copy there without downloading anything."""
    source = folder / "source"
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for package in ("nnunetv2_pclmix", "scribble_conversion"):
        shutil.copytree(PROJECT / package, source / package, ignore=skip)
    for path in PROJECT.iterdir():
        if (path.is_file() and path.suffix in {".py", ".toml", ".pth", ".md", ".in"}) or path.name == "LICENSE":
            shutil.copy(path, source)
    target = folder / "environment"
    venv.create(target, with_pip=False, symlinks=os.name != "nt")
    bare = Environment(target, source)
    (bare.site_packages / "zz_outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    editable_flag = ["--editable"] if editable else []
    bare.pip("install", "--quiet", "--no-deps", "--no-build-isolation", *editable_flag, source)
    packages = source if editable else bare.site_packages
    return Environment(target, source, packages / "nnunetv2_pclmix" / "ext_trainer")
