import math

import pytest

from nnunetv2_pclmix.schedule import entropy_threshold, gaussian_ramp, power_ramp


def test_gaussian_ramp_is_the_formula():
    for progress in (0.0, 0.1, 0.25, 0.4, 0.7, 1.0):
        assert gaussian_ramp(progress) == pytest.approx(math.exp(-5 * (1 - progress) ** 2))
        assert gaussian_ramp(progress, 0.0, 0.5) == pytest.approx(math.exp(-5 * (1 - min(progress / 0.5, 1)) ** 2))


def test_gaussian_ramp_waits_for_its_start_and_then_stays_at_one():
    assert gaussian_ramp(0.19, start=0.2, length=0.3) == 0
    assert gaussian_ramp(0.2, start=0.2, length=0.3) == pytest.approx(math.exp(-5))
    assert gaussian_ramp(0.5, start=0.2, length=0.3) == gaussian_ramp(1.0, start=0.2, length=0.3) == 1
    assert gaussian_ramp(0.0, length=0) == 1


def test_power_ramp():
    assert power_ramp(0.01, start=1 / 60) == 0
    assert power_ramp(0.5, start=1 / 60) == pytest.approx(0.5**0.9)


def test_entropy_threshold_rises_to_ln_2():
    assert entropy_threshold(1.0) == pytest.approx(math.log(2))
    assert entropy_threshold(0.0) == pytest.approx((0.75 + 0.25 * math.exp(-5)) * math.log(2))


@pytest.mark.parametrize("progress", [-0.1, 1.1])
def test_progress_is_checked(progress):
    with pytest.raises(ValueError, match=r"expected progress in \[0, 1\]"):
        gaussian_ramp(progress)
    with pytest.raises(ValueError, match=r"expected progress in \[0, 1\]"):
        power_ramp(progress, 0)
