import numpy as np
import pytest

from concerto_ros.geometry.transforms import (
    from_quaternion,
    invert,
    is_rigid,
    level,
    nearest_rigid,
    slerp,
    to_quaternion,
)


def random_transform(seed):
    rng = np.random.default_rng(seed)
    return from_quaternion(rng.normal(size=3), rng.normal(size=4))


@pytest.mark.parametrize('seed', range(5))
def test_quaternions_come_back(seed):
    T = random_transform(seed)
    np.testing.assert_allclose(from_quaternion(T[:3, 3], to_quaternion(T)), T, atol=1e-14)


@pytest.mark.parametrize('axis', range(3))
def test_half_turns_have_a_quaternion(axis):
    q = np.eye(4)[axis]
    np.testing.assert_allclose(np.abs(to_quaternion(from_quaternion((0, 0, 0), q))), q)


def test_inverse_cancels():
    T = random_transform(0)
    np.testing.assert_allclose(invert(T) @ T, np.eye(4), atol=1e-14)


def test_quarter_turn_about_z_takes_x_to_y():
    T = from_quaternion((1, 2, 3), (0, 0, 1, 1))
    np.testing.assert_allclose(T @ (1, 0, 0, 1), (1, 3, 3, 1), atol=1e-15)


@pytest.mark.parametrize(('t', 'q'), [((0, 0, 0), (0, 0, 0, 0)), ((np.nan, 0, 0), (0, 0, 0, 1))])
def test_unusable_numbers_are_refused(t, q):
    with pytest.raises(ValueError, match='expected finite numbers and a non-zero quaternion'):
        from_quaternion(t, q)


def test_slerp_goes_half_way_along_the_shorter_arc():
    quarter = np.array([0, 0, np.sin(np.pi / 4), np.cos(np.pi / 4)])
    eighth = [0, 0, np.sin(np.pi / 8), np.cos(np.pi / 8)]
    np.testing.assert_allclose(slerp((0, 0, 0, 1), quarter, 0.5), eighth)
    np.testing.assert_allclose(np.abs(slerp((0, 0, 0, 1), -quarter, 0.5)), eighth)
    np.testing.assert_allclose(slerp(quarter, quarter, 0.3), quarter)


@pytest.mark.parametrize('up', [(0, 0, 1), (0, 0, -1), (1, 0, 0), (0.1, -2, 0.5)])
def test_levelling_takes_up_to_z(up):
    T = level(up)
    assert is_rigid(T)
    np.testing.assert_allclose(T[:3, :3] @ up, (0, 0, np.linalg.norm(up)), atol=1e-12)


def test_levelling_refuses_no_direction():
    with pytest.raises(ValueError, match='expected a direction'):
        level((0, 0, 0))


@pytest.mark.parametrize(
    'T', [np.eye(3), np.diag([1, 1, -1, 1]), np.diag([2, 1, 1, 1]), np.full((4, 4), np.nan)]
)
def test_mirrors_scalings_and_nan_are_not_rigid(T):
    assert not is_rigid(T)


def test_rounded_poses_become_exactly_rigid():
    T = random_transform(3)
    rounded = np.round(T, 4)
    found = nearest_rigid(rounded)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-15)
    np.testing.assert_allclose(found, T, atol=2e-4)
    np.testing.assert_array_equal(found[:, 3], rounded[:, 3])
