"""What the rules for borders make of labels that are right, and of a structure one voxel too thick.

    python benchmarks/borders.py -d 127 --slices --thicker MYO [--every 10] [--confidence 2]
        [--pclmix '{}' '{"thin_structure_weight": 0}' '{"appearance_weight": 0}']

A raw dataset with scribbles and labelsTr_dense. The dense labels are taken for a prediction, of so many nats for the
label against all others, and become pseudo-labels by the grey values of the strokes, without the closed world. What is
right should stay, what is too thick become thinner. Prints Markdown: mean Dice and median volume over the true one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from nnunetv2_pclmix.config import config_from_plans
from nnunetv2_pclmix.evaluation.case import label_integers
from nnunetv2_pclmix.evaluation.dataset_labels import read_dataset_labels
from nnunetv2_pclmix.evaluation.volume import read_labels
from nnunetv2_pclmix.label_space import ClassSpace
from nnunetv2_pclmix.memory_queue import MemoryQueue
from nnunetv2_pclmix.objective import PCLMixObjective

BEFORE, RIGHT = "before", "right"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", required=True, metavar="ID", help="raw dataset with labelsTr_dense, without regions")
    parser.add_argument("--slices", action="store_true", help="in 2D: each slice along the first array axis by itself")
    parser.add_argument("--thicker", metavar="NAME", help="structure to be thickened by a voxel (default: none)")
    parser.add_argument("--every", type=int, default=1, help="take each case of that many")
    parser.add_argument("--confidence", type=float, default=2.0, help="nats")
    parser.add_argument("--pclmix", nargs="+", default=["{}"], metavar="JSON", help="hyper-parameters, for a row each")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    folder = Path(nnUNet_raw, maybe_convert_to_dataset_name(args.d))
    dataset = read_dataset_labels(folder / "dataset.json")
    names = [name for name in dataset.labels if name not in ("background", "ignore")]
    (ignore,) = label_integers(dataset.labels["ignore"])
    values = [label_integers(dataset.labels[name])[0] for name in names]
    cases = get_filenames_of_train_images_and_targets(str(folder))
    description = json.loads((folder / "dataset.json").read_text())
    reader = determine_reader_writer_from_dataset_json(
        description, next(iter(cases.values()))["images"][0], verbose=False
    )()
    found: dict[tuple[str, str], list[list[tuple[float, float]]]] = {}
    for case in tqdm(list(cases)[:: args.every], unit="case"):
        image, properties = reader.read_images(cases[case]["images"])
        scribbles, dense = (
            torch.from_numpy(read_labels(file).labels.astype(np.int64))
            for file in (cases[case]["label"], folder / "labelsTr_dense" / Path(cases[case]["label"]).name)
        )
        images, spacing = torch.from_numpy(image), properties["spacing"]
        images = images.movedim(1, 0) if args.slices else images[None]
        spacing = spacing[1:] if args.slices else spacing
        scribbles, dense = (each if args.slices else each[None] for each in (scribbles, dense))
        starts = {RIGHT: dense}
        if args.thicker is not None:
            starts[f"{args.thicker} too thick"] = _thicker(dense, values[names.index(args.thicker)])
        for start, labels in starts.items():
            rows = {BEFORE: labels}
            for text in args.pclmix:
                rows[text] = _moved(labels, images, scribbles, ignore, spacing, args.confidence, json.loads(text))
            for row, made in rows.items():
                of_case = [_score(made == value, dense == value) for value in values]
                found.setdefault((start, row), []).append(of_case)
    _print(names, found)


def _print(names: Sequence[str], found: Mapping[tuple[str, str], list[list[tuple[float, float]]]]) -> None:
    print("| prediction | pclmix | " + " | ".join(f"{n}: Dice, volume" for n in names) + " | mean Dice |")
    print("|---" * (3 + len(names)) + "|")
    for (start, row), scores in found.items():
        dice, volume = np.moveaxis(np.array(scores), 2, 0)
        cells = [f"{d:.3f}, {v:.2f}" for d, v in zip(dice.mean(0), np.median(volume, 0), strict=True)]
        print(f"| {start} | `{row}` | " + " | ".join(cells) + f" | {dice.mean():.3f} |")


def _thicker(labels: Tensor, value: int) -> Tensor:
    """Each image's structure grown by a voxel along all axes, at its neighbours' expense."""
    cross = ndimage.generate_binary_structure(labels.ndim - 1, 1)[None]
    return torch.where(torch.from_numpy(ndimage.binary_dilation((labels == value).numpy(), cross)), value, labels)


def _moved(
    labels: Tensor,
    images: Tensor,
    scribbles: Tensor,
    ignore: int,
    spacing: Sequence[float],
    confidence: float,
    settings: Mapping[str, object],
) -> Tensor:
    """(N, *grid) labels once their borders have moved."""
    space = ClassSpace(ignore, ignore)
    config = config_from_plans({"pclmix": {"closed_world": False, **settings}}, {})
    queue = MemoryQueue(ignore, config.queue_length, config.embedding_dimension)

    def unused(*_: object) -> Tensor:
        raise NotImplementedError

    objective = PCLMixObjective(config, space, unused, unused, queue, spacing)
    logits = confidence * space.members(labels)
    return objective.pseudo_labels(logits, logits, scribbles, None, None, images).labels[0]


def _score(found: Tensor, true: Tensor) -> tuple[float, float]:
    """Dice and volume over the true one; 1 where there is nothing of either."""
    both, one, other = (mask.sum().item() for mask in (found & true, found, true))
    return (2 * both / (one + other), one / max(1, other)) if one + other else (1.0, 1.0)


if __name__ == "__main__":
    main()
