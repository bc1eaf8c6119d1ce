"""Command line of the demonstration."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_pclmix.demo.commands import Settings, environment, stages
from nnunetv2_pclmix.demo.report import picture, read_scores, table, verdict
from nnunetv2_pclmix.demo.runner import CommandFailed, run_stage, shell_environment
from nnunetv2_pclmix.lengths import LENGTHS
from scribble_conversion.console import EXIT_INTERRUPTED, terminated_like_interrupted

MARKER = ".nnunetv2_pclmix_demo"


def _get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nnunetv2_pclmix.demo",
        description="Makes scribbled phantoms, trains stock nnU-Net and PCLMix on them for the same number of steps, "
        "and compares both on held-out phantoms. Prints every command as a user would type it.",
    )
    parser.add_argument("--output", type=Path, default=Path("demo_run"), help="folder to write (default: demo_run)")
    parser.add_argument("--overwrite", action="store_true", help="delete the folder first if it is an earlier run")
    parser.add_argument("--seed", type=int, default=1, help="seed of phantoms and PCLMix (default: 1)")
    parser.add_argument("--epochs", type=int, default=5, choices=LENGTHS, help="of 250 steps (default: 5)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"], help="default: cpu")
    return parser


def prepare(folder: Path, overwrite: bool) -> None:
    """Makes the folder; deletes an earlier run, and nothing else, if asked to.

    Raises:
        FileExistsError: If the folder holds anything that may not be deleted.
        OSError: If it cannot be made or emptied.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            raise FileExistsError(f"{folder} holds something else than an earlier run; choose another --output")
        if not overwrite:
            raise FileExistsError(f"{folder} holds an earlier run; add --overwrite or choose another --output")
        for entry in folder.iterdir():  # the marker stays, lest what an interruption leaves be taken for something else
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != MARKER:
                entry.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


def run(settings: Settings) -> None:
    """Runs everything and prints what came out.

    Raises:
        CommandFailed: If a command fails.
    """
    begin = time.monotonic()
    variables = environment(settings)
    for name, value in variables.items():
        print(f"$ export {name}={shlex.quote(value)}")
    logs = settings.folder / "logs"
    for stage in stages(settings):
        print(f"\n# {stage.title}")
        seconds = run_stage(stage, shell_environment(variables), logs)
        print(f"  {seconds:.0f} s", flush=True)
    scores = read_scores(settings)
    drawn = picture(settings, settings.folder / "demo.png")
    result = "\n".join(
        [
            f"Dense Dice and HD95 on {2 * settings.held_out} volumes of {settings.held_out} held-out phantom patients, "
            f"after {settings.steps} steps each (seed {settings.seed})",
            "",
            table(scores),
            "",
            *verdict(scores),
        ]
    )
    (settings.folder / "result.txt").write_text(result + "\n", encoding="utf-8")
    print(f"\n{result}\n\nPicture: {drawn}\nLogs:    {logs}\nTime:    {time.monotonic() - begin:.0f} s")


def main(args: Sequence[str] | None = None) -> int:
    """Runs the demonstration; returns 0 where every command succeeded, whether or not the targets were met."""
    options = _get_parser().parse_args(args)
    try:
        with terminated_like_interrupted():
            prepare(options.output.absolute(), options.overwrite)
            run(Settings(options.output.absolute(), options.seed, options.epochs, options.device))
    except (CommandFailed, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
