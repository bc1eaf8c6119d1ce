"""PCLMix for nnU-Net v2: dense segmentation learned from scribbles."""

__version__ = "0.1.0"
