"""Two full views of a scene: the same points, each in voxels of its own, and crops of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from concerto_ros.config.tree import build
from concerto_ros.errors import SourceError
from training.datasets.layout import read_split
from training.datasets.loader import make_loader, rank_batches
from training.datasets.open_scenes import open_scenes
from training.datasets.patch_grid import PatchGrid
from training.masked_scene.config import MaskedConfig
from training.masked_scene.dataset import MaskedDataset
from training.masked_scene.views import collate_masked, make_masked_views
from training.structures import Links, SceneSample

VOXEL = 0.1
PLAIN = {'views.spatial': False, 'views.color': False}


def make_sample(num_points=800, seed=0):
    rng = np.random.default_rng(seed)
    coord = rng.uniform(0, 2, (num_points, 3)).astype(np.float32)
    coord[:, 2] *= 0.3
    normal = np.zeros_like(coord)
    normal[:, 2] = 1
    color = rng.integers(1, 256, coord.shape).astype(np.float32)
    empty = np.zeros(0, np.int64)
    return SceneSample(
        name='room', coord=coord, color=color, normal=normal,
        images=np.zeros((0, 1, 1, 3), np.uint8), tokens=np.zeros((0, 0, 0), np.float16),
        links=Links(point=empty, image=empty, patch=np.zeros((0, 2), np.float32)),
    )  # fmt: skip


def config_of(**values):
    named = {name.replace('__', '.'): value for name, value in values.items()}
    return build(MaskedConfig, {'data.voxel_size': VOXEL, 'views.crop_size': 50, **named})


def views_of(config, sample=None, seed=0):
    return make_masked_views(sample or make_sample(), config, np.random.default_rng(seed))


def batch_of(config, num_scenes=2):
    items = [(s, views_of(config, make_sample(seed=s), s), ()) for s in range(num_scenes)]
    return collate_masked(items)


def test_each_voxel_shows_one_of_its_points():
    sample = make_sample()
    views = views_of(build(MaskedConfig, PLAIN, config_of()), sample)
    for view in views.pair:
        middle = (sample.coord.min(0) + sample.coord.max(0)) / 2
        coord = sample.coord - [middle[0], middle[1], sample.coord[:, 2].min()]
        for number in range(len(view.feat)):
            members = np.flatnonzero(view.voxel == number)
            near = np.abs(coord[members] - view.feat[number, :3]).max(1)
            row = members[near.argmin()]
            assert near.min() < 1e-5
            np.testing.assert_allclose(view.feat[number, 3:6], sample.color[row] / 255, rtol=1e-6)
    first, second = views.pair
    assert not np.array_equal(first.feat, second.feat)  # other points of the same voxels
    assert np.array_equal(first.grid_coord, second.grid_coord)


def test_voxels_count_from_the_views_own_minimum():
    for view in views_of(config_of()).pair:
        assert view.grid_coord.min(0).tolist() == [0, 0, 0]
        assert len(np.unique(view.grid_coord, axis=0)) == len(view.grid_coord)
        cells = np.floor(view.feat[:, :3] / np.float32(VOXEL))
        assert np.array_equal(cells - cells.min(0), view.grid_coord)


def test_views_differ_but_share_their_scale():
    sample = make_sample(seed=1)
    ends = [sample.coord[:, 0].argmin(), sample.coord[:, 0].argmax()]
    config = config_of(data__voxel_size=0.001)  # each point has its own voxel
    lengths = []
    for seed in range(4):
        pair = views_of(config, sample, seed).pair
        places = [view.feat[view.voxel[ends], :3] for view in pair]
        lengths.append([np.linalg.norm(a - b) for a, b in places])
        assert not np.allclose(*places)
        assert not np.allclose(*(view.feat[view.voxel[ends], 3:6] for view in pair))
    lengths = np.array(lengths)
    np.testing.assert_allclose(lengths[:, 0], lengths[:, 1], atol=0.1)  # but for the jitter
    assert np.ptp(lengths[:, 0]) > 0.1


def test_views_are_bent_only_if_asked_for():
    floor = make_sample()
    floor.coord[:, 2] = 0
    for elastic in (False, True):
        for view in views_of(config_of(views__elastic=elastic), floor, 1).pair:
            coord = view.feat[:, :3] - view.feat[:, :3].mean(0)
            thickness = np.linalg.svd(coord)[1][2] / len(coord) ** 0.5
            assert (thickness > 0.02) == elastic, thickness


def test_crop_is_what_is_nearest_to_one_voxel():
    for view in views_of(config_of()).pair:
        assert len(view.crop) == 50
        assert (np.diff(view.crop) > 0).all()
        coord = view.feat[:, :3]
        distance = np.linalg.norm(coord[:, None] - coord[view.crop], axis=2)
        others = np.delete(distance, view.crop, axis=0)
        is_center = distance[view.crop].max(0) <= others.min(0) + 1e-6
        assert is_center.any()
    whole = views_of(config_of(views__crop_size=10_000)).pair[0]
    assert np.array_equal(whole.crop, np.arange(len(whole.feat)))


def test_crops_lie_everywhere():
    config = build(MaskedConfig, PLAIN, config_of())  # all views have the same voxels
    pairs = [views_of(config, seed=seed).pair for seed in range(40)]
    seen = [np.concatenate([pair[i].crop for pair in pairs]) for i in (0, 1)]
    for crops in seen:
        assert len(np.unique(crops)) > 0.9 * len(pairs[0][0].feat)
    assert not np.array_equal(*seen)  # nor do both views share them


def test_parts_of_scenes_lie_everywhere():
    values = {'views.max_points': 100, 'data.voxel_size': 0.001, **PLAIN}  # a point, a voxel
    config = build(MaskedConfig, values, config_of())
    views = [views_of(config, seed=seed).pair[0] for seed in range(40)]
    colors = np.concatenate([view.feat[:, 3:6] for view in views])
    assert len(np.unique(colors, axis=0)) > 0.9 * 800


def test_views_are_made_of_a_part_of_the_scene():
    pair = views_of(config_of(views__max_points=100, data__voxel_size=0.001)).pair
    assert [len(view.voxel) for view in pair] == [100, 100]
    assert [len(view.feat) for view in pair] == [100, 100]
    assert len(views_of(config_of(views__max_points=10_000)).pair[0].voxel) == 800


def test_colours_and_normals_can_be_lost():
    view = views_of(config_of(views__drop_color=1.0, views__drop_normal=1.0)).pair[0]
    assert not view.feat[:, 3:].any()
    assert view.feat[:, :3].any()


def test_targets_of_points_are_given_if_asked_for():
    sample = make_sample()
    sample.color[0] = sample.normal[1] = 0  # unknown
    values = {**PLAIN, 'target': 'shallow', 'loss.distance': 'mse'}
    view = views_of(build(MaskedConfig, values, config_of()), sample).pair[0]
    assert np.isnan(view.target[0, :3]).all()
    assert np.isnan(view.target[1, 3:]).all()
    np.testing.assert_allclose(view.target[1:, :3], sample.color[1:] / 127.5 - 1, atol=1e-6)
    known = np.arange(len(sample.normal)) != 1
    np.testing.assert_array_equal(view.target[known, 3:], sample.normal[known])
    turned = views_of(config_of(target='shallow', loss__distance='mse')).pair
    for view in turned:
        assert view.target.shape == (800, 6)
        drawn = view.feat[view.voxel]  # of single points, that is their own target
        is_single = np.bincount(view.voxel)[view.voxel] == 1
        np.testing.assert_allclose(
            view.target[is_single],
            np.c_[2 * drawn[:, 3:6] - 1, drawn[:, 6:]][is_single],
            atol=1e-6,
        )
    assert batch_of(config_of()).point_target.shape == (0, 2, 6)
    asked = batch_of(config_of(target='shallow', loss__distance='mse'))
    assert asked.point_target.shape == (1600, 2, 6)
    np.testing.assert_array_equal(
        asked.point_target[:800, 1].numpy().shape, turned[1].target.shape
    )


def test_dark_colours_are_known_however_they_are_jittered():
    sample = make_sample()
    sample.color[:] = 1
    pairs = [
        views_of(config_of(target='shallow', loss__distance='mse'), sample, seed).pair
        for seed in range(4)
    ]
    assert any((view.target[:, :3] == -1).all() for pair in pairs for view in pair)  # all black
    assert not any(np.isnan(view.target).any() for pair in pairs for view in pair)


def test_rows_of_a_batch_lead_to_their_scene_and_view():
    batch = batch_of(config_of())
    clouds = batch.full.batch
    assert batch.num_points == len(clouds) == len(batch.full.feat)
    assert torch.equal(batch.full.coord, batch.full.feat[:, :3])
    assert clouds[batch.point_voxel].tolist() == [[0, 1]] * 800 + [[2, 3]] * 800
    assert clouds[batch.crop].bincount().tolist() == [50] * 4
    assert (batch.crop.diff() > 0).all()
    second = views_of(config_of(), make_sample(seed=1), 1).pair[1]
    assert torch.equal(batch.full.feat[clouds == 3], torch.from_numpy(second.feat))
    assert batch.to('cpu').names == ('room', 'room')


def test_a_scene_that_spans_too_far_is_named():
    sample = make_sample()
    sample.coord[0] = 1e5
    with pytest.raises(SourceError, match=r'^room: a scene must fit into'):
        views_of(config_of(), sample)


@pytest.fixture
def scenes(tiny_split):
    config = config_of(data__splits=str(tiny_split), data__batch_size=4, run__seed=3)
    return open_scenes(config.data, PatchGrid(image_size=1, patch_size=1)), config


def test_an_item_is_a_function_of_seed_and_number(scenes):
    first, second = (MaskedDataset(*scenes) for _ in range(2))
    for number in (5, 2):
        (slot, a, _), (_, b, _) = first[number], second[number]
        assert (slot, a.name) == (number % 4, b.name)
        assert np.array_equal(a.pair[1].feat, b.pair[1].feat)
    other = MaskedDataset(scenes[0], replace(scenes[1], run=replace(scenes[1].run, seed=4)))
    assert not np.array_equal(other[2][1].pair[0].feat, first[2][1].pair[0].feat)


def test_ranks_share_the_scenes_of_a_step(scenes):
    dataset = MaskedDataset(*scenes)
    names = []
    for rank in (0, 1):
        numbers = rank_batches(scenes[1].data, range(2), rank, 2)
        batches = list(make_loader(dataset, numbers, 0))
        assert [batch.slots for batch in batches] == [(2 * rank, 2 * rank + 1)] * 2
        names += [name for batch in batches[:1] for name in batch.names]
    assert sorted(name.rpartition('/')[2] for name in names) == [f'scene{i}_0' for i in range(4)]


def test_no_image_is_read(scenes, tiny_split):
    sample = scenes[0].read(0, np.random.default_rng(0))
    assert (len(sample.images), len(sample.tokens), len(sample.links)) == (0, 0, 0)
    assert len(next(iter(read_split(tiny_split))).images) > 0


def test_there_must_be_a_scene(scenes):
    empty = type(scenes[0])([], PatchGrid(image_size=1, patch_size=1), 0)
    with pytest.raises(SourceError, match='the splits have no sample'):
        MaskedDataset(empty, scenes[1])
