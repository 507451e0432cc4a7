"""A tour of 60 m with drifting odometry: how far the walls are off before and after a closure."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from concerto_ros.geometry.pose_path import PosePath
from concerto_ros.geometry.transforms import from_quaternion, invert, to_quaternion
from concerto_ros.mapping.overlaps import vote
from concerto_ros.mapping.submaps import Submaps

SIDE = 15.0  # metres; the tour is a square
STEP = 0.25
YAW_DRIFT = np.radians(0.1)  # per metre
SCALE = 1.005
SECOND = 1_000_000_000
VIEW = 4.0  # metres
NUM_SPOTS = 1500
# Walls on both sides of the tour: (axis, where on it).
WALLS = [(axis, place) for axis in (0, 1) for place in (-1.5, 1.5, SIDE - 1.5, SIDE + 1.5)]


def pose(x, y, yaw, z=1.0):
    return from_quaternion([x, y, z], [0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])


def square_tour(length):
    """Return T_map_camera (P, 4, 4) along the square, one pose per step; corners take 1 m."""
    poses = []
    for s in np.arange(0.0, length + 1e-9, STEP):
        side, along = divmod(s, SIDE)
        corner = np.array([(0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE)][int(side) % 4])
        yaw = np.pi / 2 * side
        position = corner + along * np.round([np.cos(yaw), np.sin(yaw)])
        poses.append(pose(*position, yaw + np.pi / 2 * max(0.0, along - SIDE + 1.0)))
    return np.stack(poses)


def odometry(true):
    """Return T_odom_camera (P, 4, 4): every step is too long and turns a bit to the left."""
    drifted, turn = [true[0]], pose(0.0, 0.0, YAW_DRIFT * STEP, z=0.0)
    for before, after in pairwise(true):
        step = invert(before) @ after
        step[:3, 3] *= SCALE
        drifted.append(drifted[-1] @ step @ turn)
    return np.stack(drifted)


class Tour:
    """Drives, and keeps what the camera sees of the walls in the submaps that it is given."""

    def __init__(self, length):
        generator = np.random.default_rng(0)
        self.true = square_tour(length)
        self.odom = odometry(self.true)
        self.submaps = Submaps(0.02, 1, radius=8.0, height=1.5)
        self.points, self.spots, self.owner = [], [], []
        self.submaps.correct(np.eye(4))
        self._wall, self._places = self._scatter(generator)

    def drive(self, begin, end):
        for i in range(begin, end):
            spot, seen = self._look(self.true[i])
            submap, T_submap_camera = self.submaps.locate(
                self.odom[i], i * SECOND, lambda old, T, seen=seen: self._fits(old, T, seen)
            )
            self.points.append(moved(T_submap_camera, seen))
            self.spots.append(spot)
            self.owner.append(np.full(len(seen), submap))

    def error(self):
        """Return (N,) how far each point is off the wall that it belongs to [m]."""
        world = self._in_world(np.concatenate(self.points), np.concatenate(self.owner))
        axis, place = np.array(WALLS).T[:, self._wall[np.concatenate(self.spots)]]
        return np.abs(world[np.arange(len(world)), axis.astype(int)] - place)

    def agreement(self):
        """Return the share of spots whose label a voxel has within 5 cm, after the vote.

        Walls are labelled; in each submap a quarter of the voxels, with less confidence, is wrong.
        """
        generator = np.random.default_rng(1)
        seen = np.stack([np.concatenate(self.owner), np.concatenate(self.spots)], axis=1)
        pairs, first, num_views = np.unique(seen, axis=0, return_index=True, return_counts=True)
        submap, spot = pairs.T.copy()
        is_wrong = generator.random(len(spot)) < 0.25
        label = np.where(is_wrong, generator.integers(1, 9, len(spot)), 1 + self._wall[spot])
        coord = self._in_world(np.concatenate(self.points)[first], submap)
        found = vote(
            coord=torch.from_numpy(coord),
            normal=torch.zeros(len(spot), 3),
            submap=torch.from_numpy(submap),
            weight=torch.from_numpy(num_views),
            label=torch.from_numpy(label)[:, None].expand(-1, 2),
            confidence=torch.from_numpy(np.where(is_wrong, 0.4, 0.8))[:, None].expand(-1, 2),
            voxel_size=0.02,
        )
        stands = found.stands.numpy()
        spots = np.unique(spot)
        gap = np.linalg.norm(self._places[spots][:, None] - coord[stands][None], axis=2)
        nearest = found.label[:, 0].numpy()[stands][gap.argmin(1)]
        agrees = (gap.min(1) < 0.05) & (nearest == 1 + self._wall[spots])
        return agrees.mean()

    def jump(self, i):
        return self.submaps.correct(self.true[i] @ invert(self.odom[i]))

    def path(self, end):
        poses = self.true[:end]
        return PosePath(
            stamps_ns=np.arange(end) * SECOND,
            translation=poses[:, :3, 3],
            quaternion=np.stack([to_quaternion(T) for T in poses]),
        )

    def _scatter(self, generator):
        """Return (wall, place on it) of spots all over the walls."""
        wall = generator.integers(0, len(WALLS), NUM_SPOTS)
        spots = generator.uniform(-1.5, SIDE + 1.5, (NUM_SPOTS, 3))
        spots[:, 2] = generator.uniform(0.0, 2.0, NUM_SPOTS)
        axis, place = np.array(WALLS).T[:, wall]
        spots[np.arange(NUM_SPOTS), axis.astype(int)] = place
        return wall, spots

    def _look(self, T_map_camera):
        is_near = np.linalg.norm(self._places - T_map_camera[:3, 3], axis=1) < VIEW
        return is_near.nonzero()[0], moved(invert(T_map_camera), self._places[is_near])

    def _in_world(self, points, owner):
        poses = np.stack([submap.T_world_submap for submap in self.submaps])[owner]
        return np.einsum('nij,nj->ni', poses[:, :3, :3], points) + poses[:, :3, 3]

    def _fits(self, old, T_submap_camera, seen):
        held = [p for p, o in zip(self.points, self.owner, strict=True) if (o == old).all()]
        points = moved(T_submap_camera, seen)
        gap = np.linalg.norm(points[:, None] - np.concatenate(held)[None], axis=2).min(1)
        return np.median(gap) < 0.05


def moved(T, points):
    return points @ T[:3, :3].T + T[:3, 3]


def described(error):
    return f'median {np.median(error):.3f} m, 95 % {np.quantile(error, 0.95):.3f} m'


@pytest.fixture
def tour():
    """Return a tour that has come round, but not closed its loop."""
    tour = Tour(4 * SIDE)
    tour.drive(0, len(tour.true))
    return tour


@pytest.fixture
def last(tour):
    return len(tour.true) - 1


def test_a_loop_closure_by_transform_takes_most_of_the_drift_back(tour, last):
    before = tour.error()
    assert np.quantile(before, 0.95) > 0.5, described(before)
    moved_submaps = tour.jump(last)
    after = tour.error()
    assert moved_submaps == list(range(1, len(tour.submaps)))
    assert np.median(after) < 0.35 * np.median(before), described(after)
    assert np.quantile(after, 0.95) < 0.25 * np.quantile(before, 0.95), described(after)


@pytest.mark.parametrize('has_jumped', [False, True])
def test_a_path_takes_nearly_all_of_it_back(tour, last, has_jumped):
    before = tour.error()
    if has_jumped:
        tour.jump(last)
    tour.submaps.correct_path(tour.path(last + 1), np.eye(4))
    after = tour.error()
    assert np.median(after) < 0.03, described(after)
    assert np.quantile(after, 0.95) < 0.15 * np.quantile(before, 0.95), described(after)


def test_labels_agree_where_the_loop_is_closed(tour, last):
    drifted = tour.agreement()
    tour.jump(last)
    shared = tour.agreement()
    tour.submaps.correct_path(tour.path(last + 1), np.eye(4))
    placed = tour.agreement()
    assert drifted < 0.25, (drifted, shared, placed)
    assert 0.6 < shared < placed, (drifted, shared, placed)


def test_without_a_correction_the_drifted_camera_does_not_get_an_old_submap(tour):
    owners = [owner[0] for owner in tour.owner]
    assert owners == sorted(owners)
    assert np.linalg.norm(tour.submaps[0].T_world_camera[:2, 3]) < 1.0
    assert owners[-1] > 4


def test_once_the_loop_is_closed_the_next_lap_goes_into_the_old_submaps():
    tour = Tour(5 * SIDE)
    lap = round(4 * SIDE / STEP)
    tour.drive(0, lap)
    tour.submaps.correct_path(tour.path(lap), np.eye(4))
    num = len(tour.submaps)
    for i in range(lap, len(tour.true)):
        tour.submaps.correct(tour.true[i] @ invert(tour.odom[i]))
        tour.drive(i, i + 1)
    assert {owner[0] for owner in tour.owner[lap:]} == {num - 1, 1}
    assert len(tour.submaps) == num
    assert np.quantile(tour.error(), 0.95) < 0.15


def test_corrections_never_reach_into_a_submap(tour, last):
    anchors = [submap.T_submap_camera.copy() for submap in tour.submaps]
    active = tour.submaps.active
    _, in_submap = tour.submaps.locate(tour.odom[last], 0, lambda *_: False)
    tour.jump(last)
    tour.submaps.correct_path(tour.path(last), np.eye(4))
    assert tour.submaps.active == active
    _, still = tour.submaps.locate(tour.odom[last], 0, lambda *_: False)
    np.testing.assert_array_equal(still, in_submap)
    for anchor, submap in zip(anchors, tour.submaps, strict=True):
        np.testing.assert_array_equal(anchor, submap.T_submap_camera)
        with pytest.raises(dataclasses.FrozenInstanceError):
            submap.anchor_ns = 0
