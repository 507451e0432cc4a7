from dataclasses import replace

import numpy as np
import pytest

from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.rooms.room import DEFAULT_CAMERA, SyntheticRoom
from training.prepare.correspondence import Tolerance, visible_points

EXACT = Tolerance(base=0.01, share=0.005)  # the paper's 1 cm, and the rounding of mm at a distance
CAMERA = PinholeCamera(width=8, height=6, fx=10.0, fy=10.0, cx=3.5, cy=2.5)


def frame_of(depth, **changes):
    frame = RGBDFrame(
        stamp_ns=1,
        color=np.zeros((6, 8, 3), np.uint8),
        depth=np.asarray(depth, np.float32),
        color_camera=CAMERA,
        depth_camera=CAMERA,
        T_map_depth=np.eye(4),
    )
    return replace(frame, **changes)


def point_at(x, y, z):
    """Return the point (3,) at depth z that falls on the centre of a pixel."""
    return [(x - CAMERA.cx) / CAMERA.fx * z, (y - CAMERA.cy) / CAMERA.fy * z, z]


WALL = np.full((6, 8), 2.0)


def test_a_point_is_linked_to_its_pixel():
    coord = np.array([point_at(7, 0, 2.0), point_at(0, 5, 2.0)], np.float32)
    assert visible_points(coord, frame_of(WALL), EXACT).tolist() == [[7, 0, 0], [0, 5, 1]]


def test_the_pose_leads_from_the_camera_to_the_map():
    T = np.eye(4)
    T[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]  # looks along x, z up
    T[:3, 3] = 5, 6, 7
    local = np.array([point_at(1, 4, 2.0)])
    coord = (local @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    assert visible_points(coord, frame_of(WALL, T_map_depth=T), EXACT).tolist() == [[1, 4, 0]]


@pytest.mark.parametrize(
    ('point', 'is_seen'),
    [
        (point_at(3, 3, 2.019), True),  # 1 cm and 0.5 % of 2 m
        (point_at(3, 3, 2.021), False),
        (point_at(3, 3, 1.98), False),  # in the air: it was removed since
        (point_at(8, 3, 2.0), False),  # beside the image
        (point_at(-0.4, 3, 2.0), True),  # still on the first pixel
        ([0.0, 0.0, -2.0], False),  # behind the camera
        ([0.0, 0.0, 0.0], False),
    ],
)
def test_only_what_the_depth_image_shows_is_seen(point, is_seen):
    rows = visible_points(np.array([point], np.float32), frame_of(WALL), EXACT)
    assert len(rows) == is_seen


@pytest.mark.parametrize('missing', [0.0, np.nan, -1.0, np.inf])
def test_pixels_without_depth_see_nothing(missing):
    coord = np.array([point_at(3, 3, 2.0), point_at(0, 0, 2.0)], np.float32)
    depth = WALL.copy()
    depth[3, 3] = missing
    assert visible_points(coord, frame_of(depth), EXACT)[:, 2].tolist() == [1]


def test_the_paper_accepts_below_one_centimetre():
    coord = np.array([point_at(3, 3, z) for z in (1.991, 2.009, 2.011)], np.float32)
    paper = Tolerance(base=0.01, share=0.0)
    assert visible_points(coord, frame_of(WALL), paper)[:, 2].tolist() == [0, 1]


def test_points_beside_a_nearer_surface_are_left_out():
    depth = WALL.copy()
    depth[:, :3] = 1.0
    coord = np.array([point_at(x, 3, 2.0) for x in range(8)], np.float32)
    rows = visible_points(coord, frame_of(depth), EXACT)
    assert rows[:, 2].tolist() == [4, 5, 6, 7]  # 0..2 are hidden, 3 touches the edge


def test_the_back_of_a_board_is_not_seen():
    coord = np.array([point_at(3, 3, 2.0)] * 3, np.float32)
    normal = np.array([[0, 0, -1], [0, 0, 1], [0, 0, 0]], np.float32)
    assert visible_points(coord, frame_of(WALL), EXACT, normal)[:, 2].tolist() == [0, 2]


def test_images_of_two_sizes_are_linked_by_the_colour_pixel():
    large = CAMERA.scaled(16, 12)
    frame = frame_of(WALL, color=np.zeros((12, 16, 3), np.uint8), color_camera=large)
    coord = np.array([point_at(7, 5, 2.0)], np.float32)
    # The middle of pixel 7 of 8 is the border of pixels 14 and 15 of 16: either is nearest.
    (row,) = visible_points(coord, frame, EXACT)
    assert row[0] in (14, 15)
    assert row[1] in (10, 11)


def test_a_colour_camera_elsewhere_sees_less():
    T_color_depth = np.eye(4)
    T_color_depth[0, 3] = -0.4  # 40 cm to the right: two pixels at 2 m
    coord = np.array([point_at(x, 3, 2.0) for x in range(8)], np.float32)
    rows = visible_points(coord, frame_of(WALL, T_color_depth=T_color_depth), EXACT)
    assert rows.tolist() == [[x - 2, 3, x] for x in range(2, 8)]


def test_what_hides_from_the_colour_camera_is_left_out():
    depth = np.full((6, 8), 2.0)
    depth[:, :4] = 1.0
    near, far = point_at(2, 3, 1.0), point_at(6, 3, 2.0)
    T_color_depth = np.eye(4)
    T_color_depth[0, 3] = 0.8  # to the left: near moves by 8 pixels, far by 4
    wide = PinholeCamera(width=64, height=6, fx=10.0, fy=10.0, cx=3.5, cy=2.5)
    frame = frame_of(
        depth,
        color=np.zeros((6, 64, 3), np.uint8),
        color_camera=wide,
        T_color_depth=T_color_depth,
    )
    coord = np.array([near, far], np.float32)
    assert visible_points(coord, frame, EXACT).tolist() == [[10, 3, 0]]
    assert visible_points(coord[1:], frame, EXACT).tolist() == [[10, 3, 0]]


def test_an_empty_cloud_has_no_links():
    rows = visible_points(np.zeros((0, 3), np.float32), frame_of(WALL), EXACT)
    assert rows.shape == (0, 3)
    assert rows.dtype == np.int32


def test_links_of_a_rendered_room_are_true():
    room = SyntheticRoom(3)
    walk = room.frames(1, DEFAULT_CAMERA.scaled(160, 120), noise=None)
    cloud, truth = room.cloud(0.05), walk.frame_truth(0)
    rows = visible_points(cloud.coord, walk[0], EXACT, cloud.normal)
    assert len(rows) > 300
    shown = truth.instance[rows[:, 1], rows[:, 0]]
    assert (shown == cloud.instance[rows[:, 2]]).mean() > 0.95  # but for where objects touch
    assert len(np.unique(rows[:, 2])) == len(rows)
