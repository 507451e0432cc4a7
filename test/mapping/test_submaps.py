import json

import numpy as np
import pytest

from concerto_ros.errors import MapFileError
from concerto_ros.geometry.pose_path import PosePath
from concerto_ros.geometry.transforms import from_quaternion, invert, is_rigid, to_quaternion
from concerto_ros.mapping import submaps as submaps_module
from concerto_ros.mapping.submaps import Submaps

VOXEL = 0.02
CHUNK = 1.28
SECOND = 1_000_000_000
NOWHERE = np.eye(4)


def at(x, y=0.0, z=1.0, yaw=0.0):
    return from_quaternion([x, y, z], [0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])


def never(submap, T_submap_camera):
    return False


def always(submap, T_submap_camera):
    return True


def make(saved=(), voxels_per_cell=1):
    return Submaps(VOXEL, voxels_per_cell, radius=8.0, height=1.5, saved=saved)


def drive(submaps, *x, fits=never, y=0.0, start=0):
    """Drive along x, one stop per second; return the ids that the stops got."""
    return [
        submaps.locate(at(stop, y), (start + second) * SECOND, fits)[0]
        for second, stop in enumerate(x)
    ]


def worlds(submaps):
    return np.stack([submap.T_world_submap for submap in submaps])


def path_through(*poses, stamps):
    return PosePath(
        stamps_ns=np.array(stamps, dtype=np.int64) * SECOND,
        translation=np.stack([T[:3, 3] for T in poses]),
        quaternion=np.stack([to_quaternion(T) for T in poses]),
    )


def test_a_submap_ends_where_the_camera_is_far_from_its_anchor():
    submaps = make()
    assert drive(submaps, 0, 4, 8, 9, 16, 17.1) == [0, 0, 0, 1, 1, 2]
    assert submaps.active == 2
    assert submaps.locate(at(17.1, z=2.4), 0, never)[0] == 2
    assert submaps.locate(at(17.1, z=2.6), 0, never)[0] == 3


def test_at_a_border_it_does_not_go_to_and_fro():
    assert drive(make(), 0, 7.9, 8.1, 7.9, 8.1, 4.0) == [0, 0, 1, 1, 1, 1]


def test_without_drift_all_submaps_share_one_lattice():
    submaps = make()
    submaps.floor_z = 0.013
    places = []
    for x in np.arange(0, 60, 3.3):
        T_odom_camera = at(x, 0.7 * x, yaw=0.1 * x)
        submap, T_submap_camera = submaps.locate(T_odom_camera, 0, never)
        np.testing.assert_allclose(
            submaps[submap].T_world_submap @ T_submap_camera, T_odom_camera, atol=1e-12
        )
        places.append(submaps[submap].T_world_submap)
    assert len(submaps) > 4
    np.testing.assert_array_equal(
        np.stack(places)[:, :3, :3], np.broadcast_to(np.eye(3), (len(places), 3, 3))
    )
    chunks = np.stack(places)[:, :2, 3] / CHUNK
    np.testing.assert_allclose(chunks, np.round(chunks), atol=1e-9)
    assert np.abs([s.T_submap_camera[:2, 3] for s in submaps]).max() <= CHUNK / 2 + 1e-9


@pytest.mark.parametrize('voxels_per_cell', [1, 2])
@pytest.mark.parametrize('floor_z', [0.0, -0.31, 2.77])
def test_the_floor_lies_one_cell_above_the_origin(voxels_per_cell, floor_z):
    submaps = make(voxels_per_cell=voxels_per_cell)
    drive(submaps, 0)
    assert submaps[0].T_world_submap[2, 3] == 0.0
    submaps.floor_z = floor_z
    drive(submaps, 9)
    z = submaps[1].T_world_submap[2, 3]
    cell = VOXEL * voxels_per_cell
    assert floor_z - z == pytest.approx(cell, abs=cell / 2 + 1e-9)
    assert z / cell == pytest.approx(round(z / cell))


def test_an_old_submap_takes_the_camera_back_only_if_it_fits():
    submaps = make()
    drive(submaps, 0, 9, 18)
    asked = []

    def fits(submap, T_submap_camera):
        asked.append(submap)
        return submap == 0

    assert drive(submaps, 18, 7.9, 7, fits=fits) == [2, 0, 0]
    assert asked == [1, 0]  # the nearest first, each once
    assert drive(make(), 0, 9, 0) == [0, 1, 2]


def test_back_in_an_old_submap_the_camera_is_where_the_world_says():
    submaps = make()
    submaps.correct(NOWHERE)
    drive(submaps, 0, 9)
    T_map_odom = at(0.2, 0.3, 0.0, yaw=0.1)
    submaps.correct(T_map_odom)
    T_odom_camera = at(0.0)
    submap, T_submap_camera = submaps.locate(T_odom_camera, 0, always)
    assert submap == 0
    np.testing.assert_allclose(
        submaps[0].T_world_submap @ T_submap_camera, T_map_odom @ T_odom_camera, atol=1e-12
    )
    step = at(0.5, z=0.0)
    _, moved_on = submaps.locate(T_odom_camera @ step, 0, always)
    np.testing.assert_allclose(moved_on, T_submap_camera @ step, atol=1e-12)


def test_another_camera_finds_the_active_submap():
    submaps = make()
    submaps.correct(at(2.0, yaw=0.4))
    drive(submaps, 0, 9)
    T_odom_other = at(9.3, yaw=1.0)
    T_submap_other = invert(submaps.T_odom_active) @ T_odom_other
    np.testing.assert_allclose(
        submaps[1].T_world_submap @ T_submap_other, submaps.T_world_odom @ T_odom_other, atol=1e-12
    )


def test_the_first_correction_moves_everything_rigidly():
    submaps = make()
    drive(submaps, 0, 9, 18)
    before, T_map_odom = worlds(submaps), at(5.0, 2.0, yaw=1.0)
    assert submaps.correct(T_map_odom) == [0, 1, 2]
    np.testing.assert_allclose(worlds(submaps), T_map_odom @ before, atol=1e-12)
    np.testing.assert_allclose(submaps.T_world_odom, T_map_odom, atol=1e-12)


def test_a_correction_before_any_frame_places_the_first_submap():
    submaps = make()
    assert submaps.correct(at(5.0)) == []
    drive(submaps, 0)
    assert submaps[0].T_world_camera[:3, 3] == pytest.approx([5.0, 0.0, 2.0])


def test_jitter_moves_the_active_submap_only_and_no_voxel():
    submaps = make()
    submaps.correct(NOWHERE)
    drive(submaps, 0, 9)
    generator, T_odom_camera = np.random.default_rng(0), at(9.5)
    before, (_, in_submap) = worlds(submaps), submaps.locate(T_odom_camera, 0, never)
    for dx, dy, yaw in generator.uniform(-0.012, 0.012, (50, 3)):
        assert submaps.correct(at(dx, dy, 0.0, yaw=yaw / 10)) in ([], [1])
        np.testing.assert_array_equal(submaps.locate(T_odom_camera, 0, never)[1], in_submap)
    np.testing.assert_array_equal(worlds(submaps)[0], before[0])
    assert not np.array_equal(worlds(submaps)[1], before[1])
    assert len(submaps) == 2


def test_what_nobody_would_see_waits_until_it_adds_up():
    submaps = make()
    submaps.correct(NOWHERE)
    drive(submaps, 0)
    assert [submaps.correct(at(0.002 * i, z=0.0)) for i in range(4)] == [[], [], [], [0]]
    assert submaps[0].T_world_camera[0, 3] == pytest.approx(0.006)


def test_jitter_is_measured_where_the_camera_is():
    submaps = make()
    submaps.correct(NOWHERE)
    drive(submaps, 0, 1000, 1009)
    turn_there = at(1009) @ at(0.0, z=0.0, yaw=np.radians(0.9)) @ invert(at(1009))
    assert np.linalg.norm(turn_there[:3, 3]) > 10.0
    assert submaps.correct(turn_there) == [2]


def test_a_jump_is_shared_along_the_way_since_the_last_one():
    submaps = make()
    submaps.correct(NOWHERE)
    drive(submaps, 0, 10, 20, 25)
    assert submaps.correct(at(0.0, 1.0, 0.0)) == [1, 2]
    np.testing.assert_allclose(
        [s.T_world_camera[:2, 3] for s in submaps], [[0, 0], [10, 0.4], [20, 1.0]], atol=1e-9
    )
    drive(submaps, 30, 40, 45)
    assert submaps.correct(at(0.0, 2.0, 0.0)) == [3, 4]
    np.testing.assert_allclose(
        [s.T_world_camera[1, 3] for s in submaps], [0, 0.4, 1.0, 1.25, 2.0], atol=1e-9
    )


def test_an_old_submap_that_the_camera_came_back_to_is_left_by_a_jump():
    submaps = make()
    submaps.correct(NOWHERE)
    drive(submaps, 0, 10, 20, 12)
    assert drive(submaps, 2, fits=always) == [0]
    before = worlds(submaps)[0]
    assert submaps.correct(at(0.0, 1.0, 0.0)) == [1, 2]
    np.testing.assert_array_equal(worlds(submaps)[0], before)
    assert submaps.active is None
    assert drive(submaps, 2) == [3]


def test_a_path_places_the_anchors_it_covers_and_takes_the_others_along():
    submaps = make()
    submaps.correct(NOWHERE)
    drive(submaps, 0, 10, 20, 30)
    T_body_camera = at(0.2, 0.0, 0.5, yaw=0.3)
    wanted = [at(10.0, 1.0, yaw=0.2), at(19.0, 2.0, yaw=0.4)]
    path = path_through(*(T @ invert(T_body_camera) for T in wanted), stamps=(1, 2))
    before = worlds(submaps)
    assert submaps.correct_path(path, T_body_camera) == [0, 1, 2, 3]
    after = worlds(submaps)
    np.testing.assert_allclose(submaps[1].T_world_camera, wanted[0], atol=1e-9)
    np.testing.assert_allclose(submaps[2].T_world_camera, wanted[1], atol=1e-9)
    np.testing.assert_allclose(after[0], after[1] @ invert(before[1]) @ before[0], atol=1e-9)
    np.testing.assert_allclose(after[3], after[2] @ invert(before[2]) @ before[3], atol=1e-9)
    camera = submaps.locate(at(30), 0, never)[1]
    np.testing.assert_allclose(after[3] @ camera, submaps.T_world_odom @ at(30), atol=1e-9)
    assert submaps.correct_path(path, T_body_camera) == []


def test_a_path_that_covers_nothing_moves_nothing():
    submaps = make()
    drive(submaps, 0, 10)
    assert submaps.correct_path(path_through(at(5.0), stamps=(7,)), NOWHERE) == []


def test_the_jump_that_comes_with_a_path_is_not_shared_again():
    submaps = make()
    submaps.correct(NOWHERE)
    drive(submaps, 0, 10, 20)
    path = path_through(at(0.0), at(10.0, 0.5), at(20.0, 1.0), stamps=(0, 1, 2))
    assert submaps.correct_path(path, NOWHERE) == [1, 2]
    assert submaps.correct(at(0.0, 1.0, 0.0)) == []
    assert submaps.correct(at(0.0, 1.3, 0.0)) == [2]


def test_poses_stay_rigid_through_many_corrections():
    submaps = make()
    submaps.correct(NOWHERE)
    drive(submaps, 0, 10, 20)
    for i in range(200):
        side = 0.3 * (i % 2)
        ends = at(0.0, side, yaw=side), at(20.0, 2 * side, yaw=2 * side)
        submaps.correct_path(path_through(*ends, stamps=(0, 2)), NOWHERE)
        submaps.correct(at(0.0, side, 0.0, yaw=side))
    assert all(is_rigid(T, tolerance=1e-12) for T in worlds(submaps))


def test_what_is_saved_comes_back():
    submaps = make()
    submaps.correct(at(3.0, yaw=0.7))
    drive(submaps, 0, 9)
    read = make(json.loads(json.dumps(submaps.saved())))
    assert len(read) == 2
    assert read.active is None
    np.testing.assert_allclose(worlds(read), worlds(submaps), atol=1e-12)
    for old, new in zip(submaps, read, strict=True):
        np.testing.assert_allclose(new.T_submap_camera, old.T_submap_camera, atol=1e-12)
        assert (new.anchor_ns, new.travelled) == (old.anchor_ns, old.travelled)


def test_what_was_loaded_stays_while_what_is_new_moves():
    submaps = make()
    drive(submaps, 0, 9)
    read = make(submaps.saved())
    before = worlds(read)
    assert drive(read, 0, 9, fits=never) == [2, 3]
    assert read.correct(at(9.0, z=0.0)) == [2, 3]
    assert drive(read, 18) == [4]
    assert read.correct(at(9.0, 0.5, z=0.0)) == [4]
    read.correct_path(path_through(at(9.0), at(9.0), stamps=(60, 61)), NOWHERE)
    np.testing.assert_array_equal(worlds(read)[:2], before)


def test_a_loaded_submap_is_left_when_odom_is_placed():
    submaps = make()
    drive(submaps, 0)
    read = make(submaps.saved())
    assert drive(read, 0, fits=always) == [0]
    assert read.correct(at(4.0)) == []
    assert read.active is None


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('T_world_submap', [[1.0, 0.0], [0.0, 1.0]]),
        ('T_submap_camera', np.diag([2.0, 1.0, 1.0, 1.0]).tolist()),
        ('T_world_submap', [['a', 0, 0, 0]] * 4),
        ('anchor_ns', 1.5),
        ('travelled', float('nan')),
        ('travelled', -1.0),
        ('travelled', None),
    ],
)
def test_a_damaged_entry_is_named(name, value):
    submaps = make()
    drive(submaps, 0, 9)
    entries = submaps.saved()
    entries[1][name] = value
    with pytest.raises(MapFileError, match='submap 1 is damaged'):
        make(entries)
    del entries[1][name]
    with pytest.raises(MapFileError, match='submap 1 is damaged'):
        make(entries)


def test_a_correction_that_is_no_pose_is_refused():
    with pytest.raises(ValueError, match='no rigid transform'):
        make().correct(np.diag([1.0, 1.0, np.nan, 1.0]))


def test_no_submap_is_made_beyond_the_last_id(monkeypatch):
    monkeypatch.setattr(submaps_module, 'MAX_SUBMAPS', 2)
    submaps = make()
    drive(submaps, 0, 9)
    with pytest.raises(MapFileError, match='2 submaps'):
        drive(submaps, 18)


def test_a_parked_robot_does_not_travel():
    submaps = make()
    generator = np.random.default_rng(0)
    for x, y in generator.normal(scale=0.01, size=(300, 2)):
        submaps.locate(at(x, y), 0, never)
    drive(submaps, 9)
    assert submaps[1].travelled == pytest.approx(9.0, abs=0.1)
