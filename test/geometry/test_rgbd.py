import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from concerto_ros.config.schema import DepthConfig
from concerto_ros.errors import FrameError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.rgbd import surface_points
from concerto_ros.geometry.transforms import from_quaternion

ALL = DepthConfig(stride=1)


def make_camera(width=40, height=30):
    return PinholeCamera(
        width=width, height=height, fx=36.0, fy=36.0, cx=width / 2 - 0.5, cy=height / 2 - 0.5
    )


def make_frame(depth, color=None, **changes):
    depth = np.asarray(depth, dtype=np.float32)
    camera = make_camera(depth.shape[1], depth.shape[0])
    if color is None:
        color = np.zeros((*depth.shape, 3), np.uint8)
    values = {
        'stamp_ns': 0,
        'color': color,
        'depth': depth,
        'color_camera': camera,
        'depth_camera': camera,
        'T_map_depth': np.eye(4),
    }
    return RGBDFrame(**{**values, **changes})


def wall(depth=2.0, shape=(30, 40)):
    return np.full(shape, depth, np.float32)


def pixels(points, camera):
    """Pixel numbers (M,) of points seen from the origin."""
    pixel, _ = camera.project(points.coord.cpu().numpy())
    u, v = np.rint(pixel).astype(int).T
    return v * camera.width + u


def test_every_pixel_of_a_wall_lies_on_it(device):
    frame = make_frame(wall())
    points = surface_points(frame, ALL, 0, device)
    expected = torch.from_numpy(frame.depth_camera.rays().reshape(-1, 3) * 2)
    torch.testing.assert_close(points.coord.cpu(), expected)
    assert points.coord.device.type == device.type


def test_points_are_in_the_map_frame():
    T = from_quaternion((1, 2, 3), (0, 0, 1, 1))  # a quarter turn about z
    points = surface_points(make_frame(wall(), T_map_depth=T), ALL, 0)
    plain = surface_points(make_frame(wall()), ALL, 0)
    expected = torch.stack(
        [1 - plain.coord[:, 1], 2 + plain.coord[:, 0], 3 + plain.coord[:, 2]], dim=1
    )
    torch.testing.assert_close(points.coord, expected, atol=1e-6, rtol=0)


def test_strides_take_turns_until_every_pixel_was_used_once():
    frame = make_frame(wall())
    for stride in (2, 3, 7):
        config = DepthConfig(stride=stride)
        used = [
            pixels(surface_points(frame, config, i), frame.depth_camera) for i in range(stride**2)
        ]
        assert sorted(np.concatenate(used)) == list(range(30 * 40))


@pytest.mark.parametrize('nothing', [0.0, np.nan, np.inf, -np.inf, -1.0, 0.1, 9.0])
def test_what_is_no_measurement_is_left_out(nothing):
    depth = wall()
    depth[10:20, 10:20] = nothing
    frame = make_frame(depth)
    points = surface_points(frame, ALL, 0)
    assert len(points) == 30 * 40 - 100
    assert torch.isfinite(points.coord).all()
    assert torch.isfinite(points.normal).all()
    inside = {v * 40 + u for v in range(10, 20) for u in range(10, 20)}
    assert not inside & set(pixels(points, frame.depth_camera).tolist())


def test_a_frame_without_depth_names_cause_and_cure():
    with pytest.raises(FrameError, match=r'between 0\.2 and 4\.0 m: no pixel is measured; check'):
        surface_points(make_frame(np.full((30, 40), np.nan)), ALL, 0)
    with pytest.raises(FrameError, match=r'lie between 2000\.00 and 2000\.00 m; check depth\.min'):
        surface_points(make_frame(wall(2000.0)), ALL, 0)


def test_pixels_between_two_surfaces_are_no_surface():
    depth = wall(3.0)
    depth[:, :20] = 1.0
    depth[:, 20] = 2.0  # flies between them
    points = surface_points(make_frame(depth), ALL, 0)
    z = points.coord[:, 2]
    assert not ((z > 1.5) & (z < 2.5)).any()
    assert len(points) == 30 * 39


@pytest.mark.parametrize('nothing', [0.0, np.nan, np.inf])
def test_a_pixel_between_a_surface_and_nothing_stays(nothing):
    depth = wall(3.0)
    depth[:, :20], depth[:, 21:] = 1.0, nothing
    # the two ends of the column have only one neighbour at their depth
    assert len(surface_points(make_frame(depth), ALL, 0)) == 30 * 21 - 2


def test_a_lonely_pixel_is_no_surface_but_a_thin_pole_is():
    depth = np.zeros((30, 40), np.float32)
    depth[15, 5] = 1.0
    depth[:, 30] = 1.0
    frame = make_frame(depth)
    points = surface_points(frame, ALL, 0)
    assert set((pixels(points, frame.depth_camera) % 40).tolist()) == {30}


@pytest.mark.parametrize('slope', [(0.0, 0.0), (0.3, 0.0), (-0.2, 0.4)])
def test_normals_of_a_plane_are_exact_also_at_the_border(slope, device):
    rays = make_camera().rays()
    normal = np.array([*slope, -1.0]) / np.linalg.norm([*slope, -1.0])
    depth = (normal[2] * 2.0) / (rays @ normal)  # the plane through (0, 0, 2)
    points = surface_points(make_frame(depth), replace(ALL, edge=0.2, max=9.0), 0, device)
    assert len(points) == 30 * 40
    # a difference over pixels is not exactly the derivative of 1 / linear
    torch.testing.assert_close(
        points.normal.cpu(), torch.tensor(normal).float().expand(1200, 3), atol=0.03, rtol=0
    )


def test_normals_do_not_bridge_a_jump():
    depth = wall(3.0)
    depth[:, :20] = 1.0
    points = surface_points(make_frame(depth), ALL, 0)
    torch.testing.assert_close(points.normal, torch.tensor([[0.0, 0.0, -1.0]]).expand(1200, 3))


def test_normals_are_unknown_where_one_direction_has_no_neighbour():
    depth = np.zeros((30, 40), np.float32)
    depth[:, 30] = 1.0
    assert (surface_points(make_frame(depth), ALL, 0).normal == 0).all()


def test_weight_falls_with_the_square_of_depth():
    depth = wall(2.0)
    depth[:, :20] = 0.5
    points = surface_points(make_frame(depth), ALL, 0)
    weight = dict(zip(points.coord[:, 2].tolist(), points.weight.tolist(), strict=True))
    assert weight == {0.5: 1.0, 2.0: 0.25}


def test_registered_colours_are_those_of_the_pixels():
    color = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    frame = make_frame(wall(), color)
    points = surface_points(frame, DepthConfig(stride=3), 4)
    expected = color.reshape(-1, 3)[pixels(points, frame.depth_camera)]
    assert (points.color.numpy() == expected).all()


def test_a_larger_colour_image_of_the_same_camera_is_scaled():
    color = np.zeros((60, 80, 3), np.uint8)
    color[:, 40:] = 200
    frame = make_frame(wall(), color, color_camera=make_camera().scaled(80, 60))
    points = surface_points(frame, ALL, 0)
    assert len(points) == 1200
    is_right = points.coord[:, 0] > 0
    assert (points.color[is_right] == 200).all()
    assert (points.color[~is_right] == 0).all()


def shifted_color_camera(depth, shift=0.5):
    """A frame whose colour camera stands `shift` metres to the right of the depth camera.

    Colour tells the column of the pixel.
    """
    T_color_depth = np.eye(4)
    T_color_depth[0, 3] = -shift
    color = np.zeros((30, 40, 3), np.uint8)
    color[..., 0] = np.arange(40)
    return make_frame(depth, color, T_color_depth=T_color_depth)


def test_unregistered_colours_are_looked_up_by_projection():
    points = surface_points(shifted_color_camera(wall()), ALL, 0)
    u = (points.coord[:, 0] - 0.5) / 2 * 36 + 19.5
    assert (points.color[:, 0] - u).abs().max() <= 0.5 + 1e-4
    assert len(points) == 30 * 31  # the colour camera does not see the left 9 columns


def test_what_the_colour_camera_cannot_see_gets_no_wrong_colour():
    depth = wall(3.0)
    depth[:, 20:] = 1.0  # hides part of the wall from the colour camera on its right
    points = surface_points(shifted_color_camera(depth), ALL, 0)
    far = points.coord[:, 2] > 2
    nearest_edge = (0.5 / 36 - 0.5) * 36 + 19.5  # column of the near object's left edge
    assert far.any()
    # A cell of the visibility test is a few pixels wide.
    assert points.color[far, 0].max() <= nearest_edge + 4


def test_cameras_that_look_elsewhere_are_named():
    frame = replace(shifted_color_camera(wall()), T_color_depth=np.diag([-1.0, 1.0, -1.0, 1.0]))
    with pytest.raises(FrameError, match='no point of the depth image lies in the colour image'):
        surface_points(frame, ALL, 0)


def test_images_in_read_only_memory_are_taken_without_a_warning():
    frame = make_frame(wall())
    for image in (frame.depth, frame.color):
        image.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert len(surface_points(frame, ALL, 0)) == 1200


def test_images_smaller_than_the_reach_work():
    assert len(surface_points(make_frame(wall(shape=(3, 4))), ALL, 0)) == 12
    assert len(surface_points(make_frame(wall(shape=(3, 4))), DepthConfig(stride=16), 200)) == 1
