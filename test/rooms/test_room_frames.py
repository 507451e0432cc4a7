import numpy as np
import pytest

from concerto_ros.errors import ConfigError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.rooms.classes import CLASS_ID
from concerto_ros.rooms.primitives import signed_distance, yaw_rotation
from concerto_ros.rooms.render import cast, render
from concerto_ros.rooms.room import DEFAULT_CAMERA, SyntheticRoom
from concerto_ros.rooms.trajectory import look

SMALL = DEFAULT_CAMERA.scaled(80, 60)
TINY = PinholeCamera(width=32, height=24, fx=24.0, fy=25.0, cx=15.0, cy=12.5)


@pytest.fixture(scope='module')
def room():
    return SyntheticRoom(3, 'office')


@pytest.fixture(scope='module')
def exact(room):
    return room.frames(20, SMALL, noise=None)


def back_projected(frame):
    points = frame.depth_camera.rays().astype(np.float64) * frame.depth[..., None]
    return points @ frame.T_map_depth[:3, :3].T + frame.T_map_depth[:3, 3]


def test_frames_are_a_source_of_known_length(exact):
    frames = list(exact)
    assert len(exact) == len(frames) == 20
    assert all(isinstance(frame, RGBDFrame) for frame in frames)
    assert np.unique(np.diff([frame.stamp_ns for frame in frames])) == [100_000_000]
    assert frames[0].color.shape == (60, 80, 3)


def test_same_seed_gives_bit_equal_frames():
    pair = [SyntheticRoom(8).frames(6, SMALL) for _ in range(2)]
    for index in (0, 5, 2):
        a, b = pair[0][index], pair[1][index]
        np.testing.assert_array_equal(a.depth, b.depth)
        np.testing.assert_array_equal(a.color, b.color)
        np.testing.assert_array_equal(a.T_map_depth, b.T_map_depth)


def test_asking_in_another_order_changes_nothing(room):
    forward = room.frames(3, SMALL)
    in_order = [forward[index] for index in range(3)]
    backward = room.frames(3, SMALL)
    for index in (2, 0, 1):
        np.testing.assert_array_equal(backward[index].depth, in_order[index].depth)


def test_exact_depth_lies_on_the_labelled_object(room, exact):
    for index in (0, 9, 19):
        points = back_projected(exact[index])
        truth = exact.frame_truth(index)
        assert (truth.depth > 0).all()
        for placed in room.layout.objects:
            shown = truth.instance == placed.id
            if not shown.any():
                continue
            gaps = [np.abs(signed_distance(part, points[shown])) for part in placed.parts]
            assert np.min(gaps, axis=0).max() < 1e-4, placed.model.family
            assert (truth.label[shown] == CLASS_ID[placed.model.class_name]).all()


def test_culled_rendering_equals_brute_force(room, exact):
    for pose in exact.poses[::5]:
        near = pose.copy()
        near[2, 3] = 0.6  # among table legs, with parts behind and beside the camera
        for T in (pose, near):
            culled = cast(room._solids, TINY, T)
            brute = cast(room._solids, TINY, T, cull=False)
            np.testing.assert_array_equal(culled[0], brute[0])
            np.testing.assert_array_equal(culled[1], brute[1])


def test_view_of_nothing_has_no_depth(room):
    nothing = render([], room._lights, TINY, np.eye(4))
    assert (nothing.depth == 0).all()
    assert (nothing.part == -1).all()


def test_noise_leaves_geometry_poses_and_truth_alone(room, exact):
    noisy = room.frames(20, SMALL)
    np.testing.assert_array_equal(noisy.poses, exact.poses)
    for index in (4, 12):
        a, b = noisy[index], exact[index]
        measured = a.depth > 0
        assert measured.mean() > 0.5
        assert not np.array_equal(a.depth, b.depth)
        assert np.median(np.abs(a.depth - b.depth)[measured]) < 0.02
        np.testing.assert_array_equal(
            noisy.frame_truth(index).depth, exact.frame_truth(index).depth
        )


def test_camera_path_stays_in_free_space_and_moves_smoothly():
    for seed in range(12):
        room = SyntheticRoom(seed)
        poses = room.frames(40, TINY).poses
        position = poses[:, :3, 3]
        clearance = np.min(
            [o.footprint.distance(position[:, :2]) for o in room.layout.objects
             if o.footprint.low < 1.7 and o.footprint.high > 0.15
             and o.model.class_name not in ('wall', 'floor', 'ceiling')], axis=0,
        )  # fmt: skip
        assert clearance.min() > 0.18
        assert (np.abs(position[:, :2]) < np.array(room.size[:2]) / 2 - 0.18).all()
        assert np.linalg.norm(np.diff(position, axis=0), axis=1).max() < 0.2
        cosine = (poses[1:, :3, 2] * poses[:-1, :3, 2]).sum(axis=1)
        assert np.degrees(np.arccos(cosine.min())) < 20
        np.testing.assert_allclose(
            poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1),
            np.broadcast_to(np.eye(3), (40, 3, 3)), atol=1e-12,
        )  # fmt: skip


def test_walk_shows_most_of_the_objects():
    for seed in range(4):
        room = SyntheticRoom(seed)
        frames = room.frames(50, SMALL, noise=None)
        seen = set().union(*(np.unique(frames.frame_truth(k).instance) for k in range(0, 50, 2)))
        assert len(seen) > 0.75 * len(room.instances), room.kind


def test_camera_looks_where_told():
    T = look(np.array([1.0, 2.0, 3.0]), yaw=0.0, pitch=0.0)
    np.testing.assert_allclose(T[:3, 2], [1, 0, 0])  # forward
    np.testing.assert_allclose(T[:3, 0], [0, -1, 0])  # right
    np.testing.assert_allclose(T[:3, 1], [0, 0, -1])  # down
    assert look(np.zeros(3), 0.0, 0.5)[2, 2] > 0  # positive pitch looks up
    rolled = look(np.zeros(3), 0.3, -0.2, 0.1)
    np.testing.assert_allclose(np.linalg.det(rolled), 1)


@pytest.mark.parametrize('count', [1, 2])
def test_shortest_walks(room, count):
    frames = room.frames(count, TINY)
    assert len(frames) == count
    assert frames[count - 1].depth.shape == (24, 32)


def test_cloud_is_the_visible_labelled_surface(room):
    cloud = room.cloud(0.05)
    assert len(cloud) > 10_000
    np.testing.assert_allclose(np.linalg.norm(cloud.normal, axis=1), 1, atol=1e-5)
    assert (cloud.label > 0).all()
    # nothing lies inside a solid: a millimetre before each point there is air
    before = cloud.coord + 2e-3 * cloud.normal
    for placed in room.layout.objects:
        for part in placed.parts:
            assert signed_distance(part, before).min() > -2e-3
    assert {i.id for i in room.instances} >= set(np.unique(cloud.instance).tolist())


def test_cloud_agrees_with_images(room, exact):
    cloud = room.cloud(0.04)
    points = back_projected(exact[10])[::7, ::9].reshape(-1, 3)
    color = exact[10].color[::7, ::9].reshape(-1, 3).astype(int)
    instance = exact.frame_truth(10).instance[::7, ::9].ravel()
    square = ((points[:, None] - cloud.coord[None].astype(np.float64)) ** 2).sum(axis=2)
    nearest = square.argmin(axis=1)
    assert np.sqrt(square.min(axis=1)).max() < 0.06
    assert (cloud.instance[nearest] == instance).mean() > 0.9
    assert np.median(np.abs(cloud.color[nearest].astype(int) - color)) < 12


def test_truth_boxes_contain_their_points_tightly(room):
    cloud = room.cloud(0.03)
    for instance in room.instances:
        points = cloud.coord[cloud.instance == instance.id] - instance.box.center
        local = points @ yaw_rotation(instance.box.yaw)
        assert (np.abs(local) <= instance.box.size / 2 + 1e-4).all(), instance.family
    chairs = [i for i in room.instances if i.scannet20 == 'chair']
    assert chairs
    for instance in chairs:
        points = cloud.coord[cloud.instance == instance.id] - instance.box.center
        local = points @ yaw_rotation(instance.box.yaw)
        assert (np.ptp(local, axis=0) > instance.box.size - 0.08).all()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'seed': -1}, 'seed must be 0 or more, got -1'),
        ({'seed': 0, 'kind': 'garage'}, "kind must be one of living_room, .*, got 'garage'"),
        ({'seed': 0, 'families': 'new'}, "families must be one of all, train, test, got 'new'"),
    ],
)
def test_invalid_arguments_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SyntheticRoom(**arguments)


def test_invalid_requests_are_named(room, exact):
    with pytest.raises(ConfigError, match='num_frames must be 1 or more, got 0'):
        room.frames(0)
    with pytest.raises(ConfigError, match='spacing must be above 0 m, got 0'):
        room.cloud(0)
    with pytest.raises(IndexError, match='frame 20 of a walk of 20 frames'):
        exact[20]
    with pytest.raises(IndexError, match='frame -1'):
        exact.frame_truth(-1)
