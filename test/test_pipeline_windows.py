"""What the network looks at, and what it writes: only what changed, and only what it saw."""

import dataclasses

import pytest
import torch

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.mapping.voxel_keys import CHUNK_SHIFT, pack_voxels, submap_of, unpack_voxels
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.building import Building
from concerto_ros.rooms.room import SyntheticRoom

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
LEVELS = range(5)


@pytest.fixture(scope='module')
def frames():
    return list(SyntheticRoom(3).frames(6, camera=CAMERA))


@pytest.fixture(scope='module')
def weights(tiny_weights):
    return tiny_weights()


@pytest.fixture
def new(weights):
    """Return a function that makes a pipeline and maps frames."""

    def new_with(frames, **values):
        values = {'map.device': 'cpu', 'depth.stride': 2, **weights, **values}
        pipeline = PerceptionPipeline(build(ConcertoConfig, values))
        for frame in frames:
            pipeline.integrate(frame)
        return pipeline

    return new_with


def look(pipeline):
    """Have the network look at one window, and return it."""
    window = pipeline.begin_semantics()
    pipeline.finish_semantics(window, pipeline.run_semantics(window))
    return window


def labels_by_voxel(pipeline):
    rows = pipeline._map.surface_rows()
    cell, label = pipeline._map.cell(rows), pipeline._map.labels(rows)[0]
    keys = pipeline._map.key(rows).tolist()
    return {k: tuple(v) for k, v, c in zip(keys, label.tolist(), cell, strict=True) if c >= 0}


def features_by_cell(pipeline):
    """Return what is known of cells, by level and the key of a voxel in each."""
    found = [{} for _ in LEVELS]
    for chunk_key in pipeline._map.chunks().key.tolist():
        record = pipeline._labelled.record(chunk_key)
        for level in LEVELS:
            known = record[f'feature_known_{level}']
            scale = record['feature_scale'][level]
            place = record[f'cell_{level}'][known].tolist()
            feat = record[f'feature_{level}'][known].float() * scale
            for p, value in zip(place, feat, strict=True):
                found[level][(chunk_key << CHUNK_SHIFT) | p] = value
    return found


def moved_by(frames, x):
    T = from_quaternion((x, 0, 0), (0, 0, 0, 1))
    return [dataclasses.replace(f, T_map_depth=T @ f.T_map_depth) for f in frames]


def chunks_of(window):
    return set((window.voxel_key >> CHUNK_SHIFT).tolist())


def test_a_parked_camera_settles(new, frames):
    pipeline = new([])
    looks = []
    for _ in range(12):
        pipeline.integrate(frames[0])
        looks.append(pipeline.update_semantics())
    assert looks[0] > 0
    assert not any(looks[4:])  # from here on all pixels have been used
    assert (pipeline.cloud().label > 0).mean() > 0.7  # a quarter of a chunk may wait


def test_noise_before_a_parked_camera_is_soon_all_that_is_new(new):
    """Its depth is noisy, so voxels come and go for as long as it stands there."""
    camera = PinholeCamera(width=160, height=120, fx=131.0, fy=131.0, cx=79.5, cy=59.5)
    pipeline = new([], **{'depth.stride': 1})
    building = Building(1, num_models=1, frames_per_visit=6, camera=camera)
    looks = []
    for number, frame in enumerate(building.parked(0, 100)):
        pipeline.integrate(frame)
        if number % 5 == 4:
            looks.append(pipeline.update_semantics() > 0)
    assert looks[0]
    assert sum(looks[:6]) >= 3
    assert sum(looks[10:]) <= 6  # of 10; measured 5, and none after frame 185
    assert (pipeline.cloud().label > 0).mean() > 0.95


def test_only_where_enough_changed_the_network_looks_again(new, frames):
    pipeline = new(frames)
    pipeline.update_semantics()
    far = moved_by(frames, 20.0)
    pipeline.integrate(far[0])
    before = set(labels_by_voxel(pipeline))
    window = look(pipeline)
    assert not before.intersection(window.voxel_key.tolist())
    assert pipeline.begin_semantics() is None


def test_a_window_writes_only_what_it_saw(new, frames):
    pipeline = new(frames)
    pipeline.update_semantics()
    before = features_by_cell(pipeline)
    part = pipeline._map.chunks().key[:1]
    pipeline._map.mark_unseen(pipeline._map.key(pipeline._map.rows_of_chunks(part)))
    pipeline.update_config(build(ConcertoConfig, {'semantics.max_points': 600}, pipeline.config))
    window = look(pipeline)
    after = features_by_cell(pipeline)
    edges = pipeline._map.cells.layout.edge_bits
    num_beyond = 0
    for level in LEVELS:
        assert before[level].keys() == after[level].keys()
        seen = set(cell_keys(window.voxel_key, edges[level]).tolist())
        for key, value in before[level].items():
            if cell_keys(torch.tensor([key]), edges[level]).item() not in seen:
                num_beyond += 1
                torch.testing.assert_close(after[level][key], value, rtol=0, atol=0)
    assert num_beyond > 500


def cell_keys(voxel_key, edge_bits):
    """Return one number per cell in which voxels lie."""
    return pack_voxels(unpack_voxels(voxel_key) >> edge_bits << edge_bits, submap_of(voxel_key))


def test_features_are_stored_once_per_cell_and_nothing_is_lost(new, frames):
    pipeline = new(frames)
    window = pipeline.begin_semantics()
    pyramids = pipeline.run_semantics(window)
    pipeline.finish_semantics(window, pyramids)
    assert pipeline.begin_semantics() is None  # one window holds the whole scene
    [part], [pyramid] = window.parts, pyramids
    stored = features_by_cell(pipeline)
    assert [len(cells) for cells in stored] == [len(level.feat) for level in pyramid.levels]
    concatenated = pyramid.upcast()
    width = concatenated.shape[1]
    assert width == sum(level.feat.shape[1] for level in pyramid.levels)
    features = pipeline._labeler.store.stored()
    cell = pipeline._map.cells.slots(0, part.cell_key)
    read = features.linear(torch.eye(width), torch.zeros(width))[cell]
    torch.testing.assert_close(read, concatenated, rtol=0, atol=1e-3 * float(read.abs().max()))


def test_frames_may_come_while_the_network_looks(new, frames):
    pipeline, waiting = new(frames[:3]), new(frames[:3])
    look(waiting)
    window = pipeline.begin_semantics()
    for frame in (*frames[3:], *moved_by(frames[:1], 20.0)):
        pipeline.integrate(frame)
    pipeline.finish_semantics(window, pipeline.run_semantics(window))
    expected, found = labels_by_voxel(waiting), labels_by_voxel(pipeline)
    assert 500 < len(found) < len(pipeline.cloud())
    assert found == {key: expected.get(key, label) for key, label in found.items()}
    assert found.keys() - expected.keys() <= set(
        pipeline._map.key(pipeline._map.surface_rows()).tolist()
    )
    pipeline.update_semantics()
    assert len(labels_by_voxel(pipeline)) > 0.9 * len(pipeline.cloud())


@pytest.mark.parametrize('max_points', [100_000, 600])
@pytest.mark.parametrize('is_paged', [False, True])
def test_a_window_that_was_given_up_is_looked_at_again(new, frames, max_points, is_paged):
    pipeline = new(frames, **{'semantics.max_points': max_points})
    window = pipeline.begin_semantics()
    if is_paged:
        for key in chunks_of(window):
            pipeline._paging.put(key)
    pipeline.give_up_semantics(window)
    pipeline.update_semantics()
    keys = window.voxel_key.tolist()
    assert len(labels_by_voxel(pipeline).keys() & set(keys)) > 0.9 * len(keys)
    pipeline.close()


def test_voxels_that_vanish_while_the_network_looks_stay_gone(new, frames):
    pipeline = new(frames)
    window = pipeline.begin_semantics()
    gone, *_ = chunks_of(window)
    pipeline._map.remove(pipeline._map.rows_of_chunks(torch.tensor([gone])))
    left = len(pipeline.cloud())
    pipeline.finish_semantics(window, pipeline.run_semantics(window))
    assert len(pipeline.cloud()) == left
    found = labels_by_voxel(pipeline)
    assert len(found) == left
    assert gone not in {key >> CHUNK_SHIFT for key in found}


def test_chunks_that_go_to_the_disk_while_the_network_looks_are_labelled(new, frames):
    pipeline, expected = new(frames), new(frames)
    look(expected)
    window = pipeline.begin_semantics()
    for key in chunks_of(window):
        pipeline._paging.put(key)
    pipeline.finish_semantics(window, pipeline.run_semantics(window))
    assert labels_by_voxel(pipeline) == labels_by_voxel(expected)
    assert pipeline.cloud().label.all()
    assert pipeline.update_semantics() == 0
    pipeline.close()
