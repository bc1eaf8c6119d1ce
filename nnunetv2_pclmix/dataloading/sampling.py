"""How often cases with scribbles, with dense labels and without any label are drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SUPERVISION = ("scribble", "dense", "none")


def supervision_of(dataset_json: Mapping[str, Any]) -> dict[str, str]:
    """What the cases of a dataset teach with, where it is not scribbles.

    Args:
        dataset_json: its ``scribbles`` entry may hold ``supervision``, case identifier to ``dense`` or ``none``.

    Returns:
        Case identifier to supervision.

    Raises:
        ValueError: for a kind of supervision that does not exist, or no such entry.
    """
    noted = dataset_json.get("scribbles", {})
    entries = noted.get("supervision", {}) if isinstance(noted, Mapping) else None
    if not isinstance(entries, Mapping):
        raise ValueError(
            'dataset.json has something else under "scribbles" than {"supervision": {case: kind, ...}, ...}; correct '
            "it, or make the dataset again with nnUNetv2_convert_scribbles"
        )
    for case, kind in entries.items():
        if kind not in SUPERVISION:
            raise ValueError(
                f"dataset.json says scribbles.supervision of {case} is {kind!r}; write {', '.join(SUPERVISION)}"
            )
    return dict(entries)


def case_probabilities(
    cases: Sequence[str],
    supervision: Mapping[str, str],
    unlabelled_share: float,
    dense_share: float | None,
) -> np.ndarray | None:
    """Probability of each case to give the next patch.

    Cases of one kind are equally likely. Left to chance, a dataset with many unlabelled images would hardly ever show
    the few that teach something.

    Args:
        cases: identifiers.
        supervision: case to ``dense`` or ``none``; all others have scribbles.
        unlabelled_share: share of the patches that comes from unlabelled cases, where there are any.
        dense_share: share of the other patches that comes from densely labelled cases, where there are both kinds;
            None for their share among the cases.

    Returns:
        (len(cases),) probabilities, or None where all cases are equally likely.

    Raises:
        ValueError: if no case has a label.
    """
    kinds = [supervision.get(case, "scribble") for case in cases]
    count = Counter(kinds)
    labelled = count["scribble"] + count["dense"]
    if labelled == 0:
        raise ValueError(f"none of the {len(cases)} training cases has scribbles or a dense label to learn from")
    if labelled == len(kinds) and (dense_share is None or not (count["scribble"] and count["dense"])):
        return None
    unlabelled = unlabelled_share if count["none"] else 0.0
    if count["scribble"] and count["dense"]:
        dense = count["dense"] / labelled if dense_share is None else dense_share
    else:
        dense = 1.0 if count["dense"] else 0.0
    share = {"none": unlabelled, "dense": (1 - unlabelled) * dense, "scribble": (1 - unlabelled) * (1 - dense)}
    return np.array([share[kind] / count[kind] for kind in kinds])
