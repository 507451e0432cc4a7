"""A furnished room visited twice, with the noise of a Kinect; in between a chair may go."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from concerto_ros.config.schema import DepthConfig
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.rgbd import SurfacePoints
from concerto_ros.mapping import VoxelMap
from concerto_ros.mapping.free_space import clear
from concerto_ros.rooms.noise import SensorNoise, noisy_depth
from concerto_ros.rooms.render import Lights, Solid, render
from concerto_ros.rooms.room import SyntheticRoom

CAMERA = PinholeCamera(width=320, height=240, fx=262.5, fy=262.5, cx=159.5, cy=119.5)
CONFIG = DepthConfig(min=0.2, max=4.0)
VOXEL = 0.02
LOOKS = 3
LIGHTS = Lights(
    ambient=0.6,
    lamps=np.zeros((1, 3)),
    lamp_colors=np.full((1, 3), 0.5),
    sun=np.array([0.0, 0.0, 1.0]),
    sun_color=np.zeros(3),
)


class Visit(NamedTuple):
    frames: list[RGBDFrame]
    owner: np.ndarray  # (F, H, W) instance of each pixel


@pytest.fixture(scope='module')
def room():
    return SyntheticRoom(3, 'office')


@pytest.fixture(scope='module')
def chair(room):
    """A chair that stands free."""
    return next(i for i in room.instances if i.class_name == 'office chair')


@pytest.fixture(scope='module')
def first(room):
    return visit(room, seed=1)


@pytest.fixture(scope='module')
def second(room):
    return visit(room, seed=2)


def visit(room, seed, without=0):
    """Walk through the room; `without` is left out."""
    objects = [placed for placed in room.layout.objects if placed.id != without]
    solids = [Solid(part=p, T_object_map=np.eye(4)) for placed in objects for p in placed.parts]
    owner = np.array([placed.id for placed in objects for _ in placed.parts])
    rng = np.random.default_rng(seed)
    frames, owners = [], []
    for pose in room.frames(60, CAMERA).poses[::4]:
        seen = render(solids, LIGHTS, CAMERA, pose)
        no_mirror = np.zeros(seen.depth.shape, dtype=bool)
        depth = noisy_depth(
            SensorNoise(), seen.depth, seen.cosine, seen.reflectance, no_mirror, rng
        )
        frames.append(frame_of(depth, pose))
        owners.append(owner[seen.part])
    return Visit(frames, np.stack(owners))


def frame_of(depth, pose):
    return RGBDFrame(
        stamp_ns=0,
        color=np.zeros((*depth.shape, 3), dtype=np.uint8),
        depth=depth,
        color_camera=CAMERA,
        depth_camera=CAMERA,
        T_map_depth=pose,
    )


def measured_points(frame):
    """Return the points (N, 3) of all pixels in range, and those pixels; of each ninth."""
    pixels = (frame.depth > CONFIG.min) & (frame.depth < CONFIG.max)
    pixels[np.arange(CAMERA.height) % 3 > 0] = False
    pixels[:, np.arange(CAMERA.width) % 3 > 0] = False
    local = (frame.depth_camera.rays() * frame.depth[..., None])[pixels]
    return local @ frame.T_map_depth[:3, :3].T + frame.T_map_depth[:3, 3], pixels


def mapped(visit):
    """Return one point (N, 3) of each voxel, and whose it is."""
    points, owners = [], []
    for frame, owner in zip(visit.frames, visit.owner, strict=True):
        coord, pixels = measured_points(frame)
        points.append(coord)
        owners.append(owner[pixels])
    points, owners = np.concatenate(points), np.concatenate(owners)
    _, rows = np.unique(np.floor(points / VOXEL), axis=0, return_index=True)
    return points[rows].astype(np.float32), owners[rows]


def worn_down(coord, frames):
    """Return (N,) bool, which voxels of a map frames remove."""
    coord = torch.from_numpy(coord)
    voxel_map = VoxelMap(VOXEL)
    zeros, ones = torch.zeros(len(coord), 3), torch.ones(len(coord))
    points = SurfacePoints(coord=coord, color=zeros, normal=zeros, weight=ones)
    voxel_map.integrate(points, 0, 64.0)
    for turn, frame in enumerate(frames):
        clear(voxel_map, frame, CONFIG, submap=0, turn=turn, max_misses=LOOKS)
    return ~voxel_map.holds((coord / VOXEL).floor().long(), 0).numpy()


def test_a_room_where_nothing_moves_stays(first, second):
    coord, _ = mapped(first)
    assert worn_down(coord, second.frames).mean() < 1e-3


def test_a_room_stays_although_poses_are_wrong(first, second):
    rng = np.random.default_rng(0)
    frames = [frame_of(frame.depth, frame.T_map_depth @ shaken(rng)) for frame in second.frames]
    assert worn_down(mapped(first)[0], frames).mean() < 5e-3


def shaken(rng):
    """Return a small motion (4, 4): 1 cm and half a degree."""
    T = np.eye(4)
    angle = rng.normal(0, np.radians(0.5))
    T[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    T[:3, 3] = rng.normal(0, 0.01 / np.sqrt(3), 3)
    return T


def test_a_chair_that_was_taken_away_vanishes_and_nothing_else(room, chair, first):
    coord, owner = mapped(first)
    is_gone = worn_down(coord, visit(room, seed=2, without=chair.id).frames * 2)
    was_chair = (owner == chair.id) & lies_in(chair.box, coord)
    is_above_floor = coord[:, 2] > 0.1  # what is lower, a coarse image can hardly tell from it
    assert was_chair.sum() > 1000
    assert is_gone[was_chair & is_above_floor].mean() > 0.95
    assert is_gone[owner != chair.id].mean() < 5e-3


def lies_in(box, coord):
    """Tell which points lie in a box, and not where a pixel at its edge saw what is behind."""
    x, y, z = (coord - box.center).T
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    local = np.stack([c * x + s * y, c * y - s * x, z], axis=1)
    return (np.abs(local) < box.size / 2 + VOXEL).all(1)
