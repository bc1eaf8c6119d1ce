"""What a training step costs, as ratios against stock nnU-Net in the same run.

    python benchmarks/step.py [--features 8 16 32 64 128 128] [--patch-size 224 192] [--images 8] [--repeats 9]
        [--device cpu] [--threads 1] [--compile]

Slices of phantom hearts with scribbles, plain 2D U-Net, float32 on the CPU, autocast on CUDA. The training network
learns their dense labels first, for what pseudo-labels cost depends on what is predicted. Prints a Markdown table;
medians of interleaved repeats, so that a busy machine slows both sides alike. On CUDA the step is a CUDA graph, as in
the trainer, and the memory that each step takes at most is measured, with weights, gradients and momentum of its
network, and the teacher's weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from timing import interleaved, print_table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nnunetv2_pclmix.closed_world import Strokes
from nnunetv2_pclmix.config import config_from_plans
from nnunetv2_pclmix.cuda_graph import GraphedStep, record
from nnunetv2_pclmix.dataloading.mix import draw_mix, images_of_a_step
from nnunetv2_pclmix.label_space import ClassSpace
from nnunetv2_pclmix.losses.partial import PartialCrossEntropyLoss
from nnunetv2_pclmix.losses.supervised import PartialDiceCELoss
from nnunetv2_pclmix.memory_queue import MemoryQueue
from nnunetv2_pclmix.network.build import add_training_parts
from nnunetv2_pclmix.objective import PCLMixObjective
from nnunetv2_pclmix.phantom.anatomy import FRAMES, draw_heart
from nnunetv2_pclmix.phantom.appearance import draw_look
from nnunetv2_pclmix.phantom.patient import FIELD_OF_VIEW_MM, render_frame
from nnunetv2_pclmix.step_data import StepInput, StepResult
from nnunetv2_pclmix.teacher import Teacher
from nnunetv2_pclmix.training_step import one_pass

CLASSES, IGNORE = 4, 4
SLICES = 8  # of each phantom
MEMORY = ("peak memory of its tensors", "memory that CUDA holds for them")


def _unet(features: list[int]) -> nn.Module:
    stages = len(features)
    return PlainConvUNet(
        input_channels=1,
        n_stages=stages,
        features_per_stage=features,
        conv_op=nn.Conv2d,
        kernel_sizes=[[3, 3]] * stages,
        strides=[[1, 1]] + [[2, 2]] * (stages - 1),
        n_conv_per_stage=2,
        num_classes=CLASSES,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )


def _hearts(number: int, patch_size: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(N, 1, *patch size) slices of phantom hearts, normalised as nnU-Net does, their dense labels and scribbles."""
    planes: list[list[np.ndarray]] = [[], [], []]
    while len(planes[0]) < number:
        heart, look = draw_heart(rng), draw_look(rng)
        frame = render_frame(heart, look, FRAMES[0], SLICES, FIELD_OF_VIEW_MM / max(patch_size), rng)
        stacks: list[np.ndarray] = [frame.image, frame.label, frame.scribble.astype(np.int16)]  # types that torch has
        for kept, values in zip(planes, stacks, strict=True):
            kept.extend(_middle(each, patch_size) for each in values)
    image, label, scribble = (torch.from_numpy(np.stack(each[:number]))[:, None] for each in planes)
    image = image.float()
    image = (image - image.mean((2, 3), keepdim=True)) / image.std((2, 3), keepdim=True)
    return image, label.short(), scribble.short()


def _middle(plane: np.ndarray, size: Sequence[int]) -> np.ndarray:
    first = [(have - want) // 2 for have, want in zip(plane.shape, size, strict=True)]
    return plane[tuple(slice(f, f + want) for f, want in zip(first, size, strict=True))]


def _learn(
    network: nn.Module, images: Tensor, targets: Sequence[Tensor], loss: Any, one_scale: Any, steps: int
) -> None:
    """Let the training network learn dense labels by heart, as nnU-Net would."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        output = network(images)
        (loss(output.main, targets) + one_scale(output.auxiliary, targets[0])).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _multiply_adds(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops() // 2


def _peak_bytes(step: Callable[[], object], network: nn.Module, teacher: nn.Module | None = None) -> tuple[int, int]:
    """What a step's tensors take at most, and what CUDA holds for them, gaps between them included.

    With weights, gradients and momentum of its network, and its teacher's weights. Of the second step, the first of
    those that are captured: what a step takes is then taken for good.
    """
    step()
    network.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    step()
    kept = 2 * _bytes(network)  # the step made the gradients itself
    kept += 0 if teacher is None else _bytes(teacher)
    return torch.cuda.max_memory_allocated() - allocated + kept, torch.cuda.max_memory_reserved() - reserved + kept


def _bytes(network: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in network.parameters())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, nargs="+", default=[8, 16, 32, 64, 128, 128])
    parser.add_argument("--patch-size", type=int, nargs=2, default=[224, 192])
    parser.add_argument("--images", type=int, default=8, help="through the network per step")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--learn", type=int, default=150, help="steps in which the slices are learned beforehand")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="torch.compile, as the trainers do on CUDA")
    parser.add_argument("--pclmix", type=json.loads, default={}, help="hyper-parameters, as in the plans' entry (JSON)")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device, rng = torch.device(args.device), np.random.default_rng(0)
    config = config_from_plans({"pclmix": args.pclmix}, {})
    stock = _unet(args.features).to(device).train()
    recompute = device.type == "cuda"  # as the trainer
    dual = add_training_parts(_unet(args.features), CLASSES, args.patch_size, config, recompute=recompute)
    dual.to(device).train()
    teacher = None if config.teacher_decay is None else Teacher(dual, config.teacher_decay)

    images, dense, labels = (each.to(device) for each in _hearts(args.images, args.patch_size, rng))
    with torch.no_grad():
        shapes = [logits.shape[2:] for logits in stock(images[:1])]
    targets, dense_targets = (
        [F.interpolate(each.float(), shape, mode="nearest-exact").short() for shape in shapes]
        for each in (labels, dense)
    )
    patches, twins = images_of_a_step(args.images, 1 - config.twin_share, config.twin_share)
    mix = draw_mix(patches, args.patch_size, config.box_fraction, rng, twins)
    present = torch.ones(patches, CLASSES - 1, dtype=torch.bool, device=device)
    present[::4, 0] = False  # a structure is missing in every fourth image
    outside = torch.zeros_like(present)
    outside[1::4, 0] = True  # and reaches beyond the patch in another
    strokes = Strokes(torch.ones(patches, dtype=torch.bool, device=device), present, outside)
    one_scale = DC_and_CE_loss(
        {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False},
        {},
        ignore_label=IGNORE,
        dice_class=MemoryEfficientSoftDiceLoss,
    )
    if args.compile:
        one_scale.dc = torch.compile(one_scale.dc)
    weights = np.array([1 / 2**i for i in range(len(shapes))])
    weights[-1] = 0
    weights = (weights / weights.sum()).tolist()
    loss = DeepSupervisionWrapper(one_scale, weights)
    _learn(dual, images, dense_targets, loss, one_scale, args.learn)
    queue = MemoryQueue(CLASSES, config.queue_length, config.embedding_dimension).to(device)
    full = F.normalize(torch.randn(config.queue_length, CLASSES, config.embedding_dimension, device=device), dim=2)
    queue.enqueue(full, torch.ones(full.shape[:2], dtype=torch.bool, device=device))
    supervised = {
        "dice_ce": PartialDiceCELoss(one_scale, of_logits=False),
        "ce": PartialCrossEntropyLoss(IGNORE, of_logits=False),
    }
    every_scale = DeepSupervisionWrapper(supervised[config.main_supervision], weights)
    auxiliary_loss = supervised[config.auxiliary_supervision]
    objective = PCLMixObjective(config, ClassSpace(CLASSES, IGNORE), every_scale, auxiliary_loss, queue)
    if args.compile:
        objective.compile()

    plain: Any = torch.compile(stock) if args.compile else stock
    training: Any = torch.compile(dual) if args.compile else dual
    ask: Any = torch.compile(teacher) if args.compile and teacher is not None else teacher

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, enabled=device.type == "cuda")

    def stock_step() -> None:
        stock.zero_grad(set_to_none=True)
        with autocast():
            value = loss(plain(images), targets)
        value.backward()

    def gradients(step: StepInput) -> StepResult:
        result = one_pass(training, objective, step, images.shape[1], ask)
        result.loss.backward()
        return result

    run = GraphedStep(gradients, dual.parameters(), print) if device.type == "cuda" else gradients

    def dual_step() -> None:
        drawn = objective.draw(mix, patches, 0.5, rng).to(device)
        dual.zero_grad(set_to_none=True)
        result = run(StepInput(images, targets, drawn, strokes))
        queue.enqueue(result.queue_vectors, result.queue_valid)
        if teacher is not None:
            teacher.follow(dual)

    with torch.no_grad(), autocast():
        output = dual(images)
    predicted = output.main[0].argmax(1)
    right = [2 * ((predicted == c) & (dense[:, 0] == c)).sum().item() for c in range(1, CLASSES)]
    both = [((predicted == c).sum() + (dense == c).sum()).item() for c in range(1, CLASSES)]
    dice = ", ".join(f"{r / max(1, b):.2f}" for r, b in zip(right, both, strict=True))
    output = output._replace(embedding=output.embedding[:patches].detach().requires_grad_())
    scribbles = targets[0][:patches, 0]
    drawn = objective.draw(mix, patches, 0.5, rng).to(device)

    def contrast() -> None:
        main, auxiliary = output.main[0][:patches], output.auxiliary[:patches]
        objective.contrast(main, auxiliary, output.embedding, scribbles, drawn.threshold)[0].backward()

    def pseudo_labels() -> None:
        main, auxiliary = output.main[0][:patches], output.auxiliary[:patches]
        known = scribbles, None, strokes, images[:patches], drawn.asked
        for _ in range(1 if teacher is None else 2):  # of the network's logits, and of the teacher's
            pseudo = objective.pseudo_labels(main, auxiliary, *known)
        objective.mixed(pseudo, drawn)

    one = images[:1]
    planned = _multiply_adds(lambda: stock(one))
    floor = _multiply_adds(lambda: dual(one)) / planned
    steps = {"stock": stock_step, "step": dual_step}
    parts: dict[str, Callable[[], object]] = {"contrast": contrast, "pseudo": pseudo_labels}
    peaks: dict[str, tuple[int, int]] = {}
    if device.type == "cuda":  # what they take as parts of a larger graph, without the host's share
        parts = {name: record(call)[0].replay for name, call in parts.items()}
        peaks = {"stock": _peak_bytes(stock_step, stock), "step": _peak_bytes(dual_step, dual, teacher)}
    seconds = interleaved({**steps, **parts}, args.repeats, device)
    step = seconds["step"] / seconds["stock"]
    extra = (seconds["contrast"] + seconds["pseudo"]) / seconds["step"]
    print(f"{args.images} images of {args.patch_size}, features {args.features}, {device}, {args.threads} threads")
    print(f"predictions have Dice {dice} after {args.learn} steps\n")
    rows = [
        ("multiply-adds of the training network (the floor)", "the planned network", floor),
        ("a training step", "stock's step with as many images", step),
        ("a training step", "stock's step times the floor", step / floor),
        ("contrast with its gradient, and pseudo-labels", "a training step", extra),
    ]
    if teacher is not None:
        # it is asked for the patches alone, and has no backward pass, which takes twice as much as a forward pass
        floor += _multiply_adds(lambda: teacher(one)) / planned * patches / args.images / 3
        rows.append(("multiply-adds of a step, the teacher's forward pass included", "stock's step", floor))
        rows.append(("a training step", "stock's step times these", step / floor))
    if peaks:
        for name, mine, its in zip(MEMORY, peaks["step"], peaks["stock"], strict=True):
            rows.append((name, "stock's with as many images", mine / its))
    print_table(rows)
    print(f"\nmedians of {args.repeats}: " + ", ".join(f"{k} {v * 1e3:.1f} ms" for k, v in seconds.items()))
    for name, peak in peaks.items():
        print("peak {}: tensors {:.2f} GiB, held {:.2f} GiB".format(name, *(each / 2**30 for each in peak)))


if __name__ == "__main__":
    main()
