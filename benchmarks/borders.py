"""What the rules for borders make of labels that are right, and of a structure one voxel too thick or too thin.

    python benchmarks/borders.py -d 127 --slices --thicker MYO [--thinner RV MYO] [--every 10] [--confidence 2]
        [--pclmix '{}' '{"thin_structure_weight": 0}' '{"appearance_weight": 0}']

A raw dataset with scribbles and labelsTr_dense. The dense labels are taken for a prediction, of so many nats for the
label against all others, and become pseudo-labels by the grey values of the strokes, without the closed world and the
strokes themselves. What is right should stay, what is too thick become thinner, what is too thin thicker. Prints
Markdown: mean Dice and median volume over the true one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from scipy import ndimage
from scribbled import add_arguments, open_dataset
from torch import Tensor

from nnunetv2_pclmix.config import PCLMixConfig, config_from_plans
from nnunetv2_pclmix.label_space import ClassSpace
from nnunetv2_pclmix.memory_queue import MemoryQueue
from nnunetv2_pclmix.objective import PCLMixObjective

BEFORE, RIGHT = "before", "right"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    for change in ("thicker", "thinner"):
        help = f"structures, each to be made {change} by a voxel on its own"
        parser.add_argument(f"--{change}", nargs="+", default=[], metavar="NAME", help=help)
    parser.add_argument("--confidence", type=float, default=2.0, help="nats")
    parser.add_argument("--pclmix", nargs="+", default=["{}"], metavar="JSON", help="hyper-parameters, for a row each")
    args = parser.parse_args(argv)
    configs = {
        row: config_from_plans({"pclmix": {"closed_world": False, "pseudo_label_weight": 0, **json.loads(row)}}, {})
        for row in args.pclmix
    }
    torch.set_num_threads(1)
    dataset = open_dataset(args)
    structures = dataset.structures
    for name in [*args.thicker, *args.thinner]:
        if name not in structures:
            parser.error(f"no structure is called {name}; choose one of {', '.join(structures)}")
    space = ClassSpace(dataset.ignore, dataset.ignore)
    description = json.loads((dataset.folder / "dataset.json").read_text())
    reader = determine_reader_writer_from_dataset_json(description, dataset.files[0]["images"][0], verbose=False)()
    found: dict[tuple[str, str], list[list[tuple[float, float]]]] = {}
    for case in dataset.cases():
        image, properties = reader.read_images(case.images)
        images, scribbles, dense = (torch.from_numpy(each) for each in (image, case.scribbles, case.dense))
        images = images.movedim(1, 0) if args.slices else images[None]
        scribbles, dense = (each if args.slices else each[None] for each in (scribbles, dense))
        spacing = properties["spacing"][1 if args.slices else 0 :]
        starts = {RIGHT: dense}
        starts |= {f"{name} too thick": _thicker(dense, structures[name]) for name in args.thicker}
        starts |= {f"{name} too thin": _thinner(dense, structures[name]) for name in args.thinner}
        for start, labels in starts.items():
            rows = {BEFORE: labels}
            for row, config in configs.items():
                objective = _objective(config, space, spacing)
                logits = args.confidence * space.members(labels)
                rows[row] = objective.pseudo_labels(logits, logits, scribbles, None, None, images).labels[0]
            for row, made in rows.items():
                of_case = [_score(made == value, dense == value) for value in structures.values()]
                found.setdefault((start, row), []).append(of_case)
    _print(list(structures), found)


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


def _thinner(labels: Tensor, value: int) -> Tensor:
    """Each image's structure without its outermost voxels, which go to the nearest neighbour."""
    images = []
    for image in labels.numpy():
        inside = image == value
        rim = inside & ~ndimage.binary_erosion(inside, border_value=1)
        nearest = ndimage.distance_transform_edt(inside, return_distances=False, return_indices=True)
        images.append(np.where(rim & ~inside.all(), image[tuple(nearest)], image))
    return torch.from_numpy(np.stack(images))


def _objective(config: PCLMixConfig, space: ClassSpace, spacing: Sequence[float]) -> PCLMixObjective:
    """For pseudo-labels alone: without losses."""

    def no_loss(*_: object) -> Tensor:
        raise NotImplementedError

    queue = MemoryQueue(space.num_labels, config.queue_length, config.embedding_dimension)
    return PCLMixObjective(config, space, no_loss, no_loss, queue, spacing)


def _score(found: Tensor, true: Tensor) -> tuple[float, float]:
    """Dice and volume over the true one; 1 where there is nothing of either."""
    both, one, other = (mask.sum().item() for mask in (found & true, found, true))
    return (2 * both / (one + other), one / max(1, other)) if one + other else (1.0, 1.0)


if __name__ == "__main__":
    main()
