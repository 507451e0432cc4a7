"""Monitors of features, and the rule that stops a run."""

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


def _watch(first_step=0, levels=(0, 1)):
    return CollapseWatch(CONFIG, first_step, levels)


def test_a_run_stops_when_all_levels_stay_low():
    watch = _watch(first_step=10)
    for step in range(12):  # of which two count
        watch.check(step, [0.02, 0.05])
    with pytest.raises(ConcertoError, match='have collapsed at all levels'):
        watch.check(12, [0.02, 0.05])


@pytest.mark.parametrize('healthy', [[0.02, 0.3], [0.1, 0.1]])
def test_one_step_with_one_good_level_starts_the_count_anew(healthy):
    watch = _watch()
    for step in range(20):
        watch.check(step, healthy if step % 3 == 2 else [0.02, 0.02])


def test_levels_whose_rank_is_unknown_change_nothing():
    watch = _watch()
    for step, share in enumerate([0.02, math.nan, math.nan, 0.3, math.nan]):
        watch.check(step, [0.02, share] if step < 2 else [0.3, share])
    assert watch.low_since.tolist() == [-1, -1]


def test_parts_of_one_step_count_once():
    watch = _watch(levels=(2,))
    for step in (0, 0, 0, 1, 1):
        watch.check(step, [0.02])
    with pytest.raises(ConcertoError, match='for 3 steps, up to step 2'):
        watch.check(2, [0.02])


def test_a_low_level_is_named_once(caplog):
    watch = _watch(levels=(1, 4))
    for step in range(8):
        watch.check(step, [0.5, 0.02])
    assert [r.getMessage() for r in caplog.records] == [
        "the teacher's features have collapsed at level 4: their effective rank has been below "
        '0.1 of what it could be for 3 steps, up to step 2, and is 0.020 now: loss.levels can '
        'leave it out'
    ]


def test_a_run_that_goes_on_has_not_forgotten():
    before, after = _watch(), _watch()
    for step in range(2):
        before.check(step, [0.02, 0.02])
    after.load_state_dict(before.state_dict())
    with pytest.raises(ConcertoError, match='up to step 2'):
        after.check(2, [0.02, 0.02])
