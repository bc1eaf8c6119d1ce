"""One module per kind of image file, each with the functions of ``registry.FileFormat``.

A format reads so that damage is noticed, copies images unchanged, and writes labels that nnU-Net reads with exactly the
geometry of their image. ``registry`` finds the module for a file by its ending.
"""
