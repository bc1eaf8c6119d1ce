"""The auxiliary decoder: Swin transformer blocks on the encoder's skips (PCLMix, section on the dual decoders)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from dynamic_network_architectures.building_blocks.helper import get_matching_convtransp
from monai.networks.nets.swin_unetr import BasicLayer, SwinTransformerBlock
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def _ceil_multiple(value: float, multiple: int) -> int:
    return max(multiple, multiple * round(value / multiple))


class _RecomputedBlock(SwinTransformerBlock):
    """A Swin block that keeps nothing of what is inside it for the backward pass, but computes it again.

    MONAI's own recomputing includes the drop path, whose random numbers it has to restore, which a CUDA graph cannot.
    """

    def forward(self, x: Tensor, mask_matrix: Tensor | None) -> Tensor:
        x = x + self.drop_path(_recomputed(self.forward_part1, x, mask_matrix))
        return x + self.drop_path(_recomputed(self._perceptron, x))

    def _perceptron(self, x: Tensor) -> Tensor:
        out: Tensor = self.mlp(self.norm2(x))
        return out


def _recomputed(part: Callable[..., Tensor], *args: Tensor | None) -> Tensor:
    out: Tensor = checkpoint(part, *args, use_reentrant=False, preserve_rng_state=False)
    return out


class SwinDecoder(nn.Module):
    """U-shaped decoder of window attention, unlike the convolutional one on the same encoder.

    From the bottleneck up to the first stage of stride ``output_stride``: upsample, join with the skip, ``depth``
    Swin blocks; then one expansion to full resolution. As published: window 7, depth 2, drop path 0.1, final
    expansion of 4. Differs: its width is ``width_ratio`` of the encoder's at each stage and not 96 times a power of
    two, because it has to stay cheap beside whatever encoder nnU-Net plans; works in 3D and with anisotropic strides.

    Args:
        encoder_channels: channels of each encoder stage, highest resolution first.
        strides: stride of each stage relative to the one before, one number per axis.
        conv_op: ``nn.Conv2d`` or ``nn.Conv3d``, as the encoder's.
        num_classes: channels of the output.
        patch_size: voxels per axis of what it is trained on.
        width_ratio: width of the decoder relative to the encoder.
        depth: Swin blocks per stage.
        window_size: voxels per axis of an attention window, where a stage has as many.
        drop_path: probability of skipping a block's residual branch while training.
        output_stride: total stride at which the final expansion begins.
        attention_stride: total stride of the highest stage that has Swin blocks; above it, skips are only added.
        head_dimension: channels per attention head.
        recompute: compute the Swin blocks again in the backward pass instead of keeping what is inside them.
    """

    def __init__(
        self,
        encoder_channels: Sequence[int],
        strides: Sequence[Sequence[int]],
        conv_op: type[nn.Module],
        num_classes: int,
        patch_size: Sequence[int],
        *,
        width_ratio: float,
        depth: int = 2,
        window_size: int = 7,
        drop_path: float = 0.1,
        output_stride: int = 4,
        attention_stride: int = 4,
        head_dimension: int = 16,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        transposed_conv = get_matching_convtransp(conv_op=conv_op)
        total = np.cumprod([list(s) for s in strides], axis=0)
        # the shallowest stage the transformer works on: the first whose largest stride reaches output_stride
        reaches = [s for s in range(len(strides)) if total[s].max() >= output_stride]
        self.top_stage = reaches[0] if reaches else len(strides) - 1
        widths = [_ceil_multiple(c * width_ratio, head_dimension) for c in encoder_channels]

        def swin_stage(stage: int) -> nn.Module:
            width = widths[stage]
            if total[stage].max() < attention_stride:
                return nn.LeakyReLU(inplace=True)  # the planned networks' own, and cheaper than GELU
            # MONAI makes a window that a stage is too small for smaller itself, but looks its relative positions up
            # as if it were a whole one, so that unlike offsets would share a bias
            window = [min(window_size, -(-size // int(t))) for size, t in zip(patch_size, total[stage], strict=True)]
            layer = BasicLayer(width, depth, width // head_dimension, window, [drop_path] * depth, qkv_bias=True)
            if recompute:
                for block in layer.blocks:
                    block.__class__ = _RecomputedBlock  # BasicLayer makes blocks of a fixed class
            return layer

        bottom = len(strides) - 1
        self.lateral = nn.ModuleList()
        self.upsample = nn.ModuleList()
        self.swin = nn.ModuleList([swin_stage(bottom)])
        self.bottleneck = conv_op(encoder_channels[bottom], widths[bottom], 1)
        for stage in range(bottom - 1, self.top_stage - 1, -1):
            factor = tuple(strides[stage + 1])
            self.upsample.append(transposed_conv(widths[stage + 1], widths[stage], factor, factor))
            self.lateral.append(conv_op(encoder_channels[stage], widths[stage], 1))
            self.swin.append(swin_stage(stage))
        factor = tuple(int(t) for t in total[self.top_stage])
        self.expand = transposed_conv(widths[self.top_stage], num_classes, factor, factor)

    def forward(self, skips: Sequence[Tensor]) -> Tensor:
        """Decode.

        Args:
            skips: the encoder's outputs, highest resolution first.

        Returns:
            (N, C, *grid) logits at full resolution.
        """
        x = self.swin[0](self.bottleneck(skips[-1]))
        depth = range(len(skips) - 2, self.top_stage - 1, -1)
        for stage, upsample, lateral, swin in zip(depth, self.upsample, self.lateral, self.swin[1:], strict=True):
            x = swin(upsample(x) + lateral(skips[stage]))
        return self.expand(x)
