"""What the loader with boxes and twins costs per patch, against nnU-Net's own, on a preprocessed dataset.

    python benchmarks/loader.py -d 127 -c 2d [-p nnUNetPlans] [--batches 20] [--repeats 5]

Both loaders run in this process and draw the same patches with the same augmentation, as many per batch as the trainer;
ours adds as many mixed twins as the trainer mixes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from timing import interleaved, print_table

from nnunetv2_pclmix.dataloading.loader import PCLMixDataLoader
from nnunetv2_pclmix.trainer import nnUNetTrainerPCLMix


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", required=True, metavar="ID")
    parser.add_argument("-c", default="2d")
    parser.add_argument("-p", default="nnUNetPlans")
    parser.add_argument("--batches", type=int, default=20, help="per repeat")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    folder = Path(nnUNet_preprocessed, maybe_convert_to_dataset_name(args.d))
    plans = {**load_json(folder / f"{args.p}.json"), "continue_training": False}
    trainer = nnUNetTrainerPCLMix(plans, args.c, 0, load_json(folder / "dataset.json"), torch.device("cpu"))
    trainer.initialize()
    labels, patch = trainer.label_manager, trainer.configuration_manager.patch_size
    rotation, dummy_2d, initial, mirror = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    transforms = trainer.get_training_transforms(
        patch,
        rotation,
        trainer._get_deep_supervision_scales(),
        mirror,
        dummy_2d,
        use_mask_for_norm=trainer.configuration_manager.use_mask_for_norm,
        foreground_labels=labels.foreground_labels,
        ignore_label=labels.ignore_label,
    )
    cases, _ = trainer.get_tr_and_val_datasets()
    common = (cases, trainer.batch_size, initial, patch, labels)
    stock = nnUNetDataLoader(*common, oversample_foreground_percent=0.33, transforms=transforms)
    ours = PCLMixDataLoader(
        *common,
        oversample_foreground_percent=0.33,
        transforms=transforms,
        box_fraction=trainer.config.box_fraction,
        num_twins=trainer.num_twins,
    )

    def draw(loader: nnUNetDataLoader) -> None:
        np.random.seed(0)  # noqa: NPY002  nnU-Net draws from the global streams: both the same patches, augmented alike
        torch.manual_seed(0)
        for _ in range(args.batches):
            next(loader)

    seconds = interleaved({"stock": lambda: draw(stock), "ours": lambda: draw(ours)}, args.repeats, torch.device("cpu"))
    print_table([("loading a patch, boxes and twins included", "nnU-Net's loader", seconds["ours"] / seconds["stock"])])
    each = {name: value / args.batches / trainer.batch_size for name, value in seconds.items()}
    print("\nper patch: " + ", ".join(f"{name} {value * 1e3:.2f} ms" for name, value in each.items()))


if __name__ == "__main__":
    main()
