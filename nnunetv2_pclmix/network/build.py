"""Builds the training network for a plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from nnunetv2_pclmix.config import PCLMixConfig
from nnunetv2_pclmix.network.dual_decoder import DualDecoderUNet
from nnunetv2_pclmix.network.projection_head import ProjectionHead
from nnunetv2_pclmix.network.swin_decoder import SwinDecoder


def add_training_parts(
    unet: nn.Module, num_classes: int, patch_size: Sequence[int], config: PCLMixConfig, *, recompute: bool = False
) -> DualDecoderUNet:
    """Put the auxiliary decoder and the projection head on a planned network.

    Args:
        unet: the network nnU-Net planned (``PlainConvUNet``, ``ResidualEncoderUNet``).
        num_classes: output channels.
        patch_size: voxels per axis that it is trained on.
        config: hyper-parameters.
        recompute: let the auxiliary decoder compute its blocks again in the backward pass, for less memory.

    Returns:
        The network to train.

    Raises:
        ValueError: if the network has no encoder and decoder to share, or only one stage.
    """
    encoder = getattr(unet, "encoder", None)
    if encoder is None or not hasattr(encoder, "output_channels"):
        raise ValueError(
            f"nnUNetTrainerPCLMix needs a U-Net with an encoder whose features it can share, as nnU-Net plans them "
            f"(PlainConvUNet, ResidualEncoderUNet), but the plans ask for {type(unet).__name__}"
        )
    channels = list(encoder.output_channels)
    strides = [list(stride) for stride in encoder.strides]
    if len(strides) < 2:
        raise ValueError(
            "nnUNetTrainerPCLMix, as nnU-Net's decoder, needs a network of two stages at least, but the plans ask for "
            "one; plan a larger patch"
        )
    total = np.cumprod(strides, axis=0).max(axis=1)
    embedding_stage = next((s for s, t in enumerate(total) if t >= config.embedding_stride), len(total) - 1)
    auxiliary = SwinDecoder(
        channels,
        strides,
        encoder.conv_op,
        num_classes,
        patch_size,
        width_ratio=config.auxiliary_width_ratio,
        depth=config.auxiliary_depth,
        window_size=config.auxiliary_window,
        drop_path=config.auxiliary_drop_path,
        attention_stride=config.auxiliary_attention_stride,
        recompute=recompute,
    )
    head = ProjectionHead(encoder.conv_op, channels[embedding_stage], config.embedding_dimension)
    return DualDecoderUNet(unet, auxiliary, head, embedding_stage)
