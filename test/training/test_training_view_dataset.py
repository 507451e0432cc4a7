"""Items and batches of views: functions of the seed and their number, whatever happens."""

import multiprocessing
import subprocess
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from concerto_ros.errors import ConfigError, SourceError
from concerto_ros.model import PointBatch
from training.config import DataConfig, RunConfig, TrainingConfig, ViewsConfig
from training.datasets.layout import SceneWriter, read_split, write_split
from training.datasets.loader import make_loader, rank_batches
from training.datasets.open_scenes import open_scenes
from training.datasets.patch_grid import PatchGrid
from training.datasets.view_dataset import ViewDataset

GRID = PatchGrid(image_size=8, patch_size=4)
NUM_SCENES = 5
CONFIG = TrainingConfig(
    run=RunConfig(seed=3),
    data=DataConfig(batch_size=4, voxel_size=0.1),
    views=ViewsConfig(max_points=40, num_local=1),
)


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Return the split of five scenes of a few points, each with an image."""
    root = tmp_path_factory.mktemp('rooms')
    rng = np.random.default_rng(0)
    scenes = [f'room{number}' for number in range(NUM_SCENES)]
    for scene in scenes:
        with SceneWriter(root, 'train', scene) as writer:
            coord = rng.uniform(0, 1, (60, 3))
            color = rng.integers(0, 255, (60, 3))
            writer.write_cloud(coord, color, np.zeros((60, 3)), {})
            picture = rng.integers(0, 255, (9, 12, 3)).astype(np.uint8)
            rows = np.stack([np.arange(60) % 8 + 2, np.arange(60) % 8, np.arange(60)], axis=1)
            writer.write_image('0', picture, rows, np.eye(3), np.eye(4))
    return write_split(root, 'train', scenes)


def dataset(split, config=CONFIG, **data):
    config = replace(config, data=replace(config.data, splits=str(split), **data))
    return ViewDataset(open_scenes(config.data, GRID), config)


def numbers(batch):
    """Return all that is in a batch as lists of arrays."""
    values = [getattr(batch, field.name) for field in fields(batch)]
    parts = [
        [getattr(v, f.name) for f in fields(v)] if isinstance(v, PointBatch) else [v]
        for v in values
    ]
    return [np.asarray(v) for part in parts for v in part]


def assert_same(one, two):
    for a, b in zip(numbers(one), numbers(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_epoch_has_each_scene_once_and_the_next_another_order(written):
    items = dataset(written)
    names = [items[index].views.name for index in range(3 * NUM_SCENES)]
    epochs = [names[start : start + NUM_SCENES] for start in range(0, 15, NUM_SCENES)]
    assert all(len(set(epoch)) == NUM_SCENES for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]
    assert [items[index].slot for index in range(6)] == [0, 1, 2, 3, 0, 1]


def test_an_item_depends_on_seed_and_number_alone(written):
    first, second = dataset(written), dataset(written)
    for index in (11, 2):
        first[index]
    one, two = first[7].views, second[7].views
    assert one.name == two.name
    np.testing.assert_array_equal(one.global_views[0].coord, two.global_views[0].coord)
    other = dataset(written, replace(CONFIG, run=RunConfig(seed=4)))
    order = [[items[i].views.name for i in range(10)] for items in (first, other)]
    assert order[0] != order[1]


def test_a_scene_looks_different_in_each_epoch(written):
    items = dataset(written)
    places = [
        items[index].views.global_views[0].coord[0].tolist()
        for index in range(3 * NUM_SCENES)
        if items[index].views.name.endswith('room0_0')
    ]
    assert len({tuple(place) for place in places}) == 3


@pytest.mark.parametrize('num_workers', [1, 2])
def test_processes_change_nothing(written, num_workers):
    batches = rank_batches(CONFIG.data, range(3))
    alone = list(make_loader(dataset(written), batches, num_workers=0))
    helped = list(make_loader(dataset(written), batches, num_workers=num_workers))
    assert len(alone) == len(helped) == 3
    for one, two in zip(alone, helped, strict=True):
        assert_same(one, two)


def test_a_run_goes_on_from_any_step(written):
    whole = list(make_loader(dataset(written), rank_batches(CONFIG.data, range(4)), 0))
    rest = list(make_loader(dataset(written), rank_batches(CONFIG.data, range(2, 4)), 0))
    for one, two in zip(whole[2:], rest, strict=True):
        assert_same(one, two)


def test_loading_leaves_the_global_random_numbers_alone(written):
    before = torch.random.get_rng_state()
    list(make_loader(dataset(written), rank_batches(CONFIG.data, range(1)), 1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_ranks_and_accumulation_divide_a_step():
    data = DataConfig(batch_size=8, accumulation=2)
    parts = [rank_batches(data, range(5, 7), rank, world_size=2) for rank in (0, 1)]
    assert [list(part) for part in parts[0]] == [[40, 41], [42, 43], [48, 49], [50, 51]]
    assert [list(part) for part in parts[1]] == [[44, 45], [46, 47], [52, 53], [54, 55]]
    with pytest.raises(ConfigError, match=r'batch_size should be a multiple of 6 .* got 8'):
        rank_batches(data, range(1), 0, world_size=3)


def test_a_broken_scene_is_replaced_by_the_next_and_told(written):
    whole = dataset(written)
    names = [whole[index].views.name for index in range(NUM_SCENES)]
    broken = next(f for f in read_split(written) if f.name == names[1])
    path = broken.cloud / 'coord.npy'
    content = path.read_bytes()
    path.write_bytes(b'')
    try:
        items = dataset(written)
        found = [items[index] for index in range(NUM_SCENES)]
        batch = next(iter(make_loader(items, rank_batches(CONFIG.data, range(1)), 1)))
    finally:
        path.write_bytes(content)
    assert [item.views.name for item in found] == [names[0], names[2], *names[2:]]
    assert [len(item.skipped) for item in found] == [0, 1, 0, 0, 0]
    assert str(path) in found[1].skipped[0]
    assert batch.skipped == found[1].skipped


def test_nothing_but_broken_scenes_ends_the_run(written, tmp_path):
    root = tmp_path / 'rooms'
    for scene in ('a', 'b'):
        (root / 'train' / scene).mkdir(parents=True)
        (root / 'train' / scene / 'coord.npy').touch()
    items = dataset(write_split(root, 'train', ['a', 'b']))
    with pytest.raises(SourceError, match=r'2 scenes in a row cannot be read; first: .*coord'):
        items[0]


@pytest.mark.parametrize(
    ('splits', 'message'),
    [
        (' , ', 'data.splits names no data'),
        ('rooms/train', r'should name NAME\.json or NAME-\*\.tar, got "rooms/train"'),
    ],
)
def test_splits_that_are_none_are_told(splits, message):
    with pytest.raises(ConfigError, match=message):
        open_scenes(DataConfig(splits=splits), GRID)


def test_several_splits_are_joined(written):
    data = DataConfig(splits=f'{written}, {written}')
    assert len(open_scenes(data, GRID)) == 2 * NUM_SCENES


def test_workers_leave_signals_to_the_trainer(written):
    batches = iter(make_loader(dataset(written), rank_batches(CONFIG.data, range(20)), 1))
    next(batches)
    (worker,) = multiprocessing.active_children()
    for signal in ('-TERM', '-INT'):  # as from a scheduler, or from a terminal
        subprocess.run(['kill', signal, str(worker.pid)], check=True)
    assert len(list(batches)) == 19


def test_a_worker_ends_when_its_parent_says_so(written):
    batches = iter(make_loader(dataset(written), rank_batches(CONFIG.data, range(20)), 1))
    next(batches)
    (worker,) = multiprocessing.active_children()
    worker.terminate()
    worker.join(timeout=10)
    assert worker.exitcode == 0
