"""What a label volume holds, slice by slice; cheap enough to be had during a conversion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scribble_conversion.planes import as_volume


@dataclass(frozen=True)
class LabelFacts:
    """Counts of one label volume, S slices and V integers.

    Attributes:
        drawn: voxels per slice and integer, shape (S, V); the voxels of ``ignore`` are in its own column.
        present: whether the dense reference has the integer in the slice, shape (S, V); None without a reference.
        contradicting: labelled voxels on which the dense reference says something else.
        compared: labelled voxels on which it says anything.
    """

    drawn: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_] | None = None
    contradicting: int = 0
    compared: int = 0

    @property
    def voxels(self) -> tuple[int, ...]:
        """Voxels per integer."""
        return tuple(int(count) for count in self.drawn.sum(axis=0))


def label_facts(
    label: npt.NDArray[np.integer],
    ignore: int | None,
    number: int,
    axis: int = 0,
    dense: npt.NDArray[np.integer] | None = None,
) -> LabelFacts:
    """Count what a label volume holds.

    Only the labelled voxels are looked at, which of scribbles are few.

    Args:
        label: integers from 0 to ``number`` - 1, axes (z, y, x) or (y, x).
        ignore: the integer of unlabelled voxels, None where there is none.
        number: V, how many integers there are, ``ignore`` included.
        axis: the axis across the slices; 0 for two axes.
        dense: the dense reference, same shape and integers; None where there is none.

    Returns:
        The counts.
    """
    label, dense = as_volume(label), None if dense is None else as_volume(dense)
    slices = label.shape[axis]
    flat = np.moveaxis(label, axis, 0).reshape(slices, -1)
    reference = None if dense is None else np.moveaxis(dense, axis, 0).reshape(slices, -1)
    per_slice = flat.shape[1]
    drawn = np.zeros((slices, number), dtype=np.int64)
    contradicting = compared = 0
    for index, row in enumerate(flat):
        where = None if ignore is None else np.flatnonzero(row != ignore)
        values = row if where is None else row[where]
        drawn[index] = np.bincount(values, minlength=number)
        if ignore is not None:
            drawn[index, ignore] = per_slice - values.size
        if reference is not None:
            said = reference[index] if where is None else reference[index][where]
            known = said != ignore if ignore is not None else np.ones(said.shape, dtype=np.bool_)
            contradicting += int(np.count_nonzero((said != values) & known))
            compared += int(np.count_nonzero(known))
    present = None
    if reference is not None:
        present = np.stack([(reference == value).any(axis=1) for value in range(number)], axis=1)
    return LabelFacts(drawn, present, contradicting, compared)
