"""Add a small configuration to a copy of a dataset's plans.

It has fewer features and a smaller batch, so that a CPU or a small card can train it. The original plans stay as they
are, and no new preprocessing is needed unless the spacing changes.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from nnunetv2_pclmix.folders import dataset_folder
from nnunetv2_pclmix.plain_model import read_plans
from nnunetv2_pclmix.whole_file import whole_file
from scribble_conversion.console import UserError

FEATURES = (8, 16, 32, 64, 128, 128)
BATCH_SIZE = 8
PER_STAGE = ("kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``nnUNetv2_pclmix small_plans``."""
    parser.add_argument("-d", "--dataset", required=True, metavar="ID", help="dataset, by number, name or folder")
    parser.add_argument("-c", "--configuration", default="2d", help="configuration to shrink (default: 2d)")
    parser.add_argument("-p", "--plans", default="nnUNetPlans", help="plans to copy (default: nnUNetPlans)")
    parser.add_argument("--to", metavar="PLANS", help="name of the copy (default: the plans' name with Small behind)")
    parser.add_argument(
        "--name",
        metavar="CONFIGURATION",
        help="name of the new configuration (default: that of the one to shrink with _small behind)",
    )
    parser.add_argument("--patch-size", type=int, nargs="+", metavar="N", help="voxels per axis (default: as planned)")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, metavar="N", help=f"default: {BATCH_SIZE}")
    parser.add_argument(
        "--features",
        type=int,
        nargs="+",
        metavar="N",
        help=f"features per stage, which sets the number of stages (default: {' '.join(map(str, FEATURES))})",
    )
    parser.add_argument(
        "--spacing", type=float, nargs="+", metavar="MM", help="another voxel size; needs preprocessing of its own"
    )
    parser.add_argument(
        "--pclmix",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="hyper-parameters of nnUNetTrainerPCLMix to write into the copy, for instance preset=published",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the copy where it exists")


def run(args: argparse.Namespace) -> int:
    """Run ``nnUNetv2_pclmix small_plans``."""
    folder, dataset = dataset_folder("nnUNet_preprocessed", args.dataset), Path(args.dataset).name
    source = folder / f"{args.plans}.json"
    if not source.is_file():
        raise UserError(f"{source} does not exist; run nnUNetv2_plan_and_preprocess -d {dataset} first")
    new_plans = args.to or f"{args.plans}Small"
    name = args.name or f"{args.configuration}_small"
    target = folder / f"{new_plans}.json"
    if target == source:
        raise UserError(f"the copy must not be called {args.plans} as well; name another with --to")
    if target.exists() and not args.overwrite:
        raise UserError(f"{target} exists; add --overwrite to replace it, or name another copy with --to")
    if target.exists() and not _is_copy(target, new_plans):
        raise UserError(f"{target} is no copy that this command has made; name another with --to")

    for option, text in (("--to", new_plans), ("--name", name)):
        if Path(text).name != text or text == ".." or "__" in text:  # which nnU-Net parts names of folders by
            raise UserError(f"expected a name without / and __ after {option}, got {text}")
    plans = read_plans(source)
    if name in plans["configurations"]:
        raise UserError(f"{args.plans} has a configuration {name} already; name the new one otherwise with --name")
    whole = resolve_configuration(plans, args.configuration)
    small = shrink_configuration(
        whole,
        patch_size=args.patch_size,
        batch_size=args.batch_size,
        features=args.features,
    )
    small["inherits_from"] = args.configuration
    if args.spacing:
        small.update(respace(whole, args.spacing, f"{new_plans}_{name}"))
    overrides = parse_overrides(args.pclmix)
    if not isinstance(plans.get("pclmix", {}), dict):
        raise UserError(f"{source}: expected names with values as pclmix, got {plans['pclmix']!r}; correct it")
    if overrides and isinstance(whole.get("pclmix"), dict):  # which would overrule those of the plans
        small["pclmix"] = {**whole["pclmix"], **overrides}
    copy = {**plans, "plans_name": new_plans, "configurations": {**plans["configurations"], name: small}}
    _announce(copy, name)
    if overrides:
        copy["pclmix"] = {**plans.get("pclmix", {}), **overrides}
    _check_overrides(copy, name)
    _write(copy, target)

    print(f"Written: {target}, with the configuration {name}")
    if args.spacing:
        print(f"Preprocess it: nnUNetv2_preprocess -d {dataset} -plans_name {new_plans} -c {name}")
    print(f"Train it: nnUNetv2_train {dataset} {name} 0 -p {new_plans} -tr nnUNetTrainerPCLMix")
    return 0


def _is_copy(file: Path, name: str) -> bool:
    """Whether these are plans with a configuration that has an architecture besides the one it inherits from."""
    try:
        plans = read_plans(file)
    except (OSError, UserError):
        return False
    added = any({"inherits_from", "architecture"} <= each.keys() for each in plans["configurations"].values())
    return added and plans.get("plans_name") == name


def _write(plans: Mapping[str, Any], target: Path) -> None:
    """Write plans, all or nothing.

    Raises:
        UserError: they cannot be written.
    """
    try:
        with whole_file(target) as partial:
            partial.write_text(json.dumps(plans, indent=4) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror})") from error


def _announce(plans: dict[str, Any], name: str) -> None:
    """Let the first stage of a cascade predict for a new second one, too."""
    previous = resolve_configuration(plans, name).get("previous_stage")
    if previous:
        following = resolve_configuration(plans, previous).get("next_stage") or []
        following = [following] if isinstance(following, str) else list(following)
        configurations = plans["configurations"]
        configurations[previous] = {**configurations[previous], "next_stage": [*following, name]}


def resolve_configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with everything it inherits, as nnU-Net's ``PlansManager`` resolves it.

    Raises:
        UserError: the plans have no such configuration, or it inherits from itself.
    """
    resolved: dict[str, Any] = {}
    seen: list[str] = []
    following: str | None = name
    while following is not None:
        if following not in plans["configurations"]:
            raise UserError(f"the plans have no configuration {following}; they have {list(plans['configurations'])}")
        if following in seen:
            raise UserError(f"the configuration {name} inherits from itself")
        seen.append(following)
        configuration = plans["configurations"][following]
        resolved = {**deepcopy(configuration), **resolved}
        following = configuration.get("inherits_from")
    return resolved


def shrink_configuration(
    configuration: Mapping[str, Any],
    *,
    patch_size: Sequence[int] | None,
    batch_size: int,
    features: Sequence[int] | None,
) -> dict[str, Any]:
    """The entries in which a small configuration differs from the one it inherits from.

    Args:
        configuration: the full configuration to shrink.
        patch_size: voxels per axis; None keeps the planned size.
        batch_size: patches per step.
        features: features per stage; None takes ``FEATURES``, as many as there are stages.

    Returns:
        ``patch_size``, ``batch_size`` and ``architecture``.

    Raises:
        UserError: a value does not fit the plan; the text names what would.
    """
    if "architecture" not in configuration:
        raise UserError("these plans are of an old format without 'architecture'; plan the dataset again")
    if batch_size < 1:
        raise UserError(f"expected a positive batch size, got {batch_size}")
    patch = list(patch_size or configuration["patch_size"])
    if len(patch) != len(configuration["patch_size"]):
        raise UserError(f"expected a patch of {len(configuration['patch_size'])} axes, got {patch}")

    architecture = deepcopy(configuration["architecture"])
    kwargs = architecture["arch_kwargs"]
    planned = kwargs["n_stages"]
    widths = list(features or FEATURES[:planned])
    if not 2 <= len(widths) <= planned or min(widths) < 1:
        raise UserError(f"expected 2 to {planned} positive features, one per stage of the plan, got {widths}")
    kwargs["n_stages"], kwargs["features_per_stage"] = len(widths), widths
    for key in PER_STAGE:
        if isinstance(kwargs.get(key), list):
            kwargs[key] = kwargs[key][: len(widths)]
    if isinstance(kwargs.get("n_conv_per_stage_decoder"), list):
        kwargs["n_conv_per_stage_decoder"] = kwargs["n_conv_per_stage_decoder"][: len(widths) - 1]
    steps = [math.prod(strides) for strides in zip(*kwargs["strides"], strict=True)]
    if any(size < 1 or size % step for size, step in zip(patch, steps, strict=True)):
        raise UserError(f"expected a patch size divisible by {steps} (the network's strides), got {patch}")
    if patch == steps:
        raise UserError(
            f"a patch of {patch} is a single voxel in the last of {len(widths)} stages, which cannot be normalised; "
            "name a larger patch or fewer features"
        )
    return {"patch_size": patch, "batch_size": batch_size, "architecture": architecture}


def respace(configuration: Mapping[str, Any], spacing: Sequence[float], data_identifier: str) -> dict[str, Any]:
    """The entries that change with the voxel size.

    Args:
        configuration: the full configuration.
        spacing: millimetres per voxel along each axis of the configuration.
        data_identifier: name of the folder for the data preprocessed with it.

    Raises:
        UserError: the number of axes is another one, or a value is not positive and finite.
    """
    old = configuration["spacing"]
    if len(spacing) != len(old) or not all(0 < value < math.inf for value in spacing):
        raise UserError(f"expected {len(old)} positive values as spacing, got {list(spacing)}")
    sizes = configuration["median_image_size_in_voxels"]
    return {
        "data_identifier": data_identifier,
        "spacing": list(spacing),
        "median_image_size_in_voxels": [
            float(round(size * before / now)) for size, before, now in zip(sizes, old, spacing, strict=True)
        ],
    }


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Split ``KEY=VALUE`` pairs; a value that is no JSON is taken as text.

    Raises:
        UserError: a pair has no ``=``.
    """
    overrides = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"expected KEY=VALUE after --pclmix, got {pair!r}")
        try:
            overrides[key] = json.loads(value)
        except ValueError:
            overrides[key] = value
    return overrides


def _check_overrides(plans: Mapping[str, Any], name: str) -> None:
    from nnunetv2_pclmix.config import config_from_plans

    try:
        config_from_plans(plans, resolve_configuration(plans, name))
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
