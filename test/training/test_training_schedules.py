"""Schedules are functions of the step that begin and end where they should."""

import pytest

from training.config import DistillationConfig, OptimizerConfig
from training.masked_scene.config import MaskedOptimizerConfig, TeacherConfig
from training.masked_scene.schedule import masked_values
from training.schedules import cosine, linear, one_cycle, step_values

NUM_STEPS = 1001


def at(step):
    return step_values(step, NUM_STEPS, OptimizerConfig(), DistillationConfig())


def test_one_cycle_rises_and_falls():
    first, peak, last = at(0), at(50), at(1000)
    assert (first.lr, peak.lr, last.lr) == pytest.approx((4e-4, 4e-3, 4e-7))
    assert (first.beta1, peak.beta1, last.beta1) == pytest.approx((0.95, 0.85, 0.95))
    assert at(25).lr == pytest.approx((4e-4 + 4e-3) / 2)  # half of a cosine's way


def test_masks_and_temperature_warm_up_then_stay():
    middle, after = at(25), at(60)
    assert (middle.mask_size, middle.mask_ratio) == pytest.approx((0.25, 0.5))
    assert middle.teacher_temp == pytest.approx(0.055)
    assert (after.mask_size, after.mask_ratio) == pytest.approx((0.4, 0.7))
    assert after.teacher_temp == pytest.approx(0.07)


def test_teacher_and_decay_follow_a_cosine_over_all_steps():
    assert (at(0).momentum, at(500).momentum, at(1000).momentum) == pytest.approx(
        (0.994, 0.997, 1.0)
    )
    assert (at(0).weight_decay, at(1000).weight_decay) == pytest.approx((0.04, 0.2))


def test_a_run_of_one_step_has_values():
    values = step_values(0, 1, OptimizerConfig(), DistillationConfig(warmup=0.0))
    assert values.mask_ratio == 0.7
    assert values.lr == pytest.approx(4e-4)


def masked_at(step, num_steps=NUM_STEPS - 1, **optimizer):
    return masked_values(step, num_steps, MaskedOptimizerConfig(**optimizer), TeacherConfig())


def test_masked_scene_modelling_rises_in_a_line_and_falls_along_a_cosine():
    rates = [masked_at(step, lr=2.0, warmup=0.1).lr for step in (0, 49, 100, 550, 999)]
    assert rates == pytest.approx([0.02, 1.0, 2.0, 1.0, 0.0], abs=1e-4)
    assert rates[-1] > 0  # the last step is not in vain
    assert masked_at(0, num_steps=1, warmup=0.0).lr == masked_at(0, num_steps=1, warmup=1.0).lr


def test_masked_scene_modelling_ends_with_a_teacher_that_stays():
    assert [masked_at(step).momentum for step in (0, 999)] == pytest.approx([0.996, 1.0])
    assert (masked_at(0).beta1, masked_at(0).weight_decay) == (0.9, 0.05)


def test_ways_from_first_to_last():
    assert linear(0.5, 1.0, 3.0) == 2.0
    assert [cosine(s, 1.0, 3.0) for s in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 2.0, 3.0])
    assert one_cycle(1.0, 1.0, 1.0, 3.0, 0.0) == 3.0
