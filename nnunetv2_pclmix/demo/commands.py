"""The commands of the demonstration, as a user would type them. Nothing is run here."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

CONFIGURATION = "2d_small"
PLANS = "nnUNetPlansSmall"
FEATURES = (8, 16, 32, 64, 64)
ARMS = ("stock", "PCLMix")
SIDE_BY_SIDE = {"PYTHON_CPU_COUNT": "1"}
"""One thread each for commands that run side by side."""


@dataclass(frozen=True)
class Settings:
    """What the demonstration is run with.

    Attributes:
        folder: Everything is written below it.
        seed: Seed of the phantoms and of nnUNetTrainerPCLMix (nnU-Net's own trainer cannot be seeded).
        epochs: Length of both trainings, 250 steps an epoch; one of ``lengths.LENGTHS``.
        device: nnU-Net's ``-device``.
        dataset: Number of the nnU-Net dataset.
        first: Number of the first phantom patient. With 19, the first published fold validates on patients 19 and 20.
        patients: Number of phantom patients.
        held_out: How many of the last ones are not trained with.
        patch: Edge of the patch in pixels.
        batch: Images per step.
    """

    folder: Path
    seed: int = 1
    epochs: int = 5
    device: str = "cpu"
    dataset: int = 500
    first: int = 19
    patients: int = 24
    held_out: int = 6
    patch: int = 112
    batch: int = 4

    @property
    def dataset_name(self) -> str:
        """nnU-Net's name of the dataset."""
        return f"Dataset{self.dataset:03d}_Phantoms"

    @property
    def acdc(self) -> Path:
        """Phantoms in ACDC's layout."""
        return self.folder / "acdc"

    @property
    def raw(self) -> Path:
        """The converted dataset."""
        return self.folder / "nnUNet_raw" / self.dataset_name

    @property
    def steps(self) -> int:
        """Training steps of either training."""
        return 250 * self.epochs

    def predictions(self, arm: str) -> Path:
        """Predictions on the held-out phantoms."""
        return self.folder / "predictions" / arm

    def trainer(self, arm: str) -> str:
        """Name of the trainer of an arm."""
        name = {"stock": "nnUNetTrainer", "PCLMix": "nnUNetTrainerPCLMix"}[arm]
        return f"{name}_{self.epochs}epoch{'' if self.epochs == 1 else 's'}"


@dataclass(frozen=True)
class Command:
    """A command line.

    Attributes:
        name: Short name, also that of its log file.
        line: Program and arguments.
        environment: Variables set for it alone.
    """

    name: str
    line: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def typed(self) -> str:
        """The command as a user types it in a shell."""
        assignments = [f"{key}={shlex.quote(value)}" for key, value in self.environment.items()]
        return " ".join([*assignments, shlex.join(self.line)])


@dataclass(frozen=True)
class Stage:
    """Commands that run side by side.

    Attributes:
        title: What happens.
        commands: The commands.
        epochs: Length of the trainings among them, for the progress shown; 0 if there are none.
    """

    title: str
    commands: tuple[Command, ...]
    epochs: int = 0


def environment(settings: Settings) -> dict[str, str]:
    """Variables set for all commands: nnU-Net's three folders, and what makes commands side by side keep to one core.

    On a CPU nnU-Net takes as many threads as Python counts cores, whatever ``OMP_NUM_THREADS`` says; hence
    ``SIDE_BY_SIDE`` and ``one_core``. Threads that wait shall not do so by spinning. (``OMP_THREAD_LIMIT=1`` would make
    torch hang.)
    """
    one_core = Path(__file__).parent / "one_core"
    folders = {name: str(settings.folder / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    return {
        **folders,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "nnUNet_def_n_proc": "1",
        "PYTHONPATH": str(one_core),
    }


def stages(settings: Settings) -> list[Stage]:
    """All commands, in order.

    Args:
        settings: What the demonstration is run with.

    Raises:
        ValueError: If no patient is left to train with, or numbers do not suit the published folds.
    """
    last = settings.first + settings.patients - 1
    if not 0 < settings.held_out < settings.patients:
        raise ValueError(f"expected 1 to {settings.patients - 1} patients held out, got {settings.held_out}")
    if last > 100:
        raise ValueError(f"the published folds end with patient 100, got patients up to {last}")
    number = str(settings.dataset)
    acdc = settings.acdc
    phantom = (
        "python", "-m", "nnunetv2_pclmix.phantom", "--output", str(acdc), "--patients", str(settings.patients),
        "--first", str(settings.first), "--seed", str(settings.seed),
    )  # fmt: skip
    convert = (
        "nnUNetv2_convert_scribbles", "acdc", "--images", str(acdc), "--scribbles", str(acdc / "acdc_scribbles.zip"),
        "-d", number, "-n", "Phantoms", "--test-patients", f"{last - settings.held_out + 1}-{last}",
    )  # fmt: skip
    plan = ("nnUNetv2_plan_and_preprocess", "-d", number, "-c", "2d", "-npfp", "1", "-np", "1")
    small = (
        "nnUNetv2_pclmix", "small_plans", "-d", number, "--patch-size", str(settings.patch), str(settings.patch),
        "--batch-size", str(settings.batch), "--features", *map(str, FEATURES), "--pclmix", f"seed={settings.seed}",
    )  # fmt: skip
    return [
        Stage("Make phantoms in the layout of ACDC", (Command("phantom", phantom),)),
        Stage("Convert them into an nnU-Net dataset", (Command("convert", convert),)),
        Stage("Plan and preprocess", (Command("plan", plan),)),
        Stage("Plan a network that a CPU can train", (Command("small_plans", small),)),
        Stage(
            f"Train stock nnU-Net and PCLMix side by side, {settings.steps} steps each",
            tuple(_train(settings, arm) for arm in ARMS),
            settings.epochs,
        ),
        Stage(
            f"Predict the {settings.held_out} held-out patients",
            tuple(_predict(settings, arm) for arm in ARMS),
        ),
        Stage("Judge both against the dense references", tuple(_evaluate(settings, arm) for arm in ARMS)),
    ]


def _train(settings: Settings, arm: str) -> Command:
    line = (
        "nnUNetv2_train", str(settings.dataset), CONFIGURATION, "0", "-p", PLANS, "-tr", settings.trainer(arm),
        "-device", settings.device,
    )  # fmt: skip
    # 0: patches are loaded in the training's own process, since each training has one core
    return Command(f"train_{arm}", line, {**SIDE_BY_SIDE, "nnUNet_n_proc_DA": "0"})


def _predict(settings: Settings, arm: str) -> Command:
    line = (
        "nnUNetv2_predict", "-i", str(settings.raw / "imagesTs"), "-o", str(settings.predictions(arm)),
        "-d", str(settings.dataset), "-c", CONFIGURATION, "-f", "0", "-p", PLANS, "-tr", settings.trainer(arm),
        "-device", settings.device, "-npp", "1", "-nps", "1",
    )  # fmt: skip
    return Command(f"predict_{arm}", line, SIDE_BY_SIDE)


def _evaluate(settings: Settings, arm: str) -> Command:
    line = (
        "nnUNetv2_pclmix", "evaluate", "--predictions", str(settings.predictions(arm)),
        "--references", str(settings.raw / "labelsTs"),
    )  # fmt: skip
    return Command(f"evaluate_{arm}", line)
