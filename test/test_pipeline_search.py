"""A search looks only at what scores high, and finds what a look at the whole map finds."""

import dataclasses

import numpy as np
import pytest

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import SearchError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.search.object_search import ObjectSearch
from concerto_ros.search.registry import ObjectRegistry

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
TURNED = from_quaternion((10, -3, 1), (0.1, 0, 1, 1))  # also tilts, so corners matter
QUERY = 'blue chair'


@pytest.fixture(scope='module')
def mapped(tiny_weights):
    """Make a map of which the network saw a part, and before the last frames came."""
    return lambda: partly_seen(tiny_weights())


@pytest.fixture(scope='module')
def pipeline(mapped):
    return mapped()


def partly_seen(weights):
    values = {'map.device': 'cpu', 'depth.stride': 2, 'search.min_size': 0.04}
    values['semantics.max_points'] = 1500
    pipeline = PerceptionPipeline(build(ConcertoConfig, {**values, **weights}))
    frames = list(SyntheticRoom(3).frames(6, camera=CAMERA))
    for frame in frames[:4]:
        pipeline.integrate(frame)
    pipeline.update_semantics()
    for frame in frames[4:]:
        pipeline.integrate(frame)
    return pipeline


@pytest.fixture
def fresh(pipeline):
    """Return the map with no ids given yet."""
    pipeline._registry = ObjectRegistry()
    pipeline.update_config(pipeline.config)
    return pipeline


def scores_of_surface(pipeline, query=QUERY):
    """NaN where the network has not looked."""
    scores = np.full(pipeline.num_voxels, np.nan, np.float32)
    rows, found = pipeline._labeler.scores(query)
    scores[rows.numpy()] = found.numpy()
    return scores[pipeline._map.surface_rows().numpy()]


def over_the_whole_map(pipeline, T=None, **limits):
    points = pipeline._search_points(pipeline._map.surface_rows(), T)
    search = ObjectSearch(pipeline.config.search, ObjectRegistry())
    return search.search(points, scores_of_surface(pipeline), QUERY, **limits)


def assert_same(found, expected):
    assert (found.verdict, found.observed_share) == (expected.verdict, expected.observed_share)
    for ours, other in zip(found.objects, expected.objects, strict=True):
        for field in dataclasses.fields(ours):
            if field.name == 'box':
                for part in ('center', 'size', 'yaw'):
                    np.testing.assert_array_equal(
                        getattr(ours.box, part), getattr(other.box, part)
                    )
            else:
                np.testing.assert_array_equal(
                    getattr(ours, field.name), getattr(other, field.name)
                )


def region_of(pipeline, where, T=None):
    coord = pipeline.cloud(T).coord[np.isfinite(scores_of_surface(pipeline))]
    low, high = coord.min(0), coord.max(0)
    size = high - low
    return {
        'all that was looked at': (low - 1, high + 1),
        'a part': (low + 0.1 * size, high - 0.1 * size),
        'partly outside': (low - size, low + 0.7 * size),
        'wholly outside': (high + 1, high + 2),
        'above the ceiling': ((*low[:2], high[2] + 1), (*high[:2], high[2] + 2)),
    }[where]


def test_the_map_is_seen_in_part(fresh):
    scores = scores_of_surface(fresh)
    assert 0.1 < np.isfinite(scores).mean() < 0.9
    result = fresh.search(QUERY)
    assert 0.1 < result.observed_share < 0.9
    assert len(result.objects) > 1


@pytest.mark.parametrize('T', [None, TURNED])
@pytest.mark.parametrize('limits', [{}, {'min_score': 0.01}, {'min_score': 0.9, 'max_results': 1}])
def test_all_objects_are_those_of_a_search_over_the_whole_map(fresh, T, limits):
    expected = over_the_whole_map(fresh, T, **limits)
    assert_same(fresh.search(QUERY, T_map_fusion=T, **limits), expected)


@pytest.mark.parametrize('T', [None, TURNED])
@pytest.mark.parametrize(
    ('where', 'verdict'),
    [
        ('all that was looked at', 'found'),
        ('a part', 'found'),
        ('partly outside', 'found'),
        ('wholly outside', 'unobserved'),
        ('above the ceiling', 'unobserved'),
    ],
)
def test_a_region_is_one_of_the_frame_of_the_answer(fresh, T, where, verdict):
    region = region_of(fresh, where, T)
    result = fresh.search(QUERY, T_map_fusion=T, region=region, min_score=0.01)
    assert_same(result, over_the_whole_map(fresh, T, region=region, min_score=0.01))
    assert result.verdict == verdict
    assert (result.observed_share > 0) == (verdict == 'found')
    for hit in result.objects:
        assert (hit.center >= region[0]).all()
        assert (hit.center <= region[1]).all()


def test_a_region_that_turns_with_the_frame_holds_the_same(fresh):
    about_z = from_quaternion((4, -2, 1), (0, 0, 1, 1))  # by 90 degrees, so boxes stay boxes
    low, high = region_of(fresh, 'a part')
    corners = np.stack([low, high]) @ about_z[:3, :3].T + about_z[:3, 3]
    here = fresh.search(QUERY, region=(low, high), min_score=0.01)
    there = fresh.search(
        QUERY,
        T_map_fusion=about_z,
        region=(corners.min(0), corners.max(0)),
        min_score=0.01,
    )
    assert here.objects
    assert [(o.id, o.num_points) for o in here.objects] == [
        (o.id, o.num_points) for o in there.objects
    ]


@pytest.mark.parametrize(
    ('region', 'message'),
    [
        (((0, 0, 0), (0, 0, 0)), 'the region is empty'),
        (((0, 0, 0), (1, 0, 1)), 'the region is empty'),
        (((1, 1, 1), (0, 0, 0)), 'the region is empty'),
        (((0, 0, 0), (1, np.nan, 1)), 'three finite numbers'),
        (((-np.inf, 0, 0), (1, 1, 1)), 'three finite numbers'),
    ],
)
@pytest.mark.parametrize('T', [None, TURNED])
def test_a_region_that_is_no_box_is_refused_by_every_map(fresh, region, message, T):
    empty = PerceptionPipeline(fresh.config)
    for pipeline in (fresh, empty):
        with pytest.raises(SearchError, match=message):
            pipeline.search(QUERY, region=region, T_map_fusion=T)


@pytest.mark.parametrize('limits', [{'min_score': -0.1}, {'min_score': 2}, {'max_results': -1}])
def test_limits_out_of_range_are_refused(fresh, limits):
    with pytest.raises(SearchError, match='expected m'):
        fresh.search(QUERY, **limits)


def test_a_search_that_has_begun_may_end_by_either_threshold(fresh):
    region = region_of(fresh, 'partly outside')
    expected = {
        least: over_the_whole_map(fresh, region=region, min_score=least)
        for least in (0.0, 0.01, 0.99)
    }
    sizes = {least: [o.num_points for o in found.objects] for least, found in expected.items()}
    assert sizes[0.0] != sizes[0.01] != sizes[0.99]
    for begun, ended in ((0.01, 0.01), (0.01, 0.0), (0.99, 0.99), (0.99, 0.0)):
        end = fresh.begin_search(QUERY, region=region, min_score=begun)
        assert [o.num_points for o in end(min_score=ended).objects] == sizes[ended]
    with pytest.raises(SearchError, match='began with a min_score of'):
        fresh.begin_search(QUERY)(min_score=0.01)


def test_only_what_scores_high_is_looked_at(fresh, monkeypatch):
    looked_at = []
    for name in ('cloud', 'observations', 'grid_coord', 'coord'):
        method = getattr(fresh._map, name)
        monkeypatch.setattr(
            fresh._map,
            name,
            lambda rows, method=method: looked_at.append(len(rows)) or method(rows),
        )
    scores = scores_of_surface(fresh)
    fresh.search(QUERY, min_score=0.9)
    num_high = int((scores >= 0.5).sum())  # as configured: the function may be asked for that
    assert 0 < max(looked_at) == num_high < 0.5 * len(scores)


def test_voxels_since_the_newest_run_of_the_network_have_no_score(mapped):
    pipeline = mapped()
    rows, _ = pipeline._labeler.scores(QUERY)
    num_voxels, scored = pipeline.num_voxels, set(rows.tolist())
    assert 0 < len(scored) < num_voxels
    far = from_quaternion((50, 0, 0), (0, 0, 0, 1))
    frame = next(iter(SyntheticRoom(3).frames(1, camera=CAMERA)))
    before = pipeline.search(QUERY)
    pipeline.integrate(dataclasses.replace(frame, T_map_depth=far @ frame.T_map_depth))
    assert pipeline.num_voxels > num_voxels
    rows, _ = pipeline._labeler.scores(QUERY)
    assert set(rows.tolist()) == scored
    assert pipeline.search(QUERY).observed_share < before.observed_share
    pipeline.update_semantics()
    rows, scores = pipeline._labeler.scores(QUERY)
    assert len(rows) == len(scores)
    assert rows.max() >= num_voxels
