"""Scribbled short-axis heart phantoms: a stand-in for ACDC that may be made and shared freely."""
