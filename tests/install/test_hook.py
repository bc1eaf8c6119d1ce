"""After installation nnU-Net finds the trainers, and nothing else changes."""

from __future__ import annotations

import importlib.util
import os
from importlib import metadata
from pathlib import Path

import pytest

from tests.install.environment import DISTRIBUTION, Environment, make_environment

SHOW = "import os; print(os.environ.get('nnUNet_extTrainer', ''))"

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("pip") or int(metadata.version("setuptools").split(".")[0]) < 77,
    reason="installing needs pip, and setuptools 77 or later",
)


@pytest.fixture(scope="module", params=["regular", "editable"])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return make_environment(tmp_path_factory.mktemp(request.param), editable=request.param == "editable")


def shown(environment: Environment, **variables: str) -> list[str]:
    return environment.run(environment.python, "-c", SHOW, **variables).strip().split(os.pathsep)


def test_folder_is_announced_and_exists(environment: Environment) -> None:
    assert shown(environment) == [str(environment.trainer_folder)]
    assert [path.name for path in environment.trainer_folder.glob("*.py")] == ["nnunetv2_pclmix_discovery.py"]


def test_folder_of_the_user_comes_first(environment: Environment) -> None:
    assert shown(environment, nnUNet_extTrainer="/my/own") == ["/my/own", str(environment.trainer_folder)]


def test_child_processes_do_not_repeat_it(environment: Environment) -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SHOW!r}], check=True)"
    assert environment.run(environment.python, "-c", code).strip() == str(environment.trainer_folder)


def test_user_can_opt_out(environment: Environment) -> None:
    assert shown(environment, NNUNETV2_PCLMIX_NO_HOOK="1") == [""]
    assert shown(environment, NNUNETV2_PCLMIX_NO_HOOK="1", nnUNet_extTrainer="/my/own") == ["/my/own"]


def test_start_up_stays_light(environment: Environment) -> None:
    code = "import sys; print(*sys.modules)"
    with_hook = set(environment.run(environment.python, "-c", code).split())
    heavy = {"torch", "numpy", "nnunetv2", "nnunetv2_pclmix", "monai", "scribble_conversion"}
    assert not with_hook & heavy
    assert "nnunetv2_pclmix_startup" in with_hook


def test_broken_hook_does_not_break_python(environment: Environment, tmp_path: Path) -> None:
    folder = environment.source if environment.trainer_folder.is_relative_to(environment.source) else None
    module = (folder or environment.site_packages) / "nnunetv2_pclmix_startup.py"
    text = module.read_text()
    try:
        for broken in ("raise RuntimeError('broken')\n", "this is no Python\n"):
            module.write_text(broken)
            assert shown(environment) == [""]
        module.unlink()
        assert shown(environment) == [""]
    finally:
        module.write_text(text)


LOOKUP = """
import multiprocessing, pickle, sys
import my_trainers_marker

def name_of(trainer):
    return f"{trainer.__module__}.{trainer.__qualname__}"

if __name__ == "__main__":
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
    from nnunetv2_pclmix.trainer import nnUNetTrainerPCLMix
    assert find("nnUNetTrainerPCLMix") is nnUNetTrainerPCLMix
    assert find("nnUNetTrainerPCLMix_5epochs").__mro__[1:].count(nnUNetTrainerPCLMix) == 1
    assert find("nnUNetTrainer").__module__.startswith("nnunetv2.")
    assert find("MyOwnTrainer").__name__ == "MyOwnTrainer"
    assert pickle.loads(pickle.dumps(nnUNetTrainerPCLMix)) is nnUNetTrainerPCLMix
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print("spawned:", pool.apply(name_of, (find("nnUNetTrainerPCLMix"),)))
        print("found there:", name_of(pool.apply(find, ("nnUNetTrainerPCLMix",))))
"""


@pytest.mark.slow
def test_lookup_of_nnunet_finds_the_trainers(environment: Environment, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "my_own_trainer.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class MyOwnTrainer(nnUNetTrainer):\n    pass\n"
    )
    script = tmp_path / "lookup.py"
    script.write_text(LOOKUP.replace("import my_trainers_marker\n", ""))
    out = environment.run(environment.python, script, nnUNet_extTrainer=str(own))
    assert "spawned: nnunetv2_pclmix.trainer.nnUNetTrainerPCLMix" in out
    assert "found there: nnunetv2_pclmix.trainer.nnUNetTrainerPCLMix" in out


def test_console_commands_answer(environment: Environment) -> None:
    assert "evaluate" in environment.run(environment.scripts / "nnUNetv2_pclmix", "--help")


@pytest.mark.parametrize("editable", [False, True])
def test_uninstalling_removes_the_hook(tmp_path: Path, editable: bool) -> None:
    environment = make_environment(tmp_path, editable=editable)
    assert (environment.site_packages / "nnunetv2-pclmix.pth").is_file()
    environment.pip("uninstall", "--quiet", "--yes", DISTRIBUTION)
    assert not list(environment.site_packages.glob("*pclmix*"))
    assert shown(environment) == [""]
