"""How often the closed world is wrong on a dataset with scribbles and dense labels.

    python benchmarks/closed_world.py -d 204 [--patches 24 12] [--slices] [--every 1]

The rule is applied to the dense labels, as if a network had predicted them perfectly, so everything that it takes away
is wrong. The images are cut into patches as small as asked for, as the loader would draw them.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scribbled import Labels, add_arguments, open_dataset

from nnunetv2_pclmix.closed_world import vouch
from nnunetv2_pclmix.dataloading.reach import whereabouts


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--patches", type=int, nargs="*", default=[], help="side lengths besides the whole image")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    dataset = open_dataset(args)
    names = sorted(dataset.structures, key=lambda name: dataset.structures[name])  # as they are counted
    ignore = dataset.ignore
    sizes = [0, *args.patches]
    counts = {size: np.zeros((len(names), 3)) for size in sizes}
    for _, *volumes in dataset.cases():
        for strokes, dense in zip(*volumes, strict=True) if args.slices else [volumes]:
            voxels = [np.argwhere(strokes == value) for value in range(1, ignore)]
            for size in sizes:
                for where in _patches(dense.shape, size):
                    counts[size] += _judge(strokes, dense, where, voxels, ignore)
    print("| patches | " + " | ".join(f"{n} turned into background | {n} in doubt" for n in names) + " |")
    print("|---" * (1 + 2 * len(names)) + "|")
    for size, of_size in counts.items():
        cells = (f"{100 * part / voxels:.1f} %" for voxels, *parts in of_size for part in parts)
        print(f"| {size or 'whole'} | " + " | ".join(cells) + " |")


def _patches(shape: tuple[int, ...], size: int) -> Iterator[tuple[slice, ...]]:
    """Patches side by side that cover an image; 0: all of it."""
    sides = [min(size, n) if size else n for n in shape]
    begins = [[min(b, n - side) for b in range(0, n, side)] for n, side in zip(shape, sides, strict=True)]
    for corner in itertools.product(*begins):
        yield tuple(slice(b, b + side) for b, side in zip(corner, sides, strict=True))


def _judge(strokes: Labels, dense: Labels, where: tuple[slice, ...], voxels: Sequence[Labels], ignore: int) -> Labels:
    """(structures, 3) voxels of each structure in a patch, those turned into background, and those in doubt.

    ``voxels`` holds the strokes of each structure in the image, (n, dim).
    """
    begin, size = [s.start for s in where], [s.stop - s.start for s in where]
    noted = [whereabouts(of_structure, begin, size) for of_structure in voxels]
    annotated = bool((strokes != ignore).any())
    present = np.array([True, *(each.near or not annotated for each in noted)])
    truth = dense[where]
    vouched, sure = vouch(
        torch.from_numpy(np.where(present[truth], truth, 0))[None],
        torch.from_numpy(strokes[where].copy())[None],
        ignore,
        ignore,
        torch.tensor([annotated]),
        torch.tensor([[each.outside for each in noted]]),
    )
    gone, doubt = vouched[0].numpy() == 0, sure[0].numpy() == 0
    return np.array([[(part & (truth == value)).sum() for part in (True, gone, doubt)] for value in range(1, ignore)])


if __name__ == "__main__":
    main()
