"""From scribbled phantoms to dense segmentations, with the commands a user would type.

Run it with ``python -m nnunetv2_pclmix.demo`` or ``make demo``.
"""
