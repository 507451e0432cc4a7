"""Submaps through the whole method: floors that are seen late, jumps, and seams."""

import dataclasses

import numpy as np
import pytest
import torch

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import FrameError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import from_quaternion, invert
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.semantic_map.network_input import floor_height

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
HERE = np.eye(4)
NO_NETWORK = {
    'semantics.checkpoint': '',
    'semantics.head': '',
    'semantics.translator': '',
    'semantics.text_encoder': '',
}
JUMP = from_quaternion((0.4, -0.3, 0.1), (0, 0, 0.05, 1))


@pytest.fixture(scope='module')
def frames():
    return list(SyntheticRoom(3).frames(8, camera=CAMERA))


@pytest.fixture(scope='module')
def weights(tiny_weights):
    return tiny_weights()


@pytest.fixture
def new(weights):
    """Return a function that makes a pipeline."""

    def new_with(**values):
        values = {'map.device': 'cpu', 'depth.stride': 1, 'search.min_size': 0.04, **values}
        return PerceptionPipeline(build(ConcertoConfig, {**weights, **values}))

    return new_with


def only_above(frame, height):
    """Leave out what a frame measured below a height of the map."""
    points = frame.depth_camera.rays() * frame.depth[..., None]
    T = frame.T_map_depth
    z = points @ T[2, :3] + T[2, 3]
    return dataclasses.replace(frame, depth=np.where(z > height, frame.depth, 0).astype('f4'))


def moved(points, T):
    return points @ T[:3, :3].T + T[:3, 3]


def in_order(cloud):
    order = np.lexsort(np.round(cloud.coord, 3).T)
    return cloud.coord[order], cloud.label[order]


def walk(pipeline, frames):
    """Map frames, told where the continuous frame is, as a robot is that localises itself."""
    for frame in frames:
        pipeline.correct(HERE)
        pipeline.integrate(frame)
        pipeline.update_semantics()


# --- the floor ---------------------------------------------------------------------------


def test_a_floor_that_is_seen_late_moves_the_lattice_but_nothing_in_the_world(new, frames):
    late, plain = new(), new(**NO_NETWORK)
    for frame in frames:
        above = only_above(frame, 0.7)
        late.integrate(above)
        plain.integrate(above)
    late.update_semantics()
    low, height = floor_height(late._map, 0)
    assert low == 1
    assert height + late._submaps.poses[0, 2, 3] > 0.6
    for frame in frames:
        late.integrate(frame)
        plain.integrate(frame)
    late.update_semantics()
    cell, height = floor_height(late._map, 0)
    assert abs(cell - 1) <= 1
    floor = np.percentile(plain.cloud().coord[:, 2], 1)
    assert height + late._submaps.poses[0, 2, 3] == pytest.approx(floor, abs=0.03)
    assert late.num_voxels == plain.num_voxels
    (coord, label), (expected, _) = in_order(late.cloud()), in_order(plain.cloud())
    np.testing.assert_allclose(coord, expected, rtol=0, atol=1e-3)
    assert (label > 0).mean() > 0.9


def test_labels_after_a_late_floor_are_those_of_a_map_that_saw_it_at_once(new, frames):
    late, early = new(), new()
    for frame in frames:
        late.integrate(only_above(frame, 0.7))
        early.integrate(only_above(frame, 0.7))
    late.update_semantics()
    for frame in frames:
        late.integrate(frame)
        early.integrate(frame)
    late.update_semantics()
    early.update_semantics()
    (_, label), (_, expected) = in_order(late.cloud()), in_order(early.cloud())
    assert (label == expected).mean() > 0.98


# --- jumps -------------------------------------------------------------------------------


def test_a_jump_moves_the_map_and_its_answers_and_nothing_is_looked_at_again(new, frames):
    pipeline = new()
    walk(pipeline, frames)
    before, hits = pipeline.cloud(), pipeline.search('blue chair').objects
    revision = pipeline.revision
    assert pipeline.correct(JUMP)
    cloud, found = pipeline.cloud(), pipeline.search('blue chair').objects
    np.testing.assert_allclose(cloud.coord, moved(before.coord, JUMP), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(cloud.label, before.label)
    assert len(found) == len(hits) > 0
    for ours, other in zip(found, hits, strict=True):
        np.testing.assert_allclose(ours.center, moved(other.center, JUMP), rtol=0, atol=0.05)
        assert ours.score == pytest.approx(other.score)
    assert pipeline.begin_semantics() is None
    changes = pipeline.changes(revision)
    assert len(changes.key) == 0  # groups stay, only their submap moves
    assert changes.revision > revision
    first = pipeline.changes(0)
    own = first.cloud.coord[:100]
    T = changes.T_world_submap[0]
    away = np.linalg.norm(moved(own, T)[:, None] - cloud.coord, axis=2).min(1)
    assert away.max() < 1e-4


def test_frames_after_a_jump_go_where_the_robot_is(new, frames):
    pipeline = new()
    walk(pipeline, frames)
    num_voxels = pipeline.num_voxels
    pipeline.correct(JUMP)
    pipeline.integrate(frames[-1])  # in the frame of odometry, which knows of no jump
    assert pipeline.num_voxels < 1.05 * num_voxels


# --- seams -------------------------------------------------------------------------------


@pytest.fixture
def toured(new, frames):
    """Return a room and another one, and the same tour with drift on the way back, corrected."""
    plain, drifted = new(), new(**{'map.submap_radius': 2.0})
    there = from_quaternion((10, 0, 0), (0, 0, 0, 1))
    drift = from_quaternion((0.3, 0.2, 0), (0, 0, 0, 1))
    tour = [T @ f.T_map_depth for T in (HERE, there) for f in frames]
    walk(plain, at(tour, frames))
    walk(drifted, at([*tour, *(drift @ f.T_map_depth for f in frames)], frames))
    assert drifted.correct(invert(drift))
    return plain, drifted


def at(poses, frames):
    """Take frames, again and again, from other poses."""
    return [
        dataclasses.replace(frames[i % len(frames)], T_map_depth=pose, stamp_ns=10**9 + i * 10**8)
        for i, pose in enumerate(poses)
    ]


def test_a_long_walk_makes_submaps_and_tells_their_overlap_once(toured):
    plain, drifted = toured
    assert len(drifted._submaps) == 3
    num_held = len(drifted._map.surface_rows())
    cloud, expected = drifted.cloud(), plain.cloud()
    assert num_held > 1.4 * len(expected)
    assert len(cloud) == pytest.approx(len(expected), rel=0.1)
    is_here, is_first = cloud.coord[:, 0] < 5, expected.coord[:, 0] < 5
    here, first = (
        torch.from_numpy(cloud.coord[is_here]),
        torch.from_numpy(expected.coord[is_first]),
    )
    assert (torch.cdist(here, first).amin(1) < 0.04).float().mean() > 0.99
    assert drifted.update_semantics() == 0


def test_what_two_submaps_hold_is_found_once(toured, monkeypatch):
    coord = toured[0].cloud().coord
    coord = coord[coord[:, 0] < 5]
    center = torch.from_numpy(coord[len(coord) // 2])
    for pipeline in toured:
        score_what_is_near(pipeline, center, monkeypatch)
    expected, found = (pipeline.search('blue chair').objects for pipeline in toured)
    assert len(found) == len(expected) == 1
    assert np.linalg.norm(found[0].center - expected[0].center) < 0.15
    assert found[0].num_points == pytest.approx(expected[0].num_points, rel=0.3)


def score_what_is_near(pipeline, center, monkeypatch):
    """Make the scores of cells near a point 1, and all others 0."""
    voxels = pipeline._map
    rows = voxels.surface_rows()
    away = (pipeline._world().coord(voxels, rows) - center).norm(dim=1)
    scores = torch.zeros(voxels.cells.length(0))
    cell = voxels.cell(rows)
    is_near = (away < 0.3) & (cell >= 0)
    scores[cell[is_near]] = 1.0
    monkeypatch.setattr(pipeline._labeler, 'scores', lambda text: scores)


def wall(x, *, thing=True, stamp_ns=0):
    """Return what a camera at x sees: a wall at 3.5 m, and perhaps a thing at 2.5 m."""
    camera = PinholeCamera(width=160, height=120, fx=150.0, fy=150.0, cx=79.5, cy=59.5)
    depth = np.full((120, 160), 3.5 - x, dtype=np.float32)
    if thing:
        depth[40:80, 60:100] = 2.5 - x
    T = np.eye(4)
    T[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]  # looks along x
    T[:3, 3] = x, 0, 1
    return RGBDFrame(
        stamp_ns=stamp_ns,
        color=np.zeros((120, 160, 3), dtype=np.uint8),
        depth=depth,
        color_camera=camera,
        depth_camera=camera,
        T_map_depth=T,
    )


def points_of_the_thing(pipeline):
    x, _, z = pipeline.cloud().coord.T
    return int(((abs(x - 2.5) < 0.06) & (z > 0.2)).sum())


def test_what_is_gone_vanishes_from_the_submaps_around_too(new):
    pipeline = new(**NO_NETWORK, **{'map.submap_radius': 2.0, 'depth.max': 6.0})
    for x in (0.0, -2.4):
        for number in range(6):
            pipeline.integrate(wall(x, stamp_ns=number))
    assert pipeline.num_submaps == 2
    assert points_of_the_thing(pipeline) > 500
    for number in range(30):
        pipeline.integrate(wall(-2.4, thing=False, stamp_ns=number))
    assert points_of_the_thing(pipeline) < 30


def test_each_camera_has_its_own_turns(new):
    both = new(**NO_NETWORK, **{'depth.stride': 2})
    alone = new(**NO_NETWORK, **{'depth.stride': 2})
    for number in range(8):
        frame = wall(0.0, stamp_ns=number)
        alone.integrate(frame)
        for camera in ('left', 'right'):
            both.integrate(frame, camera=camera, leads=camera == 'left')
    assert both.num_voxels == alone.num_voxels


def test_a_camera_that_does_not_lead_waits_for_the_one_that_does(new):
    pipeline = new(**NO_NETWORK)
    with pytest.raises(FrameError, match=r'leading camera.*input\.cameras.*check the topics'):
        pipeline.integrate(wall(0.0), camera='rear', leads=False)
    assert pipeline.num_voxels == 0
    pipeline.integrate(wall(0.0), camera='front')
    pipeline.integrate(wall(0.0), camera='rear', leads=False)
