"""One module per source format, each with one function that finds the files and returns a ``Source``.

A reader looks at names and folders only; it opens no image. What it cannot make sense of it reports as a
``UserError`` that names the folder or file and the cure.
"""
