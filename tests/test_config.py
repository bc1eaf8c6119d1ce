import dataclasses

import pytest

from nnunetv2_pclmix.config import PRESETS, PCLMixConfig, config_from_plans


def test_default_and_published():
    assert config_from_plans({}, {}) == PCLMixConfig()
    published = config_from_plans({"pclmix": {"preset": "published"}}, {})
    assert (published.main_supervision, published.initial_lr, published.momentum) == ("ce", 0.03, 0.9)
    assert (published.mix_consistency_ramp, published.decoder_consistency_on_logits) == (0.0, True)
    assert (published.mirroring, PCLMixConfig().mirroring) == (True, False)
    assert (published.anywhere_share, PCLMixConfig().anywhere_share) == (0.0, None)
    assert (PCLMixConfig().initial_lr, PCLMixConfig().momentum, published.weight_decay) == (0.1, 0.9, 1e-4)


def test_the_configuration_wins_over_the_plans_and_both_over_the_preset():
    plans = {"pclmix": {"preset": "published", "initial_lr": 0.5, "box_fraction": 0.1}}
    config = config_from_plans(plans, {"pclmix": {"box_fraction": 0.3}})
    assert (config.initial_lr, config.box_fraction, config.momentum) == (0.5, 0.3, 0.9)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"preset": "best"}, "expected preset default or published, got 'best'"),
        ({"box_fracton": 0.1}, "unknown hyper-parameter box_fracton"),
        ({"box_fraction": 1.5}, r"expected box_fraction in \[0, 1\], got 1.5"),
        ({"patch_fraction": 0}, "expected patch_fraction > 0"),
        ({"appearance_radius": -1}, "expected appearance_radius >= 0, got -1"),
        ({"main_supervision": "dice"}, "expected main_supervision dice_ce or ce, got 'dice'"),
        ({"closed_world": "False"}, "expected closed_world true or false, got 'False'"),
        ({"mirroring": 0}, "expected mirroring true or false, got 0"),
        ({"two_passes": "no"}, "expected two_passes true or false or null, got 'no'"),
        ({"momentum": "none"}, "expected momentum a number or null, got 'none'"),
        ({"box_fraction": True}, "expected box_fraction a number, got True"),
        ({"queue_length": 1.5}, "expected queue_length a whole number, got 1.5"),
        ({"seed": -1}, "expected seed >= 0, got -1"),
        ({"seed": 2**64}, r"expected seed below 2\^63, got 1.84e\+19"),
        ({"original_weight": float("inf")}, r"expected original_weight below 2\^63, got inf"),
        ({"preset": ["published"]}, r"expected preset .*, got \['published'\]"),
        ({"mix_consistency_ramp": -0.1}, "expected mix_consistency_ramp >= 0, got -0.1"),
        ({"uncertainty_start": float("nan")}, r"expected uncertainty_start in \[0, 1\], got nan"),
        ({"auxiliary_drop_path": 1}, "expected auxiliary_drop_path below 1, got 1"),
        ({"contrast_start": 2.0}, r"expected contrast_start in \[0, 1\], got 2.0"),
        ({"contrast_weight": float("nan")}, "expected contrast_weight >= 0, got nan"),
        ({"contrast_views": 0}, "expected contrast_views > 0, got 0"),
        ({"initial_lr": -0.1}, "expected initial_lr > 0, got -0.1"),
        ({"momentum": 1.5}, "expected momentum from 0 to below 1, got 1.5"),
        ("published", r"expected \{\"name\": value, ...\} in the plans, got 'published'"),
        (None, r"in the plans, got None"),
        ({"contrast_weight": None}, "expected contrast_weight a number, got None"),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        config_from_plans({"pclmix": overrides}, {})


def test_frozen_and_presets_name_real_fields():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PCLMixConfig().seed = 1
    names = {field.name for field in dataclasses.fields(PCLMixConfig)}
    assert all(set(preset) <= names for preset in PRESETS.values())


def test_whole_numbers_are_numbers_and_null_is_for_what_may_be_left_open():
    config = config_from_plans({"pclmix": {"contrast_weight": 0, "momentum": None, "seed": 3, "two_passes": False}}, {})
    assert (config.contrast_weight, config.momentum, config.seed, config.two_passes) == (0, None, 3, False)
