"""A map that is larger than its memory says what one says that is not."""

import dataclasses

import numpy as np
import pytest
import torch

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import MapFileError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.semantic_map.window_scheduler import _Look

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
MAX_BYTES = 16 << 20
NUM_ROOMS = 14


@pytest.fixture(scope='module')
def rooms():
    """Frames of rooms side by side."""
    frames = list(SyntheticRoom(3).frames(6, camera=CAMERA))
    places = [from_quaternion((10 * k, 0, 0), (0, 0, 0, 1)) for k in range(NUM_ROOMS)]
    return [
        [
            dataclasses.replace(f, T_map_depth=T @ f.T_map_depth, stamp_ns=f.stamp_ns + k * 10**10)
            for f in frames
        ]
        for k, T in enumerate(places)
    ]


def limited(max_bytes, values):
    """Make a pipeline; a test map is smaller than the least that can be configured."""
    config = build(ConcertoConfig, values)
    smaller = dataclasses.replace(config.map, max_bytes=max_bytes)
    return PerceptionPipeline(dataclasses.replace(config, map=smaller))


@pytest.fixture(scope='module')
def walked(rooms, tiny_weights):
    """Two maps of all rooms, a whole one and a paged one, and the most memory of the latter."""
    pipelines, most = [], 0
    for max_bytes in (1 << 30, MAX_BYTES):
        values = {'map.device': 'cpu', 'depth.stride': 1, 'search.min_size': 0.04}
        pipeline = limited(max_bytes, {**values, **tiny_weights()})
        most = 0
        for frames in (*rooms, rooms[0]):
            for frame in frames:
                pipeline.integrate(frame)
            pipeline.update_semantics()
            most = max(most, sum(pipeline.memory.values()))
        pipelines.append(pipeline)
    yield (*pipelines, most)
    for pipeline in pipelines:
        pipeline.close()


def by_place(cloud):
    """Return all that is told of points, in the order of where they are."""
    order = np.lexsort(cloud.coord.T)
    return {field.name: getattr(cloud, field.name)[order] for field in dataclasses.fields(cloud)}


def test_memory_keeps_to_its_budget(walked):
    whole, paged, most = walked
    assert sum(whole.memory.values()) > 1.5 * MAX_BYTES
    assert paged.paged_bytes > 0.3 * MAX_BYTES
    assert most <= 1.05 * MAX_BYTES


def test_nothing_is_lost(walked):
    whole, paged, _ = walked
    assert paged.num_voxels == whole.num_voxels
    assert whole.paged_bytes == 0
    cloud, expected = by_place(paged.cloud()), by_place(whole.cloud())
    for name, values in expected.items():
        np.testing.assert_array_equal(cloud[name], values)
    assert (cloud['label'] > 0).mean() > 0.9


@pytest.mark.parametrize('where', ['everywhere', 'in the second room', 'outside'])
def test_a_search_looks_at_what_lies_on_the_disk_too(walked, where):
    whole, paged, _ = walked
    coord = whole.cloud().coord
    second = coord[(coord[:, 0] > 5) & (coord[:, 0] < 15)]
    region = {
        'everywhere': None,
        'in the second room': (second.min(0), second.max(0)),
        'outside': (coord.max(0) + 1, coord.max(0) + 2),
    }[where]
    limits = {'region': region, 'max_results': 1000}
    found, expected = paged.search('blue chair', **limits), whole.search('blue chair', **limits)
    assert found.verdict == expected.verdict == ('unobserved' if where == 'outside' else 'found')
    assert found.observed_share == pytest.approx(expected.observed_share)
    assert places_of(found) == places_of(expected)
    assert (len(found.objects) > 5 * NUM_ROOMS) == (where == 'everywhere')


def test_what_is_needed_together_is_there_together(walked):
    """The chunks that were not seen for the longest time go first, but not if they are needed."""
    _, paged, _ = walked
    chunks, paging = paged._map.chunks(), paged._paging
    oldest = chunks.key[chunks.last_seen.argsort()][: len(chunks.key) // 2].tolist()
    needed = {*oldest, *sorted(paging.keys)[:30]}
    num_voxels = paged.num_voxels
    paging.bring(needed, paged.config.semantics)
    assert needed <= set(paged._map.chunks().key.tolist())
    assert not needed & paging.keys
    assert paged.num_voxels == num_voxels


def test_a_search_that_has_begun_goes_on_while_chunks_come_and_go(walked):
    _, paged, _ = walked
    expected = paged.search('blue chair', max_results=1000)
    search = paged.begin_search('blue chair')
    paged._paging.bring(sorted(paged._paging.keys)[:10], paged.config.semantics)
    for key in paged._map.chunks().key[:10].tolist():
        paged._paging.put(key)
    assert places_of(search(max_results=1000)) == places_of(expected)
    assert places_of(paged.search('blue chair', max_results=1000)) == places_of(expected)


def places_of(result):
    return sorted((*np.round(hit.center, 3), hit.num_points) for hit in result.objects)


def test_a_new_vocabulary_reaches_what_lies_on_the_disk(walked):
    whole, paged, _ = walked
    for pipeline in (whole, paged):
        pipeline.relabel(['chair', 'lamp'])
    cloud, expected = by_place(paged.cloud()), by_place(whole.cloud())
    np.testing.assert_array_equal(cloud['language_label'], expected['language_label'])
    assert set(np.unique(cloud['language_label'])) <= {0, 1, 2}


@pytest.fixture
def bare(rooms):
    """Map without a network of which half of the chunks lie on the disk."""
    values = {'map.device': 'cpu', 'semantics.checkpoint': ''}
    pipeline = PerceptionPipeline(build(ConcertoConfig, values))
    pipeline.integrate(rooms[0][0])
    for key in pipeline._map.chunks().key[::2].tolist():
        pipeline._paging.put(key)
    yield pipeline
    pipeline.close()


def test_who_reads_while_the_map_is_reset_is_told(bare):
    reader, feed = bare.read_cloud(), bare.feed()
    feed.next(1000)
    paged = feed.take_paged()
    bare.reset()
    with pytest.raises(MapFileError, match='the map was reset meanwhile'):
        reader.read(lambda job: job())
    with pytest.raises(MapFileError, match='the map was reset meanwhile'):
        next(feed.read(paged, 10, bare.config.semantics))


def test_the_disk_is_empty_once_the_map_is_closed(rooms):
    values = {'map.device': 'cpu', 'semantics.checkpoint': ''}
    pipeline = PerceptionPipeline(build(ConcertoConfig, values))
    pipeline.integrate(rooms[0][0])
    for key in pipeline._map.chunks().key.tolist():
        pipeline._paging.put(key)
    assert pipeline.paged_bytes > 0
    assert pipeline.num_voxels == len(pipeline.cloud()) > 0
    pipeline.reset()
    assert pipeline.paged_bytes == pipeline.num_voxels == 0


def test_a_chunk_that_is_due_no_more_is_brought_back_once_at_most(rooms, tiny_weights):
    """Noise made it due when it went to the disk; the scheduler has seen that it does not grow."""
    pipeline = limited(MAX_BYTES, {'map.device': 'cpu', 'depth.stride': 1, **tiny_weights()})
    for frame in rooms[0]:
        pipeline.integrate(frame)
    pipeline.update_semantics()
    pipeline.update_semantics()
    chunks = pipeline._map.chunks()
    largest = int(chunks.key[chunks.num_surface.argmax()])
    rows = pipeline._map.surface_rows(torch.tensor([largest]))
    pipeline._choice._scheduler._looks[largest] = _Look(len(rows), 0.4)
    pipeline._map.mark_unseen(pipeline._map.key(rows[: len(rows) // 5 + 20]))
    pipeline._paging.put(largest)
    assert pipeline._paging.due == [largest]
    assert pipeline.begin_semantics() is None
    pipeline._paging.put(largest)
    assert pipeline.begin_semantics() is None
    assert pipeline._paging.keys == {largest}
    pipeline.close()
