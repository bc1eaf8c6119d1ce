"""nnU-Net's transform pipelines with one change: voxels outside the image become ignore, not background."""

from __future__ import annotations

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform

OUTSIDE_LABEL = -1  # what nnU-Net's loader and spatial transform write where there is no image


def outside_becomes_ignore(pipeline: BasicTransform, ignore_label: int | None) -> BasicTransform:
    """Let the pipeline turn the label of voxels outside the image into the ignore label.

    Stock nnU-Net turns it into background, which with dense labels is harmless. With scribbles it would be the
    largest class of supervised voxels, all of them padding. Differs from nnU-Net, and from the paper, whose slices
    are resized and never padded. Background that is labelled where all channels are 0 around what is imaged becomes
    ignore, too: nnU-Net's preprocessing leaves nothing that tells it from padding.

    Args:
        pipeline: what nnU-Net's ``get_training_transforms`` or ``get_validation_transforms`` returned; changed in
            place.
        ignore_label: the data set's ignore label, or None, which leaves the pipeline as it is.

    Returns:
        The pipeline.

    Raises:
        ValueError: if the pipeline has no step that removes the outside label.
    """
    if ignore_label is None:
        return pipeline
    found = False
    for transform in pipeline.transforms if isinstance(pipeline, ComposeTransforms) else ():
        if isinstance(transform, RemoveLabelTansform) and transform.label_value == OUTSIDE_LABEL:
            transform.set_to = ignore_label
            found = True
    if not found:
        raise ValueError(f"expected a step that removes label {OUTSIDE_LABEL} in the transform pipeline, found none")
    return pipeline
