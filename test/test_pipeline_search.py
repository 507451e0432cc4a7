"""A search looks only at what scores high, and finds what a look at the whole map finds."""

import dataclasses

import numpy as np
import pytest
import torch

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import SearchError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import from_quaternion
from concerto_ros.model import load_checkpoint, save_checkpoint
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.search.object_search import ObjectSearch
from concerto_ros.search.registry import ObjectRegistry
from concerto_ros.semantic_map.query import search_points

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
TURNED = from_quaternion((10, -3, 1), (0.1, 0, 1, 1))  # also tilts, so corners matter
ABOUT_Z = from_quaternion((4, -2, 1), (0, 0, 1, 1))  # by 90 degrees, so boxes stay boxes
QUERY = 'blue chair'


@pytest.fixture(scope='module')
def mapped(tiny_weights):
    """Make a map of which the network saw a part, and before the last frames came."""
    return lambda: partly_seen(tiny_weights())


@pytest.fixture(scope='module')
def pipelines(mapped):
    """The same map where it was fused, and moved."""
    here, turned, about_z = mapped(), mapped(), mapped()
    turned.correct(TURNED)
    about_z.correct(ABOUT_Z)
    return {'here': here, 'turned': turned, 'about z': about_z}


def partly_seen(weights):
    values = {'map.device': 'cpu', 'depth.stride': 2, 'search.min_size': 0.04}
    values['semantics.max_points'] = 1000
    pipeline = PerceptionPipeline(build(ConcertoConfig, {**values, **weights}))
    frames = list(SyntheticRoom(3).frames(6, camera=CAMERA))
    for frame in frames[:4]:
        pipeline.integrate(frame)
    window = pipeline.begin_semantics()
    pipeline.finish_semantics(window, pipeline.run_semantics(window))
    for frame in frames[4:]:
        pipeline.integrate(frame)
    return pipeline


def without_ids(pipeline):
    """Return the map with no ids given yet."""
    pipeline._registry = ObjectRegistry()
    pipeline.update_config(pipeline.config)
    return pipeline


@pytest.fixture
def fresh(pipelines):
    return without_ids(pipelines['here'])


@pytest.fixture(params=['here', 'turned'])
def placed(pipelines, request):
    """Return the map in one place of the world, then in another one."""
    return without_ids(pipelines[request.param])


def surface(pipeline):
    """Return the cloud in the order of `scores_of_surface`."""
    return pipeline._world().cloud(pipeline._map, pipeline._map.surface_rows())


def scores_of_surface(pipeline, query=QUERY):
    """NaN where the network has not looked."""
    cell = pipeline._map.cell(pipeline._map.surface_rows())
    return torch.where(cell < 0, torch.nan, pipeline._labeler.scores(query)[cell]).numpy()


def over_the_whole_map(pipeline, **limits):
    points = search_points(pipeline._labelled, pipeline._world(), pipeline._map.surface_rows())
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


def region_of(pipeline, where):
    coord = surface(pipeline).coord[np.isfinite(scores_of_surface(pipeline))]
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


@pytest.mark.parametrize('limits', [{}, {'min_score': 0.01}, {'min_score': 0.9, 'max_results': 1}])
def test_all_objects_are_those_of_a_search_over_the_whole_map(placed, limits):
    expected = over_the_whole_map(placed, **limits)
    assert_same(placed.search(QUERY, **limits), expected)


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
def test_a_region_is_one_of_the_world(placed, where, verdict):
    region = region_of(placed, where)
    result = placed.search(QUERY, region=region, min_score=0.01)
    assert_same(result, over_the_whole_map(placed, region=region, min_score=0.01))
    assert result.verdict == verdict
    assert (result.observed_share > 0) == (verdict == 'found')
    for hit in result.objects:
        assert (hit.center >= region[0]).all()
        assert (hit.center <= region[1]).all()


def test_a_region_that_turns_with_the_map_holds_the_same(pipelines):
    here, there = without_ids(pipelines['here']), without_ids(pipelines['about z'])
    low, high = region_of(here, 'a part')
    corners = np.stack([low, high]) @ ABOUT_Z[:3, :3].T + ABOUT_Z[:3, 3]
    found = here.search(QUERY, region=(low, high), min_score=0.01).objects
    region = (corners.min(0), corners.max(0))
    turned = there.search(QUERY, region=region, min_score=0.01).objects
    assert found
    assert [(o.id, o.num_points) for o in found] == [(o.id, o.num_points) for o in turned]


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
def test_a_region_that_is_no_box_is_refused_by_every_map(pipelines, region, message):
    empty = PerceptionPipeline(pipelines['here'].config)
    for pipeline in (*pipelines.values(), empty):
        with pytest.raises(SearchError, match=message):
            pipeline.search(QUERY, region=region)


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


def test_voxels_in_cells_that_the_network_has_not_seen_have_no_score(mapped):
    pipeline = mapped()
    num_known = np.isfinite(scores_of_surface(pipeline)).sum()
    far = from_quaternion((50, 0, 0), (0, 0, 0, 1))
    frame = next(iter(SyntheticRoom(3).frames(1, camera=CAMERA)))
    before = pipeline.search(QUERY)
    pipeline.integrate(dataclasses.replace(frame, T_map_depth=far @ frame.T_map_depth))
    scores = scores_of_surface(pipeline)
    assert np.isfinite(scores).sum() == num_known < len(scores)
    assert pipeline.search(QUERY).observed_share < before.observed_share
    pipeline.update_semantics()
    assert np.isfinite(scores_of_surface(pipeline)).all()


def test_a_new_voxel_in_a_known_cell_is_labelled_and_scored_at_once(tiny_weights, tmp_path):
    weights = tiny_weights()
    backbone, _ = load_checkpoint(weights['semantics.checkpoint'])
    coarse = {'semantics.checkpoint': str(tmp_path / 'b.pth'), 'semantics.head': ''}
    save_checkpoint(backbone, tmp_path / 'b.pth', {'settings': {'data.voxel_size': 0.08}})
    values = {'map.device': 'cpu', 'depth.stride': 4, **weights, **coarse}
    pipeline = PerceptionPipeline(build(ConcertoConfig, values))
    frame = next(iter(SyntheticRoom(3).frames(1, camera=CAMERA)))
    pipeline.integrate(frame)
    pipeline.update_semantics()
    num_voxels = pipeline.num_voxels
    pipeline.integrate(frame)  # another pixel of each 4 x 4, so other voxels of the same cells
    new = pipeline._map.is_surface() & (torch.arange(pipeline.num_voxels) >= num_voxels)
    known = pipeline._map.cell(new.nonzero()[:, 0]) >= 0
    assert known.sum() > 50
    np.testing.assert_array_equal(
        np.isfinite(scores_of_surface(pipeline)), surface(pipeline).language_label > 0
    )
    assert (pipeline.cloud().language_label > 0).sum() >= known.sum()
