"""Scribbles drawn by a program as a hand would draw them.

Everything here works on arrays in memory: 2D slices in pixels, volumes slice by slice. No file is opened.
"""
