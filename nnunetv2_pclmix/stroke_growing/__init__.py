"""Strokes grown over the voxels that the image leaves no doubt about, once, before a training."""
