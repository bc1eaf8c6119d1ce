"""Every hyper-parameter of the method, with its source. A user overrides them in the plans file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_type_hints


@dataclass(frozen=True)
class PCLMixConfig:
    """Hyper-parameters of ``nnUNetTrainerPCLMix``; the defaults are the preset ``default``.

    Lengths and starts are fractions of the training length. "published" names the value of Lei et al., ICIC 2024.

    To override, put ``"pclmix": {"preset": "published", "box_fraction": 0.3}`` into the plans file, at its top level or
    in a configuration (which wins); checkpoints then record it.
    """

    preset: str = "default"
    seed: int | None = None  # seeds torch, numpy and the loader's workers; None: fresh randomness, as nnU-Net

    # Loader
    # Patches drawn per step over the planned batch, and share of mixed twins among all images of a step. Together they
    # keep the number of images through the network, and the memory, the plan was made for. Twins show nothing new, so
    # half of them (published) leaves fewer images to learn from
    patch_fraction: float = 0.875
    twin_share: float = 0.125
    # Patches first and twins after them, with gradients added up, instead of all in one forward pass: less
    # memory. None: where one pass would have more images than the plan was made for (planned batches of 2)
    two_passes: bool | None = None
    cuda_graph: bool = True  # on one GPU and in one pass, tell it of a step's kernels at once instead of one by one
    box_fraction: float = 0.2  # share of the patch a mix box covers; published
    # Of the patches not centred on a structure, those from anywhere in the image instead of around a labelled voxel.
    # None: all where a patch holds less than half of an image, if the closed world says what is there; published: 0
    anywhere_share: float | None = None
    # Mixed supervision: share of the patches drawn from cases without any label and, of the others, from densely
    # labelled ones (None: as many as among the cases). Without effect where all cases have scribbles. Not in the paper
    unlabelled_share: float = 0.25
    dense_share: float | None = None
    # Mirrored images, in training and in prediction, as nnU-Net has them. Where images lie alike, what is left and what
    # is right tells structures apart. published: True
    mirroring: bool = False
    # Voxels outside the image are unlabelled instead of background; so is labelled background where all channels are 0
    # around what is imaged, which nnU-Net's preprocessing marks alike
    padding_as_ignore: bool = True

    # Networks
    auxiliary_width_ratio: float = 0.5  # width of the Swin decoder over the encoder's; published: 96 at stride 4
    auxiliary_depth: int = 2  # published
    auxiliary_window: int = 7  # published
    auxiliary_attention_stride: int = 8  # of the highest stage with attention, which costs most there; published: 4
    auxiliary_drop_path: float = 0.1  # published
    embedding_dimension: int = 64  # half the cost of 128, with which no difference was seen
    embedding_stride: int = 8  # published

    # Supervision by scribbles
    main_supervision: Literal["dice_ce", "ce"] = "dice_ce"  # nnU-Net's partial Dice + CE; published: ce
    auxiliary_supervision: Literal["dice_ce", "ce"] = "ce"  # the same for the auxiliary decoder; published
    original_weight: float = 0.875  # of the supervised loss on the patches, their share; published: 1
    mixed_weight: float = 0.125  # of the supervised loss on the mixed twins, their share; published: 1
    auxiliary_weight: float = 0.4  # of the auxiliary decoder in all terms; published

    # Pseudo-labels: of the twins (mix consistency) and, not in the paper, of the patches themselves. Both begin alike
    mix_consistency_weight: float = 1.0  # published
    mix_consistency_start: float = 0.1  # published: 0
    mix_consistency_ramp: float = 0.4  # length of the ramp; published: 0, full strength from the first step
    mix_consistency_dice: float = 1.0  # weight of Dice beside cross-entropy, for rare classes; published: 0
    pseudo_label_weight: float = 1.0  # of the patches' own, by a decoder chosen by chance; published: 0
    mix_consistency_certain_only: bool = False  # leave uncertain pseudo-labels out; published: False
    # They come from a copy of the network whose weights are averaged over past steps with this decay (teacher.py), say
    # 0.999: sometimes a gain, for steps 1.3 times as long, but in a short training a class vanished. None: from the
    # network as it is; published
    teacher_decay: float | None = None

    # Appearance: near the borders of a prediction, pseudo-labels also follow the grey values of the image's own strokes
    # (appearance.py). published: 0
    appearance_weight: float = 4.0  # of the log density beside the logits; 0 turns it off
    appearance_margin: float = 4.0  # nats by which one that looks exactly like what is predicted must fit better
    appearance_radius: int = 2  # voxels (of the finest spacing) that a border may move
    # Where a thin structure meets a wide one, this much of how often the thin one's strokes met a grey value counts
    # instead (thin_structures.py); without appearance_weight no effect. published: 0
    thin_structure_weight: float = 4.0

    # Closed world: what no stroke vouches for is no structure (closed_world.py), in the pseudo-labels, and by a loss of
    # its own from the first step on. Turn it off where annotators left structures without a stroke in images that they
    # scribbled. published: False
    closed_world: bool = True
    closed_world_weight: float = 1.0

    # Cross-decoder consistency
    decoder_consistency_weight: float = 1.0
    decoder_consistency_start: float = 0.0
    decoder_consistency_ramp: float = 1.0  # published: exp(-5 (1 - t/T')^2)
    decoder_consistency_on_logits: bool = False  # published: True

    # Pixel contrast
    contrast_weight: float = 0.1  # published
    contrast_start: float = 1 / 60  # published
    contrast_exponent: float = 0.9  # published
    contrast_temperature: float = 0.07  # published
    contrast_views: int = 100  # anchors per image and class; published
    contrast_anchors: int = 1024  # in all; published
    queue_length: int = 500  # class means per class; published
    uncertainty_start: float = 0.75  # published: (0.75 + 0.25 ramp) ln 2

    # Optimiser; None keeps nnU-Net's (SGD 0.01, momentum 0.99 Nesterov, 3e-5). A gradient moves the weights as far as
    # with these, but at once: with a momentum of 0.99 they swing, and the pseudo-labels, which they make, with them
    initial_lr: float | None = 0.1  # published: 0.03
    momentum: float | None = 0.9  # published, no Nesterov
    weight_decay: float | None = None  # published: 1e-4

    def __post_init__(self) -> None:
        for name, kinds in _kinds().items():
            _check_kind(name, getattr(self, name), kinds)
        for name in POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"pclmix: expected {name} > 0, got {value}")
        if not 0 < self.twin_share < 1:
            raise ValueError(f"pclmix: expected twin_share between 0 and 1, got {self.twin_share}")
        for name in SHARES:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"pclmix: expected {name} in [0, 1], got {value}")
        if self.teacher_decay is not None and not 0 < self.teacher_decay < 1:
            raise ValueError(f"pclmix: expected teacher_decay between 0 and 1, got {self.teacher_decay}")
        if self.auxiliary_drop_path == 1:
            raise ValueError("pclmix: expected auxiliary_drop_path below 1, got 1")
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise ValueError(f"pclmix: expected momentum from 0 to below 1, got {self.momentum}")
        for name, kinds in _kinds().items():
            value = getattr(self, name)
            if {int, float}.intersection(kinds) and value is not None and not 0 <= value < LARGEST:
                wanted = ">= 0" if not value >= 0 else "below 2^63"
                raise ValueError(f"pclmix: expected {name} {wanted}, got {value:.3g}")


LARGEST = 2**63  # what seeds and sizes have to be below
SHARES = (
    "box_fraction",
    "anywhere_share",
    "unlabelled_share",
    "dense_share",
    "auxiliary_drop_path",
    "mix_consistency_start",
    "decoder_consistency_start",
    "contrast_start",
    "uncertainty_start",
)
POSITIVE = (
    "patch_fraction",
    "auxiliary_width_ratio",
    "auxiliary_depth",
    "auxiliary_window",
    "auxiliary_attention_stride",
    "embedding_dimension",
    "embedding_stride",
    "contrast_temperature",
    "contrast_views",
    "contrast_anchors",
    "queue_length",
    "initial_lr",
)


@cache
def _kinds() -> dict[str, tuple[Any, ...]]:
    """What each hyper-parameter may be: types, None, or the words to choose from."""
    hints = get_type_hints(PCLMixConfig)
    alone = {name: hint for name, hint in hints.items() if isinstance(hint, type)}
    return {name: (alone[name],) if name in alone else get_args(hint) for name, hint in hints.items()}


def _check_kind(name: str, value: Any, kinds: tuple[Any, ...]) -> None:
    """Refuse, say, the text "False", which would count as true.

    Raises:
        ValueError: the value is of another kind than expected.
    """
    types = [kind for kind in kinds if isinstance(kind, type)]
    if float in types:
        types.append(int)  # whole numbers are numbers
    if isinstance(value, bool):  # which Python takes for a number, too
        types = [kind for kind in types if kind is bool]
    if not (isinstance(value, tuple(types)) or value in kinds):
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}
        expected = " or ".join(words.get(kind, str(kind)) for kind in kinds)
        raise ValueError(f"pclmix: expected {name} {expected}, got {value!r}")


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "published": {
        "patch_fraction": 0.5,
        "twin_share": 0.5,
        "anywhere_share": 0.0,
        "mirroring": True,
        "main_supervision": "ce",
        "auxiliary_attention_stride": 4,
        "original_weight": 1.0,
        "mixed_weight": 1.0,
        "mix_consistency_start": 0.0,
        "mix_consistency_ramp": 0.0,
        "mix_consistency_dice": 0.0,
        "pseudo_label_weight": 0.0,
        "appearance_weight": 0.0,
        "thin_structure_weight": 0.0,
        "closed_world": False,
        "decoder_consistency_on_logits": True,
        "initial_lr": 0.03,
        "momentum": 0.9,
        "weight_decay": 1e-4,
    },
}


def config_from_plans(plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> PCLMixConfig:
    """The configuration that a plans file asks for.

    Args:
        plans: the plans; its ``pclmix`` entry, if any, holds overrides.
        configuration: the chosen configuration of the plans; its ``pclmix`` entry overrides the former.

    Returns:
        The preset (``default`` unless overridden) with the overrides.

    Raises:
        ValueError: for an unknown preset or name, or a value out of range, naming it.
    """
    overrides: dict[str, Any] = {}
    for holder in (plans, configuration):
        entry = holder.get("pclmix", {})
        if not isinstance(entry, Mapping):
            raise ValueError(f'pclmix: expected {{"name": value, ...}} in the plans, got {entry!r}')
        overrides.update(entry)
    preset = overrides.get("preset", "default")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(f"pclmix: expected preset {' or '.join(PRESETS)}, got {preset!r}")
    known = {field.name for field in dataclasses.fields(PCLMixConfig)}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ValueError(f"pclmix: unknown hyper-parameter {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return PCLMixConfig(**{**PRESETS[preset], **overrides})
