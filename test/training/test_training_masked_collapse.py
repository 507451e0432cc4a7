"""Monitors of targets, and the rule that stops a run."""

import math

import pytest
import torch

from concerto_ros.errors import ConcertoError
from training.masked_scene.collapse import CollapseWatch, spread
from training.masked_scene.config import CollapseConfig

CONFIG = CollapseConfig(least_rank=0.1, patience=3)


def _noise(rows, channels):
    return torch.randn(rows, channels, generator=torch.Generator().manual_seed(0))


def test_values_that_can_be_computed_by_hand():
    target = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    std, cosine, rank = spread(target).tolist()
    assert std == pytest.approx((math.sqrt(8 / 3) + math.sqrt(2 / 3)) / 2)
    assert cosine == pytest.approx(-4 / 12)
    shares = (2 / 3, 1 / 3)  # of the singular values sqrt(8) and sqrt(2)
    assert rank == pytest.approx(math.exp(-sum(s * math.log(s) for s in shares)) / 2)


@pytest.mark.parametrize(('rows', 'channels'), [(2000, 32), (10, 32), (2, 5)])
def test_targets_that_differ_in_all_directions_have_a_high_rank(rows, channels):
    _, cosine, rank = spread(_noise(rows, channels)).tolist()
    assert 0.7 < rank <= 1.0 + 1e-6
    assert rows < 10 or abs(cosine) < 0.1


@pytest.mark.parametrize('rows', [2000, 100])
def test_targets_that_hardly_differ_have_none(rows):
    constant = 5 + torch.zeros(rows, 64)
    line = constant + _noise(rows, 1) * _noise(1, 64)
    alike = constant + 0.05 * _noise(rows, 64)
    assert spread(line)[2] == pytest.approx(1 / 64, rel=0.01)
    assert spread(constant)[2] == spread(alike)[2] == 0
    assert spread(constant)[:2].tolist() == pytest.approx([0, 1])
    assert spread(torch.zeros(rows, 64)).isfinite().all()


def test_broken_targets_are_left_to_those_who_stop_for_them():
    target = _noise(20, 4)
    target[3, 1] = math.inf
    assert spread(target).isnan().all()


def test_half_precision_of_the_caller_does_not_matter():
    target = _noise(200, 16)
    with torch.autocast('cpu', torch.bfloat16):
        half = spread(target)
    assert torch.equal(half, spread(target))


def test_a_run_stops_when_all_levels_stay_low():
    watch = CollapseWatch(CONFIG, first_step=10)
    for step in range(12):  # of which two count
        watch.check(step, [0.02, 0.05])
    with pytest.raises(ConcertoError, match='targets have collapsed'):
        watch.check(12, [0.02, 0.05])


@pytest.mark.parametrize('healthy', [[0.02, 0.3], [0.1, 0.1], []])
def test_one_step_with_one_good_level_starts_the_count_anew(healthy):
    watch = CollapseWatch(CONFIG, first_step=0)
    for step in range(20):
        watch.check(step, healthy if step % 3 == 2 else [0.02, 0.02])


def test_parts_of_one_step_count_once():
    watch = CollapseWatch(CONFIG, first_step=0)
    for step in (0, 0, 0, 1, 1):
        watch.check(step, [0.02])
    with pytest.raises(ConcertoError, match='for 3 steps, up to step 2'):
        watch.check(2, [0.02])
