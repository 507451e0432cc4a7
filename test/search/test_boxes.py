import numpy as np
import pytest

from concerto_ros.search.boxes import upright_box


def rectangle(long, short, height, yaw, center):
    """Points of a block, every 2 cm."""
    axes = [np.linspace(-v / 2, v / 2, round(v / 0.02) + 1) for v in (long, short, height)]
    x, y, z = (v.ravel() for v in np.meshgrid(*axes))
    c, s = np.cos(yaw), np.sin(yaw)
    return np.stack([c * x - s * y, s * x + c * y, z], axis=1) + center


@pytest.mark.parametrize('yaw_deg', [0, 30, 45, 89, -60, -89.9, 12.34])
def test_a_turned_block_is_measured(yaw_deg):
    coord = rectangle(0.6, 0.3, 0.1, np.deg2rad(yaw_deg), (-3.0, 40.0, 1.0))
    box = upright_box(coord, 0.02)
    np.testing.assert_allclose(box.center, (-3, 40, 1), atol=1e-3)
    np.testing.assert_allclose(box.size, (0.6, 0.3, 0.1), atol=1e-3)
    turned = (np.rad2deg(box.yaw) - yaw_deg + 90) % 180 - 90
    assert abs(turned) <= 0.06


def test_the_box_holds_all_points():
    rng = np.random.default_rng(0)
    coord = rng.normal(size=(500, 3)).astype(np.float32)
    box = upright_box(coord, 0.02)
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    local = (coord - box.center) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    assert (np.abs(local) <= box.size / 2 + 1e-6).all()
    assert -np.pi / 2 <= box.yaw < np.pi / 2


def test_a_triangle_has_a_side_on_its_box():
    box = upright_box(np.array([[0.0, 0, 0], [0.8, 0, 0], [0.4, 0.3, 0]]), 0.02)
    np.testing.assert_allclose(box.size, (0.8, 0.3, 0.02), atol=1e-6)
    assert abs(box.yaw) < 1e-6


def test_one_point_is_one_voxel():
    box = upright_box(np.array([[1.0, -2.0, 3.0]]), 0.02)
    np.testing.assert_allclose(box.center, (1, -2, 3))
    np.testing.assert_allclose(box.size, 0.02)


def test_two_points_give_a_stick_along_them():
    box = upright_box(np.array([[0.0, 0, 0], [0.3, 0.3, 0]]), 0.02)
    np.testing.assert_allclose(box.size, (0.3 * np.sqrt(2), 0.02, 0.02), atol=1e-6)
    np.testing.assert_allclose(np.rad2deg(box.yaw), 45, atol=0.06)
    np.testing.assert_allclose(box.center, (0.15, 0.15, 0), atol=1e-6)


@pytest.mark.parametrize(('axis', 'yaw_deg'), [(0, 0), (1, -90)])
def test_collinear_points_have_a_width(axis, yaw_deg):
    coord = np.zeros((10, 3))
    coord[:, axis] = np.linspace(0, 0.5, 10)
    box = upright_box(coord, 0.02)
    np.testing.assert_allclose(box.size, (0.5, 0.02, 0.02), atol=1e-6)
    np.testing.assert_allclose(np.rad2deg(box.yaw), yaw_deg, atol=0.06)


def test_the_order_of_points_does_not_matter():
    rng = np.random.default_rng(1)
    coord = rng.normal(size=(300, 3))
    box, again = (upright_box(c, 0.02) for c in (coord, coord[rng.permutation(300)]))
    assert box.yaw == again.yaw
    np.testing.assert_array_equal(box.center, again.center)
    np.testing.assert_array_equal(box.size, again.size)
