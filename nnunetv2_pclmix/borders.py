"""The labels of a prediction once its borders have moved to where the grey values of the strokes say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nnunetv2_pclmix.appearance import StrokeAppearance, margins
from nnunetv2_pclmix.label_space import LabelSpace
from nnunetv2_pclmix.neighbourhood import LabelsAround, has_several, mean_around, unpacked
from nnunetv2_pclmix.precision import at_least_float32
from nnunetv2_pclmix.thin_structures import Reach, find_thin, with_thin_structures
from nnunetv2_pclmix.voxels import Voxels


class Weights(NamedTuple):
    """How much what strokes say counts beside the logits.

    Attributes:
        density: of the logarithm of the grey values' density.
        margin: nats that what is predicted is ahead of what looks exactly alike.
        thin: of the odds by which thin structures meet wide ones; 0: they are not asked.
    """

    density: float
    margin: float
    thin: float


def moved_borders(
    decoders: Sequence[Tensor],
    labels: Tensor,
    asked: Tensor,
    space: LabelSpace,
    scribbles: Tensor,
    strokes: StrokeAppearance,
    weights: Weights,
    reach: Reach,
    present: Tensor | None = None,
) -> Tensor:
    """Labels that take the grey values of the strokes into account near the borders of a prediction.

    Where there is one label nearby no other is possible, so that on a CPU the other voxels alone are computed.

    Args:
        decoders: two predictions for the same images, (N, channels, *grid) logits each.
        labels: (2 N, *grid) the labels that they predict, one prediction after the other.
        asked: (n,) numbers of those whose borders are to move, each once.
        space: what the channels stand for.
        scribbles: (N, *grid) classes of the strokes, any other value elsewhere.
        strokes: of the same images.
        weights: how much what the strokes say counts.
        reach: how far to look.
        present: (N, structures) bool; which structures the labels are of. None: all.

    Returns:
        (2 N, *grid).
    """
    mine, image = labels.index_select(0, asked), asked % len(scribbles)
    around = LabelsAround(mine, space.num_labels)
    bits = around.within(reach.near)
    voxels = Voxels.where(has_several(bits))
    box, within = voxels.cropped(mine.shape[1:], reach.around)  # so that less is looked up
    near = unpacked(voxels.of(bits), space.num_labels)
    fits = within.of(mean_around(strokes.log_density(box), reach.around), image) * weights.density
    thin = find_thin(around, scribbles, strokes, reach, image, box) if weights.thin else None
    if thin is not None:
        here = thin._replace(odds=within.of(thin.odds), shares=within.of_images(thin.shares))
        fits = with_thin_structures(fits, near, here, weights.thin)
    start = margins(strokes.overlap, weights.margin)
    fits = fits - voxels.rows_of(start[image], mine)
    first, second = (at_least_float32(voxels.of(logits, image)) for logits in decoders)
    of_second = voxels.of_images(asked >= len(scribbles))
    predicted = torch.where(of_second.view(-1, *[1] * (first.ndim - 1)), second, first)
    if present is not None:
        predicted = space.only_present(predicted, voxels.of_images(present[image]))
    changed = space.with_evidence(predicted, fits, near)
    moved = labels.clone()
    moved[asked] = voxels.put(space.labels_of_logits(changed), mine)
    return moved
