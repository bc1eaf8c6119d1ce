"""What predicting with a model trained by nnUNetTrainerPCLMix costs, against one trained by nnUNetTrainer.

    python benchmarks/inference.py -d 127 -c 2d [-p nnUNetPlans] [--repeats 5] [--device cpu]

Sliding-window prediction with mirroring, as nnUNetv2_predict does it, of one random image of the dataset's median
size. Both networks are built as the predictor builds them from a checkpoint; time and peak memory are compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from timing import interleaved, print_table
from torch.utils.flop_counter import FlopCounterMode

from nnunetv2_pclmix.trainer import nnUNetTrainerPCLMix


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", required=True, metavar="ID")
    parser.add_argument("-c", default="2d")
    parser.add_argument("-p", default="nnUNetPlans")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--slices", type=int, default=2, help="of the random image, in 2D")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    device = torch.device(args.device)
    folder = Path(nnUNet_preprocessed, maybe_convert_to_dataset_name(args.d))
    plans, dataset_json = PlansManager(folder / f"{args.p}.json"), load_json(folder / "dataset.json")
    configuration = plans.get_configuration(args.c)
    channels = determine_num_input_channels(plans, configuration, dataset_json)
    size = [int(v) for v in configuration.configuration["median_image_size_in_voxels"]]
    image = torch.randn(channels, *([args.slices] if len(size) == 2 else []), *size)
    heads = plans.get_label_manager(dataset_json).num_segmentation_heads

    calls, cost = {}, {}
    weights = None
    trainers: dict[str, Any] = {"stock": nnUNetTrainer, "ours": nnUNetTrainerPCLMix}
    for name, trainer in trainers.items():
        network = trainer.build_network_architecture(plans, configuration, channels, heads, False).to(device).eval()
        weights = weights or network.state_dict()
        network.load_state_dict(weights)
        predictor = nnUNetPredictor(device=device, perform_everything_on_device=True, allow_tqdm=False)
        predictor.manual_initialization(
            network, plans, configuration, [weights], dataset_json, trainer.__name__, (0, 1, 2)[: len(size)]
        )
        patch = torch.randn(1, channels, *configuration.patch_size, device=device)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(patch)
        cost[name] = (counter.get_total_flops(), sum(p.numel() for p in network.parameters()))
        calls[name] = lambda p=predictor: p.predict_sliding_window_return_logits(image)
    results = {name: call() for name, call in calls.items()}
    seconds = interleaved(calls, args.repeats, device)
    rows = [("predicting an image", "nnU-Net's model", seconds["ours"] / seconds["stock"])]
    for index, what in enumerate(("multiply-adds", "parameters")):
        rows.append((f"{what} of the network", "nnU-Net's model", cost["ours"][index] / cost["stock"][index]))
    if device.type == "cuda":
        peaks = {}
        for name, call in calls.items():
            torch.cuda.reset_peak_memory_stats()
            call()
            peaks[name] = torch.cuda.max_memory_allocated()
        rows.append(("peak memory", "nnU-Net's model", peaks["ours"] / peaks["stock"]))
    print_table(rows)
    same = torch.equal(results["ours"], results["stock"])
    print(f"\nlogits {'identical' if same else 'DIFFERENT'}, {seconds['stock']:.2f} and {seconds['ours']:.2f} s")


if __name__ == "__main__":
    main()
