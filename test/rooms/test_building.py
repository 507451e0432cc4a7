import numpy as np
import pytest

from concerto_ros.errors import ConfigError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.rooms import view_memory
from concerto_ros.rooms.building import Building
from concerto_ros.rooms.building_drift import DriftingOdometry
from concerto_ros.rooms.layout import THICKNESS
from concerto_ros.rooms.primitives import yaw_rotation
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.rooms.view_memory import remembered

TINY = PinholeCamera(width=32, height=24, fx=24.0, fy=25.0, cx=15.0, cy=12.5)
FRAMES = 4


def tiny_building(num_rooms=3, **options):
    given = {'num_models': 2, 'frames_per_visit': FRAMES, 'camera': TINY, **options}
    return Building(num_rooms, **given)


@pytest.fixture(scope='module')
def building():
    return tiny_building()


@pytest.fixture(scope='module')
def exact():
    return tiny_building(noise=None)


def bounds(building, place):
    where = building.places[place]
    size = building.models[where.model][0].size
    half = np.array([size[0] / 2, size[1] / 2, 0]) + THICKNESS
    corners = np.array([(-half[0], -half[1], -THICKNESS), (half[0], half[1], size[2] + THICKNESS)])
    turned = corners @ where.T_building_room[:3, :3].T + where.T_building_room[:3, 3]
    return turned.min(axis=0), turned.max(axis=0)


def inside(points, box, margin):
    local = (points - box.center) @ yaw_rotation(box.yaw)
    return (np.abs(local) <= box.size / 2 + margin).all(axis=1)


@pytest.mark.parametrize('num_storeys', [1, 3])
def test_rooms_do_not_overlap(num_storeys):
    building = tiny_building(20, num_storeys=num_storeys, num_models=5)
    boxes = [bounds(building, place) for place in range(20)]
    for i, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:i]:
            assert (np.maximum(low, other_low) > np.minimum(high, other_high) + 0.29).any()
    assert len({low[2] for low, _ in boxes}) == num_storeys
    assert {place.model for place in building.places} == set(range(5))
    assert {place.quarter for place in building.places} == set(range(4))


def test_rooms_that_follow_each_other_are_neighbours():
    centers = [place.T_building_room[:3, 3] for place in tiny_building(9).places]
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0])


def test_one_seed_is_one_building(building):
    tour, again, other = (b.tour() for b in (building, tiny_building(), tiny_building(seed=1)))
    for index in (0, 2 * FRAMES + 1):
        np.testing.assert_array_equal(tour[index].depth, again[index].depth)
        np.testing.assert_array_equal(tour[index].color, again[index].color)
        np.testing.assert_array_equal(tour[index].T_map_depth, again[index].T_map_depth)
        assert not np.array_equal(tour[index].depth, other[index].depth)


def test_a_tour_visits_room_after_room(building):
    tour = building.tour(2, frames_per_second=2.0)
    assert len(tour) == len(list(tour)) == 2 * 3 * FRAMES
    assert tour.place.tolist() == 2 * np.repeat([0, 1, 2], FRAMES).tolist()
    assert tour.round.tolist() == np.repeat([0, 1], 3 * FRAMES).tolist()
    stamps = [frame.stamp_ns for frame in tour]
    assert set(np.diff(stamps)) == {500_000_000}
    for index, frame in enumerate(tour):
        low, high = bounds(building, tour.place[index])
        np.testing.assert_array_equal(frame.T_map_depth, tour.poses[index])
        assert (frame.T_map_depth[:3, 3] > low).all()
        assert (frame.T_map_depth[:3, 3] < high).all()


def test_frames_show_the_surface_of_the_room_in_its_place(exact):
    tour = exact.tour()
    for index in range(1, len(tour), FRAMES):
        frame, truth = tour[index], tour.frame_truth(index)
        cloud = exact.cloud(tour.place[index], 0.04)
        points = frame.depth_camera.rays().astype(np.float64) * frame.depth[..., None]
        points = points @ frame.T_map_depth[:3, :3].T + frame.T_map_depth[:3, 3]
        points, instance = points[::5, ::7].reshape(-1, 3), truth.instance[::5, ::7].ravel()
        square = ((points[:, None] - cloud.coord[None]) ** 2).sum(axis=2)
        assert np.sqrt(square.min(axis=1)).max() < 0.06
        assert (cloud.instance[square.argmin(axis=1)] == instance).mean() > 0.9
        np.testing.assert_array_equal(frame.depth, truth.depth)


def test_every_visit_has_its_own_noise(building):
    tour = building.tour(2)
    first, second = tour[1], tour[1 + 3 * FRAMES]
    np.testing.assert_array_equal(first.T_map_depth, second.T_map_depth)
    assert not np.array_equal(first.depth, second.depth)
    np.testing.assert_array_equal(
        tour.frame_truth(1).depth, tour.frame_truth(1 + 3 * FRAMES).depth
    )


def test_a_parked_camera_sees_the_same_with_fresh_noise(building):
    parked = building.parked(2, 3, index=1)
    np.testing.assert_array_equal(parked.poses, [building.tour().poses[2 * FRAMES + 1]] * 3)
    depths = [frame.depth for frame in parked]
    assert not np.array_equal(depths[0], depths[1])
    np.testing.assert_array_equal(parked.frame_truth(0).depth, parked.frame_truth(2).depth)


def test_one_object_moves_between_rounds():
    building = tiny_building(8, num_models=8)
    moves = [building.move(place) for place in range(8)]
    assert sum(move is not None for move in moves) > 4
    assert {move.after is None for move in moves if move} == {True, False}
    for place, move in enumerate(moves):
        before, after = (building.cloud(place, 0.05, version=version) for version in (0, 1))
        if move is None:
            np.testing.assert_array_equal(before.coord, after.coord)
            continue
        assert inside(before.coord[before.instance == move.instance], move.before, 1e-3).all()
        stands = after.coord[after.instance == move.instance]
        assert len(stands) == 0 if move.after is None else inside(stands, move.after, 1e-3).all()
        core = inside(after.coord, move.before, -0.03)
        assert not core.any(), 'nothing stands where it was'
        assert set(after.instance) - {move.instance} == set(before.instance) - {move.instance}


def test_a_moving_tour_changes_the_rooms_in_every_other_round(exact):
    tour, still = exact.tour(3, moving=True), exact.tour(3)
    moved = [place for place in range(3) if exact.move(place)]
    assert moved
    for place in moved:
        for round_ in range(3):
            frames = np.flatnonzero((tour.place == place) & (tour.round == round_))
            same = [np.array_equal(tour[k].depth, still[k].depth) for k in frames]
            assert all(same) == (round_ != 1)


def test_views_are_rendered_once_and_stay_exact():
    walk = SyntheticRoom(5).frames(2, TINY, noise=None)
    poses = []

    def view(pose):
        poses.append(pose)
        return walk._view(pose)

    recall = remembered(view)
    for _ in range(2):
        recall(walk.poses[0])
    assert len(poses) == 1
    for frame, remembered_frame in zip(walk, walk.remembering(), strict=True):
        np.testing.assert_array_equal(frame.depth, remembered_frame.depth)
        np.testing.assert_array_equal(frame.color, remembered_frame.color)


def test_all_rooms_are_rendered_in_advance(monkeypatch):
    building = tiny_building()
    building.render(moving=True)
    monkeypatch.setattr(SyntheticRoom, 'frames', None)
    monkeypatch.setattr(view_memory, '_packed', None)
    assert len(list(building.tour(2, moving=True))) == 2 * 3 * FRAMES


def test_odometry_drifts_until_a_loop_is_closed(building):
    tour = building.tour(2)
    start = 3 * FRAMES
    odometry = DriftingOdometry(tour.poses, yaw_per_metre=0.01, scale=1.02, closures=[start])
    corrected = odometry.T_map_odom @ odometry.T_odom_camera
    error = np.linalg.norm(corrected[:, :3, 3] - tour.poses[:, :3, 3], axis=1)
    assert error[0] == 0
    assert error[start - 1] > 0.1
    assert error[start] < 1e-9
    assert error[-1] > 0.1
    np.testing.assert_array_equal(odometry.T_map_odom[start - 1], np.eye(4))
    np.testing.assert_array_equal(odometry.T_map_odom[-1], odometry.T_map_odom[start])
    np.testing.assert_allclose(odometry.T_odom_camera[:, 2, :3], tour.poses[:, 2, :3])
    frame = odometry.in_odom(tour[start], start)
    np.testing.assert_array_equal(frame.T_map_depth, odometry.T_odom_camera[start])


def test_a_step_is_longer_by_the_scale_and_turned_by_the_way():
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = 0, 1, 2
    odometry = DriftingOdometry(poses, yaw_per_metre=np.pi / 2, scale=1.1)
    np.testing.assert_allclose(
        odometry.T_odom_camera[:, :3, 3], [[0, 0, 0], [1.1, 0, 0], [1.1, 1.1, 0]], atol=1e-12
    )
    np.testing.assert_allclose(odometry.T_odom_camera[1, :3, 0], [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize('name', ['num_rooms', 'num_storeys', 'num_models'])
def test_numbers_below_one_are_named(name):
    with pytest.raises(ConfigError, match=f'{name} must be 1 or more, got 0'):
        tiny_building(**{name: 0})


def test_requests_that_make_no_sense_are_named(building):
    with pytest.raises(ConfigError, match='num_rounds must be 1 or more, got 0'):
        building.tour(0)
    with pytest.raises(IndexError, match='frame 12 of a tour of 12 frames'):
        building.tour()[12]
