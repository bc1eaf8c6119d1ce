"""How long the trainers' variants train; nnU-Net's own have the same."""

LENGTHS = (1, 5, 10, 20, 50, 100, 250, 500, 750, 2000, 4000, 8000)
"""Epochs."""
