"""Projection of encoder features to unit embeddings for the pixel contrast."""

from __future__ import annotations

from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """Two 1x1 convolutions to ``dimension`` channels; normalisation to unit length is the loss's part.

    Args:
        conv_op: ``nn.Conv2d`` or ``nn.Conv3d``.
        in_channels: channels of the encoder stage.
        dimension: length of an embedding D.
    """

    def __init__(self, conv_op: type[nn.Module], in_channels: int, dimension: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv_op(in_channels, in_channels, 1), nn.ReLU(inplace=True), conv_op(in_channels, dimension, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, in_channels, *grid) -> (N, D, *grid)."""
        return self.layers(features)
