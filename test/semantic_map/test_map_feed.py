"""A map is read and told in parts, while chunks come and go between memory and disk."""

import numpy as np
import pytest

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.semantic_map import cloud_reader

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
SEMANTICS = ConcertoConfig().semantics


@pytest.fixture(scope='module')
def frames():
    return list(SyntheticRoom(3).frames(12, camera=CAMERA))


@pytest.fixture
def pipeline(frames):
    values = {'semantics.checkpoint': '', 'depth.stride': 2, 'map.device': 'cpu'}
    pipeline = PerceptionPipeline(build(ConcertoConfig, values))
    for frame in frames[:9:3]:
        pipeline.integrate(frame)
    yield pipeline
    pipeline.close()


def page_out(pipeline):
    for key in pipeline._map.chunks().key.tolist()[1:]:
        pipeline._paging.put(key)


def told(*changes):
    """Return the groups that are told, with their points."""
    groups = {}
    for change in changes:
        ends = np.cumsum(change.num_points.astype(int))
        coord = np.split(change.cloud.coord, ends)[:-1]
        for key, points in zip(change.key.tolist(), coord, strict=True):
            groups[tuple(key)] = points
    return groups


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, points in expected.items():
        np.testing.assert_array_equal(np.sort(found[key], axis=0), np.sort(points, axis=0))


def test_a_feed_tells_all_in_parts_and_then_only_what_changes(pipeline, frames):
    expected, feed, parts = told(pipeline.changes(0)), pipeline.feed(), []
    parts.append(feed.next(5))
    while feed.has_more:
        parts.append(feed.next(5))
    assert max(len(part.key) for part in parts) == 5
    assert_same(told(*parts), expected)
    assert len(feed.next(5).key) == 0
    revision = pipeline.revision
    pipeline.integrate(frames[1])
    news = pipeline.changes(revision)
    assert 0 < len(news.key) < len(expected)
    assert_same(told(feed.next(1000)), told(news))
    assert not feed.take_paged()


def test_what_goes_to_the_disk_before_it_is_told_is_read_from_there(pipeline):
    expected, feed = told(pipeline.changes(0)), pipeline.feed()
    first = feed.next(3)
    page_out(pipeline)
    parts = [first, *(feed.next(1000) for _ in range(2))]
    parts += feed.read(feed.take_paged(), 4, SEMANTICS)
    assert max(len(part.key) for part in parts[3:]) <= 4
    assert_same(told(*parts), expected)
    assert not feed.take_paged()


def test_what_comes_back_from_the_disk_is_no_news(pipeline):
    feed = pipeline.feed()
    feed.next(1000)
    page_out(pipeline)
    assert not feed.take_paged()
    pipeline._paging.bring(pipeline._paging.keys, SEMANTICS)
    assert len(feed.next(1000).key) == 0
    assert not feed.take_paged()


def test_chunks_that_move_to_the_disk_meanwhile_are_read_once(pipeline, monkeypatch):
    monkeypatch.setattr(cloud_reader, '_STEP', 0.0)
    monkeypatch.setattr(cloud_reader, '_AT_ONCE', 1)
    expected, steps = pipeline.cloud(), []

    def run(step):
        steps.append(step)
        if len(steps) == 3:
            page_out(pipeline)
        if len(steps) == 5:
            pipeline._paging.bring(pipeline._paging.keys, SEMANTICS)
        return step()

    found = pipeline.read_cloud().read(run)
    assert len(steps) > 5
    np.testing.assert_array_equal(
        found.coord[np.lexsort(found.coord.T)], expected.coord[np.lexsort(expected.coord.T)]
    )
