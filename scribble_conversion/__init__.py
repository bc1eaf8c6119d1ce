"""Scribble datasets in, nnU-Net raw datasets out.

The way of a dataset through this package: a reader of ``readers`` finds the files and says what the codes mean
(``Source``), ``splits`` divides it by patient, ``case`` checks, remaps and writes one case, ``conversion`` does so for
all of them and puts the finished dataset where nnU-Net looks for it.
"""
