import numpy as np
import pytest

from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import invert
from concerto_ros.visualization import render
from concerto_ros.visualization.render import fit_view, render_depth, render_points


def camera(width=7, height=5, f=10.0):
    return PinholeCamera(
        width=width, height=height, fx=f, fy=f, cx=(width - 1) / 2, cy=(height - 1) / 2
    )


def room(n=4000):
    """A floor of 4 x 3 m with two walls, at x = 0 and at y = 0, normals into the room."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, n))
    zero, one = np.zeros(n), np.ones(n)
    coord = [
        np.stack(p, 1) for p in ((4 * a, 3 * b, zero), (zero, 3 * a, 2 * b), (4 * a, zero, 2 * b))
    ]
    normal = [np.stack(p, 1) for p in ((zero, zero, one), (one, zero, zero), (zero, one, zero))]
    return np.concatenate(coord), np.concatenate(normal)


def test_a_small_point_marks_the_pixel_of_its_centre():
    depth = render_depth(np.array([[0.1, -0.1, 1.0]]), 1e-4, camera(), np.eye(4))
    expected = np.full((5, 7), np.nan, np.float32)
    expected[1, 4] = 1.0  # u = 3 + 10 * 0.1, v = 2 - 10 * 0.1
    np.testing.assert_array_equal(depth, expected)


def test_a_disc_covers_the_pixels_within_its_radius():
    depth = render_depth(np.array([[0.0, 0.0, 2.0]]), 0.4, camera(), np.eye(4))  # 2 px
    rows, columns = np.nonzero(np.isfinite(depth))
    expected = {(v, u) for v in range(5) for u in range(7) if (v - 2) ** 2 + (u - 3) ** 2 <= 4}
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == expected


@pytest.mark.parametrize('order', [[0, 1], [1, 0]])
def test_the_nearest_disc_wins_in_any_order(order):
    coord = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]])[order]
    depth = render_depth(coord, 0.2, camera(), np.eye(4))
    assert depth[2, 3] == 1.0


def test_a_disc_is_cut_at_the_edge_of_the_image():
    depth = render_depth(np.array([[-0.4, 0.0, 1.0]]), 0.21, camera(), np.eye(4))  # u = -1, 2 px
    assert np.isfinite(depth).sum() == 4  # u = 0 with |v| <= 1.8, u = 1 at v = 2
    assert np.isfinite(depth[1:4, 0]).all()
    assert np.isfinite(depth[2, 1])


def test_points_that_cannot_be_seen_leave_no_trace():
    coord = np.array([[0, 0, -1.0], [0, 0, 0], [np.nan, 0, 1], [0, np.inf, 1], [9, 0, 1]])
    assert np.isnan(render_depth(coord, 0.1, camera(), np.eye(4))).all()
    assert np.isnan(render_depth(np.zeros((0, 3)), 0.1, camera(), np.eye(4))).all()


def test_the_pose_of_the_camera_is_used():
    T_map_camera = np.eye(4)
    T_map_camera[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]  # looks along x of the map
    T_map_camera[:3, 3] = (1, 2, 3)
    depth = render_depth(np.array([[3.0, 2.0, 3.0]]), 1e-3, camera(), T_map_camera)
    assert depth[2, 3] == 2.0
    assert np.isfinite(depth).sum() == 1


def test_a_dense_plane_gives_its_depth_everywhere():
    x, y = np.meshgrid(np.arange(-1.5, 1.5, 0.02), np.arange(-1.5, 1.5, 0.02))
    coord = np.stack([x, y, 2 + 0.2 * x], axis=-1).reshape(-1, 3)
    cam = camera(64, 48, 120.0)
    depth = render_depth(coord, 0.0175, cam, np.eye(4))
    expected = 2 / (1 - 0.2 * cam.rays()[..., 0])
    # Nearer by up to slope times radius, farther by up to half a cell (both with the diagonal).
    assert np.isfinite(depth).all()
    assert (depth - expected).min() > -0.2 * 0.0175 - 1e-3
    assert (depth - expected).max() < 0.2 * 0.01 + 1e-3


def test_pieces_do_not_change_the_result(monkeypatch):
    coord, _ = room(300)
    view = fit_view(coord, np.zeros_like(coord), width=60, height=40)
    whole = render_depth(coord, 0.1, view.camera, view.T_map_camera)
    monkeypatch.setattr(render, '_MAX_PAIRS', 50)
    pieces = render_depth(coord, 0.1, view.camera, view.T_map_camera)
    np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize(('width', 'height'), [(90, 60), (60, 90)])
def test_the_view_holds_the_map_and_fills_the_picture(width, height):
    coord, normal = room()
    view = fit_view(coord, normal, width=width, height=height)
    T = invert(view.T_map_camera)
    pixel, depth = view.camera.project(coord @ T[:3, :3].T + T[:3, 3])
    inside = ((pixel > -0.5) & (pixel < (width - 0.5, height - 0.5))).all(axis=1)
    assert (depth > 0).all()
    assert inside.mean() > 0.97
    assert (np.ptp(pixel, axis=0) / (width, height)).max() > 0.85


def test_the_view_is_from_the_open_side_and_ignores_far_outliers():
    coord, normal = room()
    view = fit_view(coord, normal, width=90, height=60)
    assert (view.T_map_camera[:3, 3] > (0, 3, 2)).all()  # walls are at x = 0 and at y = 0
    far = np.concatenate([coord, [[500.0, 500.0, 500.0]]])
    moved = fit_view(far, np.concatenate([normal, normal[:1]]), width=90, height=60)
    assert np.linalg.norm(moved.T_map_camera[:3, 3] - view.T_map_camera[:3, 3]) < 1.0


def test_the_picture_shows_the_colours_and_looks_through_the_ceiling():
    x, y = (v.ravel() for v in np.meshgrid(np.arange(0, 2, 0.05), np.arange(0, 2, 0.05)))
    floor, ceiling = np.stack([x, y, 0 * x], 1), np.stack([x, y, 0 * x + 0.5], 1)
    coord = np.concatenate([floor, ceiling])
    normal = np.repeat([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], len(x), axis=0)
    color = np.repeat([[200, 0, 0], [0, 200, 0]], len(x), axis=0).astype(np.uint8)
    view = fit_view(coord, normal, width=80, height=60)
    red, grey = render_points(
        coord, [color, np.full_like(color, 128)], normal, radius=0.05, view=view
    )
    assert red.shape == (60, 80, 3)
    assert red.dtype == np.uint8
    assert (red[0, 0] == red[-1, -1]).all()  # background
    middle = red[25:35, 35:45].reshape(-1, 3)
    assert (middle[:, 0] > 100).all()
    assert (middle[:, 1] == 0).all()
    assert (np.ptp(grey, axis=2)[25:35, 35:45] == 0).all()


def test_a_step_in_depth_casts_a_shade_and_a_plane_does_not():
    depth = np.full((20, 20), 3.0, np.float32)
    assert (render._depth_shading(depth) == 1).all()
    depth[:, :10] = 2.0
    shade = render._depth_shading(depth)
    assert (shade[:, :10] == 1).all()
    assert (shade[:, 10] < 0.95).all()
    depth[:, :10] = np.inf
    assert (render._depth_shading(depth)[:, 10:] == 1).all()


def test_nothing_gives_an_empty_picture():
    view = fit_view(np.zeros((1, 3)), np.zeros((1, 3)), width=8, height=6)
    (image,) = render_points(
        np.zeros((0, 3)), [np.zeros((0, 3), np.uint8)], np.zeros((0, 3)), radius=0.1, view=view
    )
    assert (image == image[0, 0]).all()
