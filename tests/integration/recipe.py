"""nnU-Net's own integration tests, with ``nnUNetTrainerPCLMix``: every configuration, every command, on the CPU.

    python -m tests.integration.recipe --work DIR --data TASK04

makes nnU-Net's datasets 998 (a class unlabelled) and 996 (regions, single annotated planes) from real hippocampi, and
one with two channels; plans, preprocesses, trains, kills and continues, validates, finds the best configuration,
predicts as that recommends, exports, and predicts the same with stock nnU-Net. The networks are narrow and the
trainings short, so the figures mean nothing. The first command that fails ends it, with its output.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk

from tests.integration import datasets
from tests.integration.shell import Shell, StepFailed

TRAINER = "nnUNetTrainerPCLMix_Quick"
TRAINERS = Path(__file__).with_name("trainers")
DATA = Path(__file__).parents[3] / "shared" / "data" / "hippocampus"
STOCK_PLANNER = "ExperimentPlanner"
CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")
PREVIOUS = {"3d_cascade_fullres": "3d_lowres"}
CPU = ("-device", "cpu", "-npp", "1", "-nps", "1")
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "nnUNet_n_proc_DA": "1",
    "nnUNet_def_n_proc": "1",
    "nnUNet_compile": "f",
}


class Recipe:
    """The steps for one dataset.

    Args:
        shell: runs the commands.
        work: holds nnU-Net's three folders.
        dataset: name of the raw dataset, which must exist.
        planner: nnU-Net's experiment planner.
        configurations: to train, in this order.
        folds: to train.
    """

    def __init__(
        self,
        shell: Shell,
        work: Path,
        dataset: str,
        *,
        planner: str,
        configurations: Sequence[str],
        folds: Sequence[int],
    ) -> None:
        self.shell = shell
        self.number = str(int(dataset[7:10]))
        self.raw, self.preprocessed, self.results = (
            work / name / dataset for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
        )
        self.planner = planner
        self.configurations = list(configurations)
        self.folds = [str(fold) for fold in folds]
        self.plans = ""
        self.predictions = work / "predictions" / dataset / planner

    def run(self) -> None:
        """All steps, in nnU-Net's order."""
        self.plan_and_preprocess()
        for configuration in self.configurations:
            self.train(configuration)
        self.validate_again(self.configurations[-1])
        self.find_best_and_predict()
        self.export_and_predict()

    def plan_and_preprocess(self) -> None:
        self.shell.run("nnUNetv2_plan_and_preprocess", "-d", self.number, "-pl", self.planner, "--no_pp", "-npfp", "1")
        (file,) = [path for path in self.preprocessed.glob("*.json") if self._planned_by(path)]
        self.plans = file.stem
        if not set(self.configurations) <= {"2d", "3d_fullres"}:
            self.shell.module("nnunetv2.tests.integration_tests.add_lowres_and_cascade", "-d", self.number)
        datasets.shrink_networks(file)
        own_data = [c for c in self.configurations if c not in PREVIOUS]  # a cascade uses 3d_fullres'
        self.shell.run("nnUNetv2_preprocess", "-d", self.number, "-plans_name", self.plans, "-c", *own_data, "-np", "1")
        if len(self.folds) < 5 and not (self.preprocessed / "splits_final.json").exists():
            # a cascade needs predictions of its first stage for all cases, so the folds must cover them
            cases = sorted(path.name.removesuffix(".nii.gz") for path in (self.raw / "labelsTr").iterdir())
            datasets.write_splits(self.preprocessed, cases, max(2, len(self.folds)))

    def _planned_by(self, path: Path) -> bool:
        content = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(content, dict) and content.get("experiment_planner_used") == self.planner

    def train(self, configuration: str) -> None:
        """Train all folds; in 3D, the first one is killed in the middle of its second epoch and continued."""
        first, *others = self.folds
        if configuration == "2d":
            self.shell.run("nnUNetv2_train", *self._training(configuration, first))
        else:
            self._train_kill_and_continue(configuration, first)
        for number in others:
            self.shell.run("nnUNetv2_train", *self._training(configuration, number))
        for path in self._model(configuration).glob("fold_*/training_log_*.txt"):
            if "not finite" in path.read_text():
                raise StepFailed(f"a loss was not finite, see {path}")

    def _train_kill_and_continue(self, configuration: str, number: str) -> None:
        fold = self._model(configuration) / f"fold_{number}"
        log = "training_log_*.txt"
        self.shell.run_and_kill(
            "nnUNetv2_train",
            *self._training(configuration, number),
            when=lambda: any("Epoch 1" in path.read_text() for path in fold.glob(log)),
        )
        if not (fold / "checkpoint_latest.pth").exists() or (fold / "checkpoint_final.pth").exists():
            raise StepFailed(f"{fold} was not killed in the middle of the training")
        self.shell.run("nnUNetv2_train", *self._training(configuration, number), "--c")
        continued = max(fold.glob(log), key=lambda path: path.stat().st_mtime).read_text()
        if "Epoch 1" not in continued or "Epoch 0" in continued:
            raise StepFailed(f"{fold} did not continue with epoch 1")

    def validate_again(self, configuration: str) -> None:
        summary = self._model(configuration) / f"fold_{self.folds[0]}" / "validation" / "summary.json"
        summary.unlink()
        self.shell.run("nnUNetv2_train", *self._training(configuration, self.folds[0]), "--val")
        if not summary.is_file():
            raise StepFailed(f"--val wrote no {summary}")

    def find_best_and_predict(self) -> None:
        """Find the best configuration and do what nnU-Net then says."""
        choice = ["-p", self.plans, "-tr", TRAINER, "-f", *self.folds, "-np", "1"]
        self.shell.run("nnUNetv2_find_best_configuration", self.number, "-c", *self.configurations, *choice)
        places = {"INPUT_FOLDER": str(self.raw / "imagesTs")}
        for line in (self.results / "inference_instructions.txt").read_text().splitlines():
            if not line.startswith("nnUNetv2_"):
                continue
            name, *arguments = shlex.split(line)
            arguments = [str(self.predictions / w) if w.startswith("OUTPUT") else places.get(w, w) for w in arguments]
            if name == "nnUNetv2_predict":
                arguments += [*CPU, *self._previous_stage(arguments[arguments.index("-c") + 1], TRAINER)]
            self.shell.run(name, *arguments)
        self._check_predictions(self.predictions / "OUTPUT_FOLDER_PP")

    def export_and_predict(self) -> None:
        """Export each configuration; stock nnU-Net predicts the same, voxel for voxel."""
        for configuration in self.configurations:
            model = ["-d", self.number, "-c", configuration, "-p", self.plans]
            self.shell.run("nnUNetv2_pclmix", "export", *model, "-tr", TRAINER, "--overwrite")
            ours, stock = (self._predict(configuration, trainer) for trainer in (TRAINER, "nnUNetTrainer"))
            for path in self._check_predictions(ours):
                first, second = (sitk.GetArrayFromImage(sitk.ReadImage(str(f / path.name))) for f in (ours, stock))
                if not np.array_equal(first, second):
                    raise StepFailed(f"{path.name}: stock nnU-Net predicts otherwise with the exported {configuration}")

    def _training(self, configuration: str, fold: str) -> list[str]:
        return [self.number, configuration, fold, "-tr", TRAINER, "-p", self.plans, "-device", "cpu", "--npz"]

    def _model(self, configuration: str) -> Path:
        return self.results / f"{TRAINER}__{self.plans}__{configuration}"

    def _predict(self, configuration: str, trainer: str) -> Path:
        output = self.predictions / f"{trainer}_{configuration}"
        if not output.exists():
            model = ["-d", self.number, "-c", configuration, "-p", self.plans, "-tr", trainer, "-f", *self.folds]
            places = ["-i", str(self.raw / "imagesTs"), "-o", str(output), *CPU]
            self.shell.run("nnUNetv2_predict", *model, *places, *self._previous_stage(configuration, trainer))
        return output

    def _previous_stage(self, configuration: str, trainer: str) -> list[str]:
        """nnU-Net's inference instructions leave out what a cascade needs."""
        if configuration not in PREVIOUS:
            return []
        return ["-prev_stage_predictions", str(self._predict(PREVIOUS[configuration], trainer))]

    def _check_predictions(self, folder: Path) -> list[Path]:
        images = sorted((self.raw / "imagesTs").glob("*_0000.nii.gz"))
        paths = [folder / image.name.replace("_0000", "") for image in images]
        for image, path in zip(images, paths, strict=True):
            if not path.is_file() or sitk.ReadImage(str(path)).GetSize() != sitk.ReadImage(str(image)).GetSize():
                raise StepFailed(f"{path} is not the prediction for {image}")
        return paths


def make_dataset(shell: Shell, raw: Path, number: int) -> str:
    """Make raw dataset 998, 996 or 994 from Dataset004; returns its name."""
    if number == int(datasets.TWO_CHANNELS[7:10]):
        datasets.make_two_channels(raw, raw / make_dataset(shell, raw, 998))
        return datasets.TWO_CHANNELS
    if not list(raw.glob(f"Dataset{number}_*")):
        shell.module(datasets.CONVERSIONS[number])
    (made,) = raw.glob(f"Dataset{number}_*")
    return made.name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe; 0 where every step succeeded."""
    parser = argparse.ArgumentParser(description="nnU-Net's integration tests with nnUNetTrainerPCLMix, on the CPU")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="a new folder for everything")
    here = DATA if DATA.is_dir() else None
    parser.add_argument("--data", type=Path, default=here, required=here is None, metavar="DIR", help="MSD's Task04")
    parser.add_argument("--cases", type=int, default=10, metavar="N", help="cases to train with (default: 10)")
    parser.add_argument("--datasets", type=int, nargs="+", choices=(998, 996, 994), default=[998, 996, 994])
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="FOLD")
    parser.add_argument("--configurations", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    parser.add_argument("--planner", default=STOCK_PLANNER, help="such as nnUNetPlannerResEncM")
    parser.add_argument("--installed", action="store_true", help="run every command as installed, none in a fork")
    options = parser.parse_args(arguments)
    if options.planner != STOCK_PLANNER and not set(options.configurations) <= {"2d", "3d_fullres"}:
        parser.error("nnU-Net's module adds 3d_lowres and its cascade to the default plans only")
    if any(PREVIOUS[c] not in options.configurations for c in options.configurations if c in PREVIOUS):
        parser.error("a cascade needs 3d_lowres")
    work: Path = options.work.absolute()
    if work.exists() and any(work.iterdir()):
        parser.error(f"{work} is not empty")
    folders = {name: str(work / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    for folder in folders.values():
        Path(folder).mkdir(parents=True)
    others = os.environ.get("nnUNet_extTrainer")  # noqa: SIM112  nnU-Net's spelling
    trainers = os.pathsep.join(filter(None, [str(TRAINERS), others]))
    begin = time.monotonic()
    with mock.patch.dict(os.environ, {**ENVIRONMENT, **folders, "nnUNet_extTrainer": trainers}):
        shell = Shell(work / "logs", installed=options.installed)
        try:
            datasets.make_hippocampus(work / "nnUNet_raw", options.data, options.cases)
            for number in options.datasets:
                name = make_dataset(shell, work / "nnUNet_raw", number)
                print(f"== {name}, {options.planner}", flush=True)
                Recipe(
                    shell,
                    work,
                    name,
                    planner=options.planner,
                    configurations=options.configurations,
                    folds=options.folds,
                ).run()
        except (StepFailed, ValueError) as error:
            print(f"FAILED: {error}", file=sys.stderr)
            return 1
    print(f"All done after {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
