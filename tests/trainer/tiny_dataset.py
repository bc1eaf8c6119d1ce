"""A preprocessed dataset of noise with scribbled boxes, made in no time, and a plan for it of any kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetNumpy

DATASET = "Dataset512_Tiny"
PLANS = "nnUNetPlans"
CASES = ("a", "b", "c", "d")
RESAMPLING = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}


@dataclass
class TinyPlan:
    """What a plan can be like.

    Attributes:
        patch_size: voxels per axis, of a 2D or a 3D patch.
        strides: of each stage.
        kernel_sizes: of each stage; 3 along each axis where empty.
        image_size: voxels per axis of the images, always three.
        channels: of the images.
        classes: background included, ignore not.
        batch_size: as planned.
        residual: a residual encoder network instead of a plain one.
        cascade: a second stage, on the segmentations of a first one.
    """

    patch_size: Sequence[int]
    strides: Sequence[Sequence[int]]
    kernel_sizes: Sequence[Sequence[int]] = ()
    image_size: Sequence[int] = (24, 24, 24)
    channels: int = 1
    classes: int = 3
    batch_size: int = 2
    residual: bool = False
    cascade: bool = False
    pclmix: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        if self.cascade:
            return "3d_cascade_fullres"
        return "2d" if len(self.patch_size) == 2 else "3d_fullres"

    def dataset_json(self) -> dict[str, Any]:
        labels = {"background": 0, **{f"structure_{c}": c for c in range(1, self.classes)}, "ignore": self.classes}
        return {
            "channel_names": {str(c): "MRI" for c in range(self.channels)},
            "labels": labels,
            "numTraining": len(CASES),
            "file_ending": ".nii.gz",
        }

    def plans(self) -> dict[str, Any]:
        """As nnU-Net's planners write them."""
        configurations = {self.name: self._configuration()}
        if self.cascade:
            configurations[self.name]["previous_stage"] = "3d_lowres"
            configurations["3d_lowres"] = {**self._configuration(), "next_stage": self.name}
        return {
            "dataset_name": DATASET,
            "plans_name": PLANS,
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "configurations": configurations,
            "experiment_planner_used": "ExperimentPlanner",
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": {},
            "pclmix": self.pclmix,
            "continue_training": False,
        }

    def _configuration(self) -> dict[str, Any]:
        dim, stages = len(self.patch_size), len(self.strides)
        blocks = {"n_blocks_per_stage" if self.residual else "n_conv_per_stage": [1] * stages}
        return {
            "data_identifier": f"{PLANS}_{self.name}",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": self.batch_size,
            "patch_size": list(self.patch_size),
            "median_image_size_in_voxels": list(self.image_size)[-dim:],
            "spacing": [1.0] * dim,
            "normalization_schemes": ["ZScoreNormalization"] * self.channels,
            "use_mask_for_norm": [False] * self.channels,
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": RESAMPLING,
            "resampling_fn_seg": "resample_data_or_seg_to_shape",
            "resampling_fn_seg_kwargs": {**RESAMPLING, "is_seg": True},
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": RESAMPLING,
            "batch_dice": False,
            "architecture": {
                "network_class_name": "dynamic_network_architectures.architectures.unet."
                + ("ResidualEncoderUNet" if self.residual else "PlainConvUNet"),
                "arch_kwargs": {
                    "n_stages": stages,
                    "features_per_stage": [8 * 2 ** min(stage, 2) for stage in range(stages)],
                    "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
                    "kernel_sizes": [list(k) for k in self.kernel_sizes] or [[3] * dim] * stages,
                    "strides": [list(s) for s in self.strides],
                    **blocks,
                    "n_conv_per_stage_decoder": [1] * (stages - 1),
                    "conv_bias": True,
                    "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
                    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                    "dropout_op": None,
                    "dropout_op_kwargs": None,
                    "nonlin": "torch.nn.LeakyReLU",
                    "nonlin_kwargs": {"inplace": True},
                },
                "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
            },
        }


def write(plan: TinyPlan, preprocessed: Path, results: Path, trainer: str) -> None:
    """Write the preprocessed cases and, for a cascade, the first stage's segmentations: class 1 where the image is > 0.

    Args:
        plan: says what they are like.
        preprocessed: nnU-Net's folder of preprocessed datasets.
        results: nnU-Net's folder of results.
        trainer: name of the trainer that "predicted" the first stage.
    """
    rng = np.random.default_rng(0)
    folder = preprocessed / DATASET / f"{PLANS}_{plan.name}"
    folder.mkdir(parents=True)
    splits = [{"train": list(CASES[:3]), "val": list(CASES[3:])}]
    (preprocessed / DATASET / "splits_final.json").write_text(json.dumps(splits))
    predicted = results / DATASET / f"{trainer}__{PLANS}__3d_lowres" / "predicted_next_stage" / plan.name
    predicted.mkdir(parents=True)
    known = list(range(plan.classes))
    for case in CASES:
        image = rng.normal(size=(plan.channels, *plan.image_size)).astype(np.float32)
        labels = rng.integers(0, plan.classes, (1, *plan.image_size)).astype(np.int16)
        labels[rng.random(labels.shape) < 0.8] = plan.classes
        locations = DefaultPreprocessor._sample_foreground_locations(labels, [*known[1:], (-1, *known)])
        nnUNetDatasetNumpy.save_case(image, labels, {"class_locations": locations}, str(folder / case))
        if plan.cascade:
            nnUNetDatasetNumpy.save_seg((image[0] > 0).astype(np.uint8), str(predicted / case))


def make_trainer(plan: TinyPlan, trainer: type) -> Any:
    """A trainer for a plan on the CPU."""
    return trainer(plan.plans(), plan.name, 0, plan.dataset_json(), torch.device("cpu"))
