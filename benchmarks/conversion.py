"""What a conversion costs, against merely reading and writing the same images and labels with SimpleITK.

    python benchmarks/conversion.py --images DIR --scribbles DIR [-np 2] [--repeats 3]

for the two folders of ``nnUNetv2_convert_scribbles acdc``. Both sides start their processes anew in every repeat, take
turns, and write to a temporary folder. Processor time is that of the whole process tree, and the peak of memory that of
its largest process; on a machine that does other things, too, processor time says more than wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

CONVERSION = "import sys; from scribble_conversion.cli import main; sys.exit(main(sys.argv[1:]))"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    parser.add_argument("--scribbles", type=Path, required=True, metavar="DIR")
    parser.add_argument("-np", type=int, default=2, help="processes on either side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--copy-to", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.copy_to is not None:
        _read_and_write(args)
        return
    measured: dict[str, list[dict[str, float]]] = {"conversion": [], "SimpleITK": []}
    for _ in range(args.repeats):
        for name, runs in measured.items():
            with tempfile.TemporaryDirectory() as temporary:
                runs.append(_measure(_command(name, args, Path(temporary)), Path(temporary)))
    medians = {
        name: {what: statistics.median(run[what] for run in runs) for what in runs[0]}
        for name, runs in measured.items()
    }
    print("| | conversion | SimpleITK | ratio |\n|---|---|---|---|")
    for what, unit in (("processor", "s"), ("wall", "s"), ("memory", "MiB per process")):
        ours, theirs = medians["conversion"][what], medians["SimpleITK"][what]
        print(f"| {what} | {ours:.1f} {unit} | {theirs:.1f} {unit} | {ours / theirs:.2f} |")
    bare = _measure([sys.executable, "-c", "import scribble_conversion.cli"], Path())
    print(f"\nof the conversion's, its imports alone: {bare['processor']:.1f} s, {bare['memory']:.0f} MiB per process")
    print(json.dumps(measured))


def _command(name: str, args: argparse.Namespace, folder: Path) -> list[str]:
    given = ["--images", str(args.images), "--scribbles", str(args.scribbles), "-np", str(args.np)]
    if name == "conversion":
        return [sys.executable, "-c", CONVERSION, "acdc", *given, "-d", "1", "--split", "random"]
    return [sys.executable, __file__, *given, "--copy-to", str(folder / "copy")]


def _measure(command: list[str], folder: Path) -> dict[str, float]:
    """Run a command and wait for all of its processes."""
    environment = {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **environment}) as process:
        # the usage that comes with the exit status is that of this process and of those it has waited for
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return {
        "processor": usage.ru_utime + usage.ru_stime,
        "wall": time.perf_counter() - start,
        "memory": usage.ru_maxrss / 1024,
    }


def _read_and_write(args: argparse.Namespace) -> None:
    """What the conversion is held against: every file read and written once, compressed, without a look at it."""
    import multiprocessing

    scribbles = sorted(args.scribbles.rglob("*_scribble.nii.gz"))
    cases = [file.name.removesuffix("_scribble.nii.gz") for file in scribbles]
    images = {file.name: file for file in args.images.rglob("*.nii.gz")}
    files = [*scribbles, *(images[f"{case}.nii.gz"] for case in cases)]
    files += [images[f"{case}_gt.nii.gz"] for case in cases if f"{case}_gt.nii.gz" in images]
    args.copy_to.mkdir()
    with multiprocessing.get_context("spawn").Pool(args.np) as pool:
        pool.starmap(_copy, [(file, args.copy_to / file.name) for file in files], chunksize=1)
        pool.close()
        pool.join()


def _copy(source: Path, target: Path) -> None:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    sitk.WriteImage(sitk.ReadImage(str(source)), str(target))


if __name__ == "__main__":
    main()
