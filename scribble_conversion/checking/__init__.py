"""What is wrong with an nnU-Net raw dataset whose labels are scribbles.

``dataset`` finds the cases, ``case`` looks at one of them in a worker process, and the other modules turn what was
found into findings: ``layout`` by the names of the files, ``declared`` by ``dataset.json``, ``coverage``,
``unlabelled`` and ``widths`` by the labels, ``resampling`` by nnU-Net's plan, ``duplicates``, ``splits`` and
``preprocessed`` by what lies around them. ``inspection`` runs them all.
"""
