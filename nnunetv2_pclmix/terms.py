"""The terms of the objective by name, and how much each counts while a training goes on."""

from __future__ import annotations

from nnunetv2_pclmix.config import PCLMixConfig
from nnunetv2_pclmix.schedule import gaussian_ramp, power_ramp

TERMS = (
    "supervised_main",
    "supervised_main_mixed",
    "supervised_auxiliary",
    "supervised_auxiliary_mixed",
    "mix_consistency_main",
    "mix_consistency_auxiliary",
    "decoder_consistency",
    "contrast",
    "closed_world_main",
    "closed_world_auxiliary",
    "pseudo_labels_main",
    "pseudo_labels_auxiliary",
)
OF_TWINS = (*(name for name in TERMS if "mix" in name), "decoder_consistency")
OF_PATCHES = tuple(name for name in TERMS if "mix" not in name)


def term_weights(config: PCLMixConfig, progress: float) -> dict[str, float]:
    """Weight of each term at a given progress of the training.

    Args:
        config: hyper-parameters.
        progress: fraction of the training done, t / T in [0, 1].

    Returns:
        A weight for each name in ``TERMS``.
    """
    ramp = gaussian_ramp(progress, config.mix_consistency_start, config.mix_consistency_ramp)
    mix, own = config.mix_consistency_weight * ramp, config.pseudo_label_weight * ramp
    closed_world = config.closed_world_weight if config.closed_world else 0.0
    return {
        "supervised_main": config.original_weight,
        "supervised_main_mixed": config.mixed_weight,
        "supervised_auxiliary": config.auxiliary_weight * config.original_weight,
        "supervised_auxiliary_mixed": config.auxiliary_weight * config.mixed_weight,
        "mix_consistency_main": mix,
        "mix_consistency_auxiliary": config.auxiliary_weight * mix,
        "decoder_consistency": config.decoder_consistency_weight
        * gaussian_ramp(progress, config.decoder_consistency_start, config.decoder_consistency_ramp),
        "contrast": config.contrast_weight * power_ramp(progress, config.contrast_start, config.contrast_exponent),
        "closed_world_main": closed_world,
        "closed_world_auxiliary": config.auxiliary_weight * closed_world,
        "pseudo_labels_main": own,
        "pseudo_labels_auxiliary": config.auxiliary_weight * own,
    }
