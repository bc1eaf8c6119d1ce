"""The demonstration: what it would type, how it fails, what it reports. The real run takes minutes: ``make demo``."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from nnunetv2_pclmix.demo.__main__ import MARKER, main, prepare
from nnunetv2_pclmix.demo.commands import Command, Settings, Stage, environment, stages
from nnunetv2_pclmix.demo.report import table, verdict
from nnunetv2_pclmix.demo.runner import CommandFailed, run_stage, shell_environment
from nnunetv2_pclmix.lengths import LENGTHS


def _lines(settings: Settings) -> list[str]:
    return [command.typed() for stage in stages(settings) for command in stage.commands]


def _python(code: str, name: str = "it") -> Stage:
    return Stage("test", (Command(name, ("python", "-c", code)),))


def test_commands_come_in_the_order_a_user_needs() -> None:
    commands = [command for stage in stages(Settings(Path("/tmp/demo"))) for command in stage.commands]
    programs = [command.line[:2] for command in commands]
    assert [program for program, _ in programs] == [
        "python",
        "nnUNetv2_convert_scribbles",
        "nnUNetv2_plan_and_preprocess",
        "nnUNetv2_pclmix",
        "nnUNetv2_train",
        "nnUNetv2_train",
        "nnUNetv2_predict",
        "nnUNetv2_predict",
        "nnUNetv2_pclmix",
        "nnUNetv2_pclmix",
    ]
    assert [first for program, first in programs if program == "nnUNetv2_pclmix"] == [
        "small_plans",
        "evaluate",
        "evaluate",
    ]


def test_both_arms_differ_in_the_trainer_alone() -> None:
    lines = _lines(Settings(Path("/tmp/demo"), epochs=10))
    stock, pclmix = (line for line in lines if "nnUNetv2_train" in line)
    assert "-tr nnUNetTrainer_10epochs " in stock
    assert pclmix == stock.replace("nnUNetTrainer_", "nnUNetTrainerPCLMix_")
    assert "-tr nnUNetTrainer_1epoch " in next(
        line for line in _lines(Settings(Path("x"), epochs=1)) if "nnUNetv2_train" in line
    )


def test_trainers_named_are_there() -> None:
    from nnunetv2.training.nnUNetTrainer.variants.training_length import nnUNetTrainer_Xepochs

    from nnunetv2_pclmix import trainer_variants

    for epochs in LENGTHS:
        settings = Settings(Path("x"), epochs=epochs)
        assert hasattr(nnUNetTrainer_Xepochs, settings.trainer("stock"))
        assert hasattr(trainer_variants, settings.trainer("PCLMix"))


def test_held_out_patients_are_the_last_ones_and_folders_are_below_ours() -> None:
    settings = Settings(Path("/somewhere/demo run"), first=10, patients=20, held_out=3)
    convert = next(line for line in _lines(settings) if "convert" in line)
    assert shlex.split(convert)[-2:] == ["--test-patients", "27-29"]
    assert "'/somewhere/demo run/acdc'" in convert
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        assert environment(settings)[name] == f"/somewhere/demo run/{name}"


def test_refuses_settings_without_training_patients_or_beyond_the_folds() -> None:
    with pytest.raises(ValueError, match="got 24"):
        stages(Settings(Path("x"), held_out=24))
    with pytest.raises(ValueError, match="up to 113"):
        stages(Settings(Path("x"), first=90))


def test_runs_prints_and_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = shell_environment({"GREETING": "good day"})
    run_stage(_python("import os; print(os.environ['GREETING'])"), base, tmp_path)
    assert capsys.readouterr().out.startswith("$ python -c ")
    assert (tmp_path / "it.log").read_text().strip() == "good day"


def test_epochs_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = Command("train", ("python", "-c", "print('Epoch time: 3 s')"))
    run_stage(Stage("test", (command,), epochs=5), shell_environment({}), tmp_path)
    assert "train: epoch 1 of 5 done" in capsys.readouterr().out


def test_a_failing_command_stops_everything_and_is_quoted(tmp_path: Path) -> None:
    slow = Command("slow", ("python", "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"))
    bad = Command("bad", ("python", "-c", "import sys; print('it broke here'); sys.exit(3)"), {"SOME": "thing"})
    with pytest.raises(CommandFailed, match=r"(?s)exit status 3 of: SOME=thing python -c .*it broke here.*bad\.log"):
        run_stage(Stage("test", (slow, bad)), shell_environment({}), tmp_path)
    started = (tmp_path / "slow.log").read_text().strip()  # empty where it was ended before it could say so
    if started:
        with pytest.raises(ProcessLookupError):
            os.kill(int(started), 0)


def test_a_missing_command_is_named(tmp_path: Path) -> None:
    stage = Stage("test", (Command("gone", ("nnUNetv2_does_not_exist",)),))
    with pytest.raises(CommandFailed, match="nnUNetv2_does_not_exist was not found"):
        run_stage(stage, shell_environment({}), tmp_path)


def test_failure_is_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nnunetv2_pclmix.demo.__main__.stages", lambda settings: [_python("raise SystemExit(9)")])
    assert main(["--output", str(tmp_path / "demo")]) == 1
    assert "exit status 9" in capsys.readouterr().err


@pytest.mark.parametrize(("variables", "expected"), [({"PYTHON_CPU_COUNT": "1"}, "1"), ({}, str(os.cpu_count()))])
def test_commands_side_by_side_see_one_core(tmp_path: Path, variables: dict[str, str], expected: str) -> None:
    code = "import multiprocessing, nnunetv2_pclmix; print(multiprocessing.cpu_count())"
    command = Command("count", ("python", "-c", code), variables)
    run_stage(Stage("test", (command,)), shell_environment(environment(Settings(tmp_path))), tmp_path)
    assert (tmp_path / "count.log").read_text().strip() == expected


def test_programs_beside_this_python_come_first() -> None:
    path = shell_environment({"A": "b"})["PATH"]
    assert path.split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_only_an_earlier_run_is_deleted(tmp_path: Path) -> None:
    prepare(tmp_path / "new", overwrite=False)
    (tmp_path / "new" / "old_result").touch()
    with pytest.raises(FileExistsError, match="--overwrite"):
        prepare(tmp_path / "new", overwrite=False)
    prepare(tmp_path / "new", overwrite=True)
    assert [file.name for file in (tmp_path / "new").iterdir()] == [MARKER]
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").touch()
    with pytest.raises(FileExistsError, match="something else"):
        prepare(precious, overwrite=True)
    assert (precious / "thesis").exists()


def test_an_earlier_run_elsewhere_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk" / "old").mkdir(parents=True)
    (tmp_path / "disk" / MARKER).touch()
    (tmp_path / "disk" / "link").symlink_to(tmp_path)
    (tmp_path / "demo").symlink_to(tmp_path / "disk")
    prepare(tmp_path / "demo", overwrite=True)
    assert [file.name for file in (tmp_path / "disk").iterdir()] == [MARKER]


def test_the_marker_outlives_what_cannot_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path / "demo", overwrite=False)
    (tmp_path / "demo" / "old").mkdir()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("shutil.rmtree", interrupted)
        prepare(tmp_path / "demo", overwrite=True)
    prepare(tmp_path / "demo", overwrite=True)


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert main(["--output", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["--output", str(tmp_path / "demo"), "--epochs", "3"])

    def terminated(_: Settings) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("nnunetv2_pclmix.demo.__main__.run", terminated)
    assert main(["--output", str(tmp_path / "demo")]) == 130
    assert capsys.readouterr().err.endswith("error: interrupted\n")


def _scores(dice: float | None, hd95: float) -> dict:
    return {
        "mean": {"dice": dice, "hd95_mm": hd95},
        "classes": {"RV": {"dice": {"mean": dice}, "hd95_mm": {"mean": hd95}}},
    }


def test_table_and_verdict_tell_what_was_measured() -> None:
    text = table({"stock": _scores(0.7, 55.5), "PCLMix": _scores(0.8123, 9.0)})
    assert text.splitlines()[-1].split() == ["mean", "0.700", "0.812", "55.5", "9.0"]
    met = verdict({"stock": _scores(0.7, 55.5), "PCLMix": _scores(0.8123, 9.0)})
    assert all(line.startswith("met: ") for line in met)
    missed = verdict({"stock": _scores(0.7, 55.5), "PCLMix": _scores(0.6, 9.0)})
    assert all(line.startswith("MISSED: ") for line in missed)
    assert "0.600" in missed[0]
    assert verdict({"stock": _scores(0.7, 55.5), "PCLMix": _scores(None, 9.0)})[0].startswith("MISSED")
