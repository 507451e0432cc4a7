import numpy as np
import pytest

from concerto_ros.geometry.transforms import from_quaternion, invert, is_rigid
from concerto_ros.mapping.loop_closure import bend

FAR = np.array([1000.0, -500.0, 3.0])  # from the origin of the world


def turn(yaw, translation=(0.0, 0.0, 0.0)):
    return from_quaternion(translation, [0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])


def drive(yaw_per_step, steps=400, length=0.1):
    """Return poses (steps + 1, 4, 4) along a circle and a straight line, with drifting heading."""
    poses = [turn(0.0, FAR)]
    for step in range(steps):
        curve = 2 * np.pi / steps if step < steps // 2 else 0.0
        poses.append(poses[-1] @ turn(curve + yaw_per_step, [length, 0.0, 0.0]))
    return np.stack(poses)


def test_heading_that_drifts_evenly_is_taken_back():
    true, drifted = drive(0.0), drive(0.001)
    T_new_old = true[-1] @ invert(drifted[-1])
    found = bend(T_new_old, drifted[:, :3, 3], 0.1 * np.arange(401.0)) @ drifted
    off = np.linalg.norm(drifted[:, :3, 3] - true[:, :3, 3], axis=1)
    assert off.max() > 2.0
    np.testing.assert_allclose(found, true, atol=0.01)  # 10 cm steps are straight


def test_a_shift_grows_with_the_way():
    position = FAR + np.array([[0.0, 0, 0], [1, 0, 0], [1, 3, 0]])
    moves = bend(turn(0.0, [0.4, 0.0, 0.0]), position, np.array([5.0, 6.0, 9.0]))
    np.testing.assert_allclose(moves[:, 0, 3], [0.0, 0.1, 0.4], atol=1e-9)
    np.testing.assert_allclose(moves[:, :3, :3], np.broadcast_to(np.eye(3), (3, 3, 3)))


def test_the_ends_are_those_that_are_asked_for():
    generator = np.random.default_rng(0)
    T_new_old = from_quaternion([0.3, -0.2, 0.1], [0.1, -0.1, 0.3, 0.9])
    moves = bend(T_new_old, generator.normal(size=(6, 3)), np.arange(6.0))
    np.testing.assert_allclose(moves[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(moves[-1], T_new_old, atol=1e-12)
    assert all(map(is_rigid, moves))


@pytest.mark.parametrize('num', [1, 2])
def test_without_a_way_all_move_alike(num):
    T_new_old = turn(0.3, [1.0, 2.0, 3.0])
    moves = bend(T_new_old, np.zeros((num, 3)), np.full(num, 7.0))
    np.testing.assert_array_equal(moves, np.broadcast_to(T_new_old, (num, 4, 4)))
