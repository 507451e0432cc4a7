import numpy as np
import pytest
import torch

from concerto_ros.config.schema import DepthConfig
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.mapping.free_space import FreeSpace

CAMERA = PinholeCamera(width=320, height=240, fx=262.0, fy=262.0, cx=159.5, cy=119.5)
CONFIG = DepthConfig(min=0.2, max=4.0)
VOXEL = 0.02
EDGE = 8 * VOXEL
WALL = 3.0  # m before the camera
NOWHERE = (0.0, np.nan, np.inf, -1.0, 65.535)  # how cameras write that there is no measurement


def view(depth=None, T=None):
    """Return a frame that looks along z, at a wall unless told otherwise."""
    size = (CAMERA.height, CAMERA.width)
    return RGBDFrame(
        stamp_ns=0,
        color=np.zeros((*size, 3), dtype=np.uint8),
        depth=np.full(size, WALL, dtype=np.float32) if depth is None else depth,
        color_camera=CAMERA,
        depth_camera=CAMERA,
        T_map_depth=np.eye(4) if T is None else T,
    )


def seen_through(points, frame, device='cpu'):
    coord = torch.tensor(points, dtype=torch.float32, device=device)
    return FreeSpace.of_frame(frame, CONFIG, VOXEL, device).is_seen_through(coord).cpu().numpy()


def pole(distance, width=0.01):
    """Return points on an upright pole, and the pixels (W,) bool that show it."""
    height = np.linspace(-0.3, 0.3, 31)
    points = np.stack([np.zeros(31), height, np.full(31, distance)], axis=1)
    x = (np.arange(CAMERA.width) - CAMERA.cx) / CAMERA.fx * distance
    return points, np.abs(x) <= max(width / 2, distance / CAMERA.fx / 2)


def jittered(rng, metres=0.01, degrees=0.5):
    """Return a pose (4, 4) as far from the identity as poses are wrong."""
    x, y, z = rng.normal(0, np.radians(degrees) / np.sqrt(3), 3)
    T = np.eye(4)
    T[:3, :3] = np.linalg.qr(np.array([[1, -z, y], [z, 1, -x], [-y, x, 1]]))[0]
    T[:3, :3] *= np.sign(np.diag(T[:3, :3]))
    T[:3, 3] = rng.normal(0, metres / np.sqrt(3), 3)
    return T


def test_it_sees_through_what_hangs_before_the_wall(device):
    before, on, behind = (0.1, 0.1, 1.5), (0.1, 0.1, WALL), (0.1, 0.1, 3.5)
    assert seen_through([before, on, behind], view(), device).tolist() == [True, False, False]


def test_it_looks_from_the_pose_of_the_frame():
    T = np.array([[0.0, 0, 1, 5], [-1, 0, 0, 2], [0, -1, 0, 1], [0, 0, 0, 1]])  # towards +x
    assert seen_through([(6.5, 2, 1), (8, 2, 1), (3, 2, 1)], view(T=T)).tolist() == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize('distance', [1.0, 2.0, 3.0, 4.0])
def test_a_wall_stays_with_its_noise(distance):
    rng = np.random.default_rng(0)
    sigma = 0.0012 + 0.0019 * (distance - 0.4) ** 2
    size = (CAMERA.height, CAMERA.width)
    depth = (distance + rng.normal(0, sigma, size)).astype(np.float32)
    in_front = distance - 3 * sigma
    points = np.stack([*rng.uniform(-0.3, 0.3, (2, 500)), np.full(500, in_front)], axis=1)
    assert not seen_through(points, view(depth)).any()


def test_a_floor_seen_at_a_grazing_angle_stays():
    rows = np.arange(CAMERA.height) - CAMERA.cy
    with np.errstate(divide='ignore'):
        depth = np.where(rows > 0, 0.5 * CAMERA.fy / rows, 20.0)  # 0.5 m above the floor
    depth = np.tile(depth[:, None], CAMERA.width).astype(np.float32)
    rng = np.random.default_rng(0)
    z = rng.uniform(1.2, 4, 2000)
    floor = np.stack([z * rng.uniform(-0.4, 0.4, 2000), np.full(2000, 0.5), z], axis=1)
    poses = [jittered(rng) for _ in range(5)]
    assert not any(seen_through(floor, view(depth, T)).any() for T in poses)
    assert seen_through(floor - [0, 0.2, 0], view(depth)).mean() > 0.5


@pytest.mark.parametrize('distance', [0.8, 1.5, 2.5])
@pytest.mark.parametrize('value', [None, *NOWHERE])
def test_a_pole_as_thin_as_a_finger_stays(distance, value):
    """Also if it is one of those that give no depth."""
    rng = np.random.default_rng(0)
    points, pixels = pole(distance)
    depth = view().depth.copy()
    depth[:, pixels] = distance if value is None else value
    through = [seen_through(points, view(depth, jittered(rng))).mean() for _ in range(20)]
    assert np.mean(through) < 0.01
    gone = [seen_through(points, view(T=jittered(rng))).mean() for _ in range(20)]
    assert np.mean(gone) > 0.95


@pytest.mark.parametrize('value', NOWHERE)
def test_nothing_goes_before_a_pane_without_depth(value):
    depth = view().depth.copy()
    depth[60:180, 80:240] = value
    rng = np.random.default_rng(0)
    points = np.stack([*rng.uniform(-0.2, 0.2, (2, 200)), np.full(200, 1.0)], axis=1)
    assert not seen_through(points, view(depth)).any()


def test_nothing_goes_behind_a_pane_with_depth():
    depth = np.full_like(view().depth, 1.0)
    assert not seen_through([(0, 0, 1.0), (0, 0, 2.0), (0, 0, WALL)], view(depth)).any()


def test_what_is_too_far_to_be_mapped_is_still_free_before_it():
    depth = np.full_like(view().depth, 6.0)
    assert seen_through([(0, 0, 3.5), (0, 0, 4.1)], view(depth)).tolist() == [True, False]


def test_what_is_too_near_to_be_measured_stays():
    assert not seen_through([(0, 0, 0.15)], view()).any()


def test_nothing_goes_at_the_border_of_the_image():
    edge = CAMERA.cx / CAMERA.fx * 1.5
    assert seen_through([(edge, 0, 1.5), (edge - 0.02, 0, 1.5), (2.0, 0, 1.5)], view()).sum() == 0


def test_images_may_be_read_only():
    depth = view().depth
    depth.flags.writeable = False
    assert seen_through([(0, 0, 1.5)], view(depth)).all()


def block_centers():
    """Return the centres (B, 3) of all blocks up to 4 m before the camera."""
    steps = torch.arange(-12, 12), torch.arange(-12, 12), torch.arange(0, 25)
    return (torch.cartesian_prod(*steps) + 0.5) * EDGE


def test_every_block_is_tested_once_in_four_turns_if_the_image_looks_into_it(device):
    center = block_centers().to(device)
    free = FreeSpace.of_frame(view(), CONFIG, VOXEL, device)
    fresh = torch.zeros(len(center), dtype=torch.bool, device=device)
    tested = [free.blocks_to_test(center, EDGE, turn, fresh).tolist() for turn in range(8)]
    assert tested[:4] == tested[4:]
    chosen = [block for part in tested[:4] for block in part]
    assert len(set(chosen)) == len(chosen)
    assert max(map(len, tested)) < 0.3 * len(chosen)
    shifts = (torch.cartesian_prod(*[torch.arange(8)] * 3).to(device) - 3.5) * VOXEL
    voxels = (center[:, None] + shifts).reshape(-1, 3)
    through = free.is_seen_through(voxels).view(len(center), -1).any(1)
    assert set(through.nonzero()[:, 0].tolist()) <= set(chosen)
    assert center[chosen][:, 2].max() < WALL + EDGE / 2
    assert len(chosen) < 2 * through.sum()


def test_a_worn_block_is_tested_in_every_turn():
    center = torch.tensor([(0.0, 0.0, 1.5), (0.0, 0.0, 3.5), (0.0, 0.0, -1.0)])
    free = FreeSpace.of_frame(view(), CONFIG, VOXEL)
    worn = torch.ones(3, dtype=torch.bool)
    assert all(free.blocks_to_test(center, EDGE, k, worn).tolist() == [0] for k in range(4))


def test_no_blocks_and_no_voxels():
    free = FreeSpace.of_frame(view(), CONFIG, VOXEL)
    nothing = torch.empty(0, 3)
    none_worn = torch.empty(0, dtype=torch.bool)
    assert free.blocks_to_test(nothing, EDGE, 0, none_worn).shape == (0,)
    assert free.is_seen_through(nothing).shape == (0,)
