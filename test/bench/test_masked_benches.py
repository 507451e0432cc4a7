"""The references of what masked scene modelling is compared with compute what ours does."""

import numpy as np
import pytest
import torch

from bench import masks
from bench.hierarchy import WAYS, random_features
from bench.masked_step import STAGES, masked_step
from bench.resident import with_peak
from bench.stages import Stages
from concerto_ros.config.tree import build
from training.masked_scene.config import MaskedConfig
from training.masked_scene.masks import hidden_cells
from training.structures import Links, SceneSample


@pytest.mark.parametrize(('name', 'width'), [('features', 928), ('scores', 20)])
def test_dense_grids_hold_what_the_hash_finds(name, width):
    generator = torch.Generator().manual_seed(0)
    voxel = torch.unique(torch.randint(40, (500, 3), generator=generator), dim=0)
    hierarchy = random_features(voxel)
    dense, ours = (way(hierarchy, voxel) for way in WAYS[name])
    assert ours.shape == (len(voxel), width)
    torch.testing.assert_close(ours, dense, atol=1e-4, rtol=0.0)


def test_a_peak_counts_what_was_given_back():
    _, before = with_peak(lambda: None)
    _, peak = with_peak(lambda: torch.ones(1 << 26, dtype=torch.uint8).sum())
    assert peak - before > 0.9 * (1 << 26)


@pytest.fixture
def points():
    """Return several views of a small cloud."""
    generator = torch.Generator().manual_seed(0)
    return masks.views(torch.unique(torch.randint(200, (500, 3), generator=generator), dim=0))


def test_unique_cells_hide_as_many_as_the_plan(points):
    masks.check_equality(points, masks.plan_of(points))


def test_the_check_sees_a_cell_too_many(points, monkeypatch):
    def one_more(hidden, plan):
        *_, coarsest = levels = hidden_cells(hidden, plan)
        coarsest[coarsest.logical_not().nonzero()[0]] = True
        return levels

    monkeypatch.setattr(masks, 'hidden_cells', one_more)
    with pytest.raises(AssertionError):
        masks.check_equality(points, masks.plan_of(points))


def test_a_masked_step_has_all_its_stages():
    rng = np.random.default_rng(0)
    coord = rng.uniform(0, 3, (500, 3)).astype(np.float32)
    normal = np.tile(np.float32([0, 0, 1]), (500, 1))
    scene = SceneSample(
        name='dust', coord=coord, color=255 * coord / 3, normal=normal,
        images=np.zeros((0, 1, 1, 3), np.uint8), tokens=np.zeros((0, 0, 0), np.float16),
        links=Links(point=np.zeros(0, int), image=np.zeros(0, int), patch=np.zeros((0, 2))),
    )  # fmt: skip
    config = build(MaskedConfig, {
        'data.voxel_size': 0.1, 'network.kind': 'concerto', 'network.size': 'nano',
        'views.crop_size': 300,
    })  # fmt: skip
    stages = Stages()
    step = masked_step(config, scene, stages)
    for number in range(2):
        step(number)
    assert len(stages.rounds) == 2
    assert set(stages.rounds[1]) == set(STAGES)
    assert min(stages.rounds[1].values()) > 0
