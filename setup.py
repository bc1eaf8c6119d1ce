"""Build steps beside pyproject.toml: the start-up hook goes into site-packages, whichever way one installs."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import Command, setup
from setuptools.command.build import build

HOOK = "nnunetv2-pclmix.pth"


class BuildStartupHook(Command):
    """Put the ``.pth`` file that runs ``nnunetv2_pclmix_startup`` beside the packages.

    Follows setuptools' protocol for build sub-commands (``setuptools.command.build.SubCommand``).
    """

    description = "add the start-up hook"
    user_options: list[tuple[str, str | None, str]] = []  # noqa: RUF012

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self) -> None:
        target = Path(self._target())
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HOOK, target / HOOK)

    def get_source_files(self) -> list[str]:
        return [HOOK]

    def get_outputs(self) -> list[str]:
        # An editable wheel links outputs back to the sources; the hook must be copied, so it is not named as one.
        return [] if self.editable_mode else [str(Path(self._target(), HOOK))]

    def get_output_mapping(self) -> dict[str, str]:
        return {} if self.editable_mode else dict.fromkeys(self.get_outputs(), HOOK)

    def _target(self) -> str:
        if not self.editable_mode:
            assert self.build_lib is not None
            return self.build_lib
        wheel = str(self.get_finalized_command("install").install_lib)  # the editable wheel, unpacked
        if not any(Path(wheel).glob("*.dist-info")):
            raise RuntimeError(f"this setuptools builds editable wheels elsewhere than in {wheel}: no place for {HOOK}")
        return wheel


class Build(build):
    """The usual build and the start-up hook."""

    sub_commands = [*build.sub_commands, ("build_startup_hook", None)]  # noqa: RUF012


setup(cmdclass={"build": Build, "build_startup_hook": BuildStartupHook})
