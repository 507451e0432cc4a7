import math

import numpy as np
import pytest
import torch

from concerto_ros.geometry.gravity import GravityCheck
from concerto_ros.geometry.transforms import level

LOOKING_AHEAD = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]], float)


def room_normals(tilt_degrees, noise=0.05):
    """Normals of a floor, four walls, and noise, turned about x."""
    floor = torch.tensor([[0.0, 0.0, 1.0]]).expand(300, 3)
    walls = torch.eye(3)[torch.randint(0, 2, (600,))]
    normal = torch.cat([floor, walls]) + noise * torch.randn(900, 3)
    t = math.radians(tilt_degrees)
    R = torch.tensor([[1, 0, 0], [0, math.cos(t), -math.sin(t)], [0, math.sin(t), math.cos(t)]])
    return torch.nn.functional.normalize(normal, dim=1) @ R.T


def warnings_of(normal, T=LOOKING_AHEAD, frames=60):
    check = GravityCheck()
    return [w for w in (check.add(normal, T) for _ in range(frames)) if w]


@pytest.mark.parametrize('tilt', [0, 3])
def test_a_level_room_is_no_reason_to_speak(tilt):
    assert warnings_of(room_normals(tilt)) == []


@pytest.mark.parametrize('tilt', [8, 15, 25])
def test_a_tilted_floor_is_named_once_with_its_angle(tilt):
    (warning,) = warnings_of(room_normals(tilt))
    assert 'the largest level surface is tilted by' in warning
    assert abs(int(warning.split(' degrees')[0].split()[-1]) - tilt) <= 1


def test_ceilings_count_as_much_as_floors():
    normal = room_normals(0)
    normal[:300:2] *= -1
    assert warnings_of(normal) == []


def test_images_held_upside_down_are_named():
    T = level((0, 0, -1)) @ LOOKING_AHEAD
    (warning,) = warnings_of(torch.zeros(0, 3), T)
    assert 'held at 180 degrees' in warning


def test_nothing_is_said_before_enough_was_seen():
    assert warnings_of(room_normals(25), frames=20) == []
