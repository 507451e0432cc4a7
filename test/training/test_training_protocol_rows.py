import pytest
import torch
from training_scenes import slab

from concerto_ros.errors import ConcertoError
from training.evaluation.training_rows import half_features, measure_scaling
from training.protocol.config import RegimesSection
from training.protocol.encoders.example import HandMade
from training.protocol.feature_rows import LevelRows, RowParts
from training.protocol.level_set import make_level_set
from training.protocol.regimes import Regimes
from training.protocol.rows import cache_rows
from training.protocol.source import HierarchySource

CPU = torch.device('cpu')


def test_parts_are_read_like_one_matrix():
    whole = torch.randn(9, 3).half()
    parts = RowParts([whole[:4], whole[4:4], whole[4:5], whole[5:]])
    assert len(parts) == 9
    for row in ([0, 3, 4, 5, 8], [8, 8, 0, 4, 5], [2], []):
        chosen = torch.tensor(row, dtype=torch.int64)
        assert torch.equal(parts.take(chosen), whole[chosen])


def test_rows_of_some_levels_are_measured_as_if_they_were_laid_out():
    whole = torch.randn(9, 3).half()
    row = torch.tensor([0, 2, 5, 6, 8])
    levels = make_level_set('0,2', [0, 2], [1, 1, 1], is_unit=False)
    rows = LevelRows(RowParts(whole.split(4)), row, levels, CPU)
    laid_out = levels.take(whole[row])
    assert rows.shape == laid_out.shape
    assert len(rows) == len(laid_out)
    assert torch.equal(rows[torch.tensor([4, 0])], laid_out[[4, 0]])
    told, expected = (measure_scaling(feat, rows_per_pass=2) for feat in (rows, laid_out))
    assert torch.equal(told.mean, expected.mean)
    assert torch.equal(told.spread, expected.spread)


@pytest.mark.parametrize(
    'feat',
    [
        [[1.0, 1.0, 1e-6], [1.0, 1.0, 1e-5]],  # a level has hardly a digit left
        [[1.0, 1.0, 1.0], [1e-9, 0.0, 1e-9]],  # a row has become zero
    ],
)
def test_what_float16_makes_nothing_of_is_refused(feat):
    with pytest.raises(ConcertoError, match='mine are too small to be cached in float16: magnify'):
        half_features(torch.tensor(feat), 'mine', 'magnify', [2, 1])


@pytest.mark.parametrize('feat', [[[0.0, 0.0, 0.0], [1.0, 1e-9, 0.0]], []])
def test_zeros_and_small_numbers_beside_others_are_kept(feat):
    told = torch.tensor(feat).reshape(-1, 3)
    assert torch.equal(half_features(told, 'mine', 'magnify', [2, 1]), told.half())


class Faint(HandMade):
    """Gives numbers on a level that float16 does not hold."""

    def __call__(self, scene):
        found = super().__call__(scene)
        found.levels[3].feat.mul_(1e-8)
        return found


def cached(seed, most=20, encoder=HandMade):
    source = HierarchySource(
        encoder(CPU), voxel_size=0.04, mode='nearest', query='voxel', unit_levels=False,
        device=CPU,
    )  # fmt: skip
    regimes = Regimes(RegimesSection(points_per_scene='5'), ['a/scene0', 'a/scene1'], 0)
    return cache_rows(source, [slab(0, 0.1), slab(1, 0.1)], regimes, most, seed)


def test_which_voxels_are_kept_of_a_scene_is_drawn_by_the_seed():
    first, again, other = (cached(seed) for seed in (0, 0, 1))
    assert first.labelled[0].scene.tolist() == [0] * 20 + [1] * 20
    assert len(first.labelled[5]) <= 10
    feats = [rows.feat.take(rows.labelled[0].row) for rows in (first, again, other)]
    assert torch.equal(feats[0], feats[1])
    assert not torch.equal(feats[0], feats[2])
    whole = cached(0, most=0)
    assert len(whole.labelled[0]) == len(whole.feat) > 300


def test_a_level_that_the_cache_would_lose_is_refused():
    with pytest.raises(ConcertoError, match='scene0: features of hand-made are too small'):
        cached(0, encoder=Faint)
