"""nnU-Net's loader, each batch followed by mixed twins."""

from __future__ import annotations

import multiprocessing
import warnings
from typing import Any

import numpy as np
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch import Tensor

from nnunetv2_pclmix.closed_world import Strokes
from nnunetv2_pclmix.dataloading.mix import Mix, apply_mix, draw_mix
from nnunetv2_pclmix.dataloading.reach import whereabouts


class PCLMixDataLoader(nnUNetDataLoader):
    """Draws B patches as nnU-Net does and appends K mixed twins: ``data`` and ``target`` hold B + K images.

    The mix travels with the batch as ``mix_partners`` (K, 2) and ``mix_boxes`` (K, dim, 2), see ``Mix``; ``annotated``
    (B,) tells which patches come from an image (in 2D: a slice) that somebody scribbled, be it outside the patch,
    ``present`` (B, structures) which structures have a stroke there, ``outside`` (B, labels) which ones have strokes
    outside of the patch, and ``lost`` (B, labels) which ones had strokes in it before augmentation, see ``Strokes``.

    With an ignore label nnU-Net centres every patch on a labelled voxel, so that the network never sees the rest of an
    image larger than the patch. Of the patches that nnU-Net does not centre on a structure anyway, ``anywhere_share``
    are drawn from anywhere in the image (in 2D: in the slice of a labelled voxel), which is where nnU-Net draws them
    without an ignore label. Not in the paper, whose patches are whole slices.

    In patches too far from the strokes of a structure it counts as absent, see ``whereabouts``.

    Its random numbers come from a generator that is made on first use, inside the worker that uses it, from numpy's
    global stream, which nnU-Net's workers seed one by one. Workers so differ, and repeat for given seeds. Torch's
    stream, which part of the augmentation draws from, is seeded the same way in a worker.
    """

    def __init__(
        self,
        *args: Any,
        box_fraction: float,
        num_twins: int | None = None,
        anywhere_share: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.label_manager: LabelManager = args[4] if len(args) > 4 else kwargs["label_manager"]
        self.box_fraction = box_fraction
        self.num_twins = num_twins
        self.anywhere_share = anywhere_share
        self._structures = structures_of_labels(self.label_manager)
        self._structures_with_label = [
            [s for s in self._structures if label in (s if isinstance(s, tuple) else (s,))]
            for label in range(1, int(max(self.label_manager.all_labels)) + 1)
        ]
        self._annotated: list[bool] = []
        self._present: list[list[bool]] = []
        self._outside: list[list[bool]] = []
        self._within: list[list[bool]] = []
        self._rng: np.random.Generator | None = None

    @property
    def rng(self) -> np.random.Generator:
        """The generator of mixes; made on first use from numpy's global stream."""
        if self._rng is None:
            self._rng = np.random.default_rng(np.random.randint(2**32, size=4, dtype=np.uint32))  # noqa: NPY002
            if multiprocessing.parent_process() is not None:
                torch.manual_seed(int(self._rng.integers(2**63)))
        return self._rng

    def get_bbox(
        self, data_shape: np.ndarray, force_fg: bool, class_locations: dict | None, *args: Any, **kwargs: Any
    ) -> tuple[list[int], list[int]]:
        """Place of the next patch, lower and upper corners; notes what is known of its image."""
        lower, upper = super().get_bbox(data_shape, force_fg, class_locations, *args, **kwargs)
        if not force_fg and self.anywhere_share > 0 and self.rng.random() < self.anywhere_share:
            lower, upper = self._anywhere(lower, upper, data_shape)
        # the final patch is the middle of this box where the augmentation neither turns nor zooms
        final = np.asarray(self.final_patch_size)
        begin = np.asarray(lower) + (np.asarray(self.patch_size) - final) // 2
        noted = {
            key: whereabouts(self._strokes_of(class_locations, key, lower), begin, final) for key in self._structures
        }
        annotated = len(self._strokes_of(class_locations, self.annotated_classes_key, lower)) > 0
        self._annotated.append(annotated)
        self._present.append([not annotated or noted[key].near for key in self._structures])
        self._outside.append([any(noted[key].outside for key in keys) for keys in self._structures_with_label])
        self._within.append([noted[key].within for key in self._structures])
        return lower, upper

    def _anywhere(self, lower: list[int], upper: list[int], data_shape: np.ndarray) -> tuple[list[int], list[int]]:
        """Another place in the same image, in 2D in the same slice."""
        has_ignore = self.has_ignore  # type: ignore[has-type]
        self.has_ignore = False  # nnU-Net then draws from anywhere
        try:
            new_lower, new_upper = super().get_bbox(data_shape, False, None)
        finally:
            self.has_ignore = has_ignore
        if self.patch_size_was_2d:
            new_lower[0], new_upper[0] = lower[0], upper[0]
        return new_lower, new_upper

    def _strokes_of(self, class_locations: dict | None, key: Any, lower: list[int]) -> np.ndarray:
        """(n, dim) labelled voxels of a kind in the image that a patch is from, in 2D in its slice."""
        voxels = np.asarray((class_locations or {}).get(key, ()), int).reshape(-1, len(lower) + 1)[:, 1:]
        return voxels[voxels[:, 0] == lower[0]] if self.patch_size_was_2d else voxels

    def generate_train_batch(self) -> dict[str, Any]:
        """A batch with ``data`` (B + K, ...), ``target`` likewise or a list of them, ``keys``, the mix and strokes."""
        rng = self.rng
        self._annotated, self._present, self._outside, self._within = [], [], [], []
        with warnings.catch_warnings():
            # an image without labels is no mistake here
            warnings.filterwarnings("ignore", message="Warning! No annotated pixels in image!")
            batch = super().generate_train_batch()
        patch_size = batch["data"].shape[2:]
        mix = draw_mix(len(batch["data"]), patch_size, self.box_fraction, rng, self.num_twins)

        def with_twins(values: Tensor) -> Tensor:
            both = torch.empty((len(values) + len(mix.boxes), *values.shape[1:]), dtype=values.dtype)
            both[: len(values)] = values
            apply_mix(values, mix, out=both[len(values) :])
            return both

        target = batch["target"]
        batch["data"] = with_twins(batch["data"])
        batch["target"] = [with_twins(t) for t in target] if isinstance(target, list) else with_twins(target)
        batch["mix_partners"], batch["mix_boxes"] = mix.partners, mix.boxes
        batch["annotated"] = torch.tensor(self._annotated)
        full = batch["target"][0] if isinstance(target, list) else batch["target"]
        lost = self._look_at(full[: len(self._present)].numpy())
        batch["present"] = torch.tensor(self._present)
        batch["outside"] = torch.tensor(self._outside)
        batch["lost"] = torch.tensor(lost)
        return batch

    def _look_at(self, patches: np.ndarray) -> list[list[bool]]:
        """Take for present what the patches themselves show, too, and all structures where most of one is labelled.

        nnU-Net lists only a sample of the labelled voxels of large structures, which may pass over a whole slice.

        Returns:
            For each patch and label whether it had strokes in the patch, but augmentation took all of them away.
        """
        lost = []
        for patch, present, within in zip(patches, self._present, self._within, strict=True):
            dense = 2 * np.count_nonzero(patch != self.label_manager.ignore_label) > patch.size
            seen = [bool((patch == label).any()) for label in range(1, len(self._structures_with_label) + 1)]
            unseen = {}
            for number, structure in enumerate(self._structures):
                labels = structure if isinstance(structure, tuple) else (structure,)
                shown = any(seen[label - 1] for label in labels)
                present[number] = present[number] or dense or shown
                unseen[structure] = within[number] and not shown
            lost.append([any(unseen[key] for key in keys) for keys in self._structures_with_label])
        return lost


def require_labels_of_today(dataset: Any, label_manager: LabelManager, name: str) -> None:
    """Look whether preprocessing has noted where voxels are labelled, as nnU-Net's loader asks for it.

    Args:
        dataset: nnU-Net's, of preprocessed cases.
        label_manager: of ``dataset.json`` as it is now.
        name: of the dataset, for messages.

    Raises:
        ValueError: it noted something else.
    """
    case = dataset.identifiers[0]
    *_, properties = dataset.load_case(case)
    if label_manager.has_ignore_label and (-1, *label_manager.all_labels) not in properties["class_locations"]:
        raise ValueError(
            f"{case} was preprocessed when dataset.json had other labels, or no ignore label; preprocess {name} again "
            "(nnUNetv2_preprocess)"
        )


def structures_of_labels(label_manager: LabelManager) -> list[int | tuple[int, ...]]:
    """What ``Strokes.present`` speaks of, in the order of the network's channels: classes, or the labels of regions."""
    structures = label_manager.foreground_regions if label_manager.has_regions else label_manager.foreground_labels
    return [tuple(map(int, s)) if isinstance(s, (tuple, list)) else int(s) for s in structures]


def strokes_of_batch(batch: dict[str, Any]) -> Strokes:
    """What is known of the images that a batch is from."""
    return Strokes(batch["annotated"], batch["present"], batch["outside"], batch["lost"])


def mix_of_batch(batch: dict[str, Any]) -> Mix:
    """The mix that travelled with a batch."""
    return Mix(batch["mix_partners"], batch["mix_boxes"], tuple(batch["data"].shape[2:]))
