"""The labels of a prediction once its borders have moved to where the grey values of the strokes say."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from nnunetv2_pclmix.appearance import StrokeAppearance
from nnunetv2_pclmix.at_hand import is_at_hand
from nnunetv2_pclmix.label_space import LabelSpace
from nnunetv2_pclmix.neighbourhood import bits_around, has_several, unpacked
from nnunetv2_pclmix.thin_structures import Reach, find_thin, with_thin_structures

MOST_BY_NUMBER = 0.25  # of all voxels; picking more of them takes longer than computing all


class Voxels(NamedTuple):
    """Voxels that something is computed for: some, each like an image of its own without axes, or all as they are.

    Attributes:
        image: (M,) which image each is in; None: all voxels of all images.
        place: (M,) which of its image's voxels it is.
    """

    image: Tensor | None
    place: Tensor | None

    @classmethod
    def where(cls, mask: Tensor) -> Voxels:
        """Those of a (N, *grid) mask where that is quicker, which has to be looked at; else all."""
        if not is_at_hand(mask) or mask.sum() > MOST_BY_NUMBER * mask.numel():
            return cls(None, None)
        image, place = mask.flatten(1).nonzero().unbind(1)
        return cls(image, place)

    def of(self, planes: Tensor) -> Tensor:
        """(N, C, *grid) -> (M, C); or as it is."""
        return planes if self.image is None else planes.flatten(2)[self.image, :, self.place]

    def of_images(self, values: Tensor) -> Tensor:
        """(N, ...) what each image has -> (M, ...); or as it is."""
        return values if self.image is None else values[self.image]

    def put(self, values: Tensor, into: Tensor) -> Tensor:
        """(M,) values in their places of (N, *grid) others; or all values."""
        if self.image is None:
            return values
        changed = into.flatten(1).clone()
        changed[self.image, self.place] = values
        return changed.view_as(into)


def moved_borders(
    logits: Tensor,
    space: LabelSpace,
    evidence: Tensor,
    margins: Tensor,
    scribbles: Tensor,
    strokes: StrokeAppearance,
    thin_weight: float,
    reach: Reach,
) -> Tensor:
    """Labels that take the grey values of the strokes into account near the borders of a prediction.

    Where there is one label nearby no other is possible, so that on a CPU the other voxels alone are computed.

    Args:
        logits: (N, channels, *grid).
        space: what the channels stand for.
        evidence: (N, C, *grid) logarithm of how well each label fits a voxel, up to a constant.
        margins: (N, C, C) taken from the evidence for each label (last axis) where another is predicted.
        scribbles: (N, *grid) classes of the strokes, any other value elsewhere.
        strokes: of the same images.
        thin_weight: of the odds by which thin structures meet wide ones; 0: they are not asked.
        reach: how far to look.

    Returns:
        (N, *grid).
    """
    labels = space.labels_of_logits(logits)
    bits = bits_around(labels, space.num_labels, reach.near)
    thin = find_thin(labels, scribbles, strokes, space.num_labels, reach) if thin_weight else None
    voxels = Voxels.where(has_several(bits))
    near, fits = unpacked(voxels.of(bits), space.num_labels), voxels.of(evidence)
    if thin is not None:
        here = thin._replace(odds=voxels.of(thin.odds), shares=voxels.of_images(thin.shares))
        fits = with_thin_structures(fits, near, here, thin_weight)
    changed = space.with_evidence(voxels.of(logits), fits, voxels.of_images(margins), near)
    return voxels.put(space.labels_of_logits(changed), labels)
