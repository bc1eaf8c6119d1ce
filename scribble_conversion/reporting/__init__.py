"""A dataset with scribbles as one HTML page that needs nothing but itself.

``figures`` counts, ``charts`` and ``pictures`` draw, ``gallery`` chooses what is drawn, ``page`` puts it together.
"""
