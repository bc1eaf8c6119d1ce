"""What the log says of an epoch: the terms, their weights, and whether a class is vanishing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def vanished_classes(pseudo_counts: np.ndarray, scribble_counts: np.ndarray) -> list[int]:
    """Classes that are scribbled but have fewer voxels among the pseudo-labels than among the scribbles.

    A structure is larger than the strokes inside it, so a network that gives a class fewer voxels than were
    scribbled has lost it: the known danger of self-training from scratch.

    Args:
        pseudo_counts: (C,) voxels per class among the pseudo-labels of an image, the mean of an epoch.
        scribble_counts: (C,) voxels per class among the scribbles of an image, likewise.

    Returns:
        The class indices.
    """
    vanished = (np.asarray(scribble_counts) > 0) & (np.asarray(pseudo_counts) < np.asarray(scribble_counts))
    return np.flatnonzero(vanished).tolist()


def label_names(labels: Mapping[str, int | Sequence[int]], count: int) -> list[str]:
    """Names of the label values from 0 on; of one that only occurs in regions, the number.

    Args:
        labels: as in ``dataset.json``.
        count: how many values.
    """
    by_value = {value: name for name, value in labels.items() if isinstance(value, int)}
    return [by_value.get(value, str(value)) for value in range(count)]


def shares(counts: np.ndarray) -> np.ndarray:
    """(C,) counts as shares of their sum; zeros where there is nothing."""
    counts = np.asarray(counts, dtype=float)
    return counts / max(counts.sum(), 1.0)


def describe_shares(names: Sequence[str], counts: np.ndarray) -> str:
    """Shares as text, for instance ``background 0.973, RV 0.008``."""
    return ", ".join(f"{name} {share:.4f}" for name, share in zip(names, shares(counts), strict=True))
