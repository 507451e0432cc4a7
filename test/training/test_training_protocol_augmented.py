import pytest
import torch
from training_scenes import slab

from training.evaluation.features import DenseFeatures, SceneFeatures
from training.protocol.augmented import AugmentedCrops, train_on_scenes
from training.protocol.config import LinearSection
from training.protocol.level_set import make_level_set

CPU = torch.device('cpu')
EDGE = 0.1  # of a voxel [m]
MOST = 40
ASKED = []  # how many rows `Noting` was asked for at once
CONFIG = LinearSection(
    features='augmented', epochs=2, warmup_epochs=0, batch_size=2, max_points=MOST
)


class Noting(DenseFeatures):
    """Notes how many rows it is asked for."""

    def select(self, rows):
        ASKED.append(len(rows))
        return super().select(rows)


class Points:
    """Gives each raw point its place."""

    name, num_channels = 'points', 3

    def __call__(self, scene):
        feat = Noting(torch.from_numpy(scene.coord))
        return SceneFeatures(features=feat, inverse=torch.arange(len(scene.coord)))


@pytest.fixture
def crops():
    return AugmentedCrops([slab(seed, EDGE) for seed in range(3)], CONFIG, EDGE, seed=0)


def coords(crops, epoch, step=0):
    return [crop.coord.tolist() for crop in crops.batch(epoch, step)]


def test_each_epoch_sees_each_scene_once_and_otherwise(crops):
    assert crops.steps_per_epoch == 2
    assert [len(coords(crops, 0, step)) for step in range(2)] == [2, 1]
    names = [crop.name for step in range(2) for crop in crops.batch(0, step)]
    assert sorted(names) == ['scene0', 'scene1', 'scene2']
    assert coords(crops, 0) == coords(crops, 0)
    alone = AugmentedCrops([slab(0, EDGE)], CONFIG, EDGE, seed=0)
    assert coords(alone, 0) != coords(alone, 1)
    assert coords(alone, 0) != coords(AugmentedCrops([slab(0, EDGE)], CONFIG, EDGE, seed=1), 0)


def test_the_order_of_scenes_changes_from_epoch_to_epoch(crops):
    orders = [[crop.name for crop in crops.batch(epoch, 0)] for epoch in range(8)]
    assert len(set(map(tuple, orders))) > 1


def test_a_crop_is_a_part_of_an_augmented_scene(crops):
    whole = slab(0, EDGE)
    [crop] = AugmentedCrops([whole], CONFIG, EDGE, seed=0).batch(0, 0)
    assert MOST < len(crop.coord) < 0.7 * len(whole.coord)
    assert len(crop.coord) == len(crop.color) == len(crop.normal) == len(crop.segment)
    assert not set(map(tuple, crop.coord.tolist())) & set(map(tuple, whole.coord.tolist()))
    low, high = crop.coord.min(0), crop.coord.max(0)
    assert ((high - low)[:2] < 0.95).all()  # what is near, not drawn all over


def test_no_more_rows_are_learnt_from_than_a_crop_may_have(crops):
    ASKED.clear()
    levels = [make_level_set('all', [0], [3], is_unit=False)]
    train_on_scenes(Points(), crops, levels, 2, CONFIG, 0, CPU)
    assert ASKED == [MOST] * 6  # three scenes in two epochs, of more points than voxels
