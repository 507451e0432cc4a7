import numpy as np
import pytest
import torch

from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.nearest_depth import NearestDepth

CAMERA = PinholeCamera(width=161, height=118, fx=131.0, fy=130.0, cx=80.0, cy=58.5)
LIMIT = 8.0
NOWHERE = (0.0, np.nan, np.inf, -1.0, 65.535)  # how cameras write that there is no measurement


def image(value=3.0, camera=CAMERA):
    return torch.full((camera.height, camera.width), value)


def points_at(u, v, z):
    """Return the points (3, M) at depths z (M,) of pixels."""
    u, v, z = (torch.as_tensor(value, dtype=torch.float32) for value in (u, v, z))
    return torch.stack([(u - CAMERA.cx) / CAMERA.fx * z, (v - CAMERA.cy) / CAMERA.fy * z, z])


def nearest_at(depth, points, radius=0.02):
    nearest = NearestDepth(depth, CAMERA, LIMIT)
    return nearest.nearest(nearest.windows(points, radius))


def random_places(count=2000):
    generator = torch.Generator().manual_seed(0)
    u, v, z = torch.rand((3, count), generator=generator)
    return u * (CAMERA.width - 1), v * (CAMERA.height - 1), 0.4 + 4 * z


def test_a_window_holds_the_disc_and_not_much_more():
    depth = torch.rand((CAMERA.height, CAMERA.width), generator=torch.Generator().manual_seed(1))
    depth += 1
    u, v, z = random_places()
    radius = 0.05
    found = nearest_at(depth, points_at(u, v, z), radius)
    pixels = CAMERA.fx * radius / (z - radius)
    for k in range(0, len(u), 20):
        row, column = round(float(v[k])), round(float(u[k]))
        low, high = reach_of(depth, row, column, int(pixels[k])), max(8, 4 * int(pixels[k] + 1))
        assert found[k] <= low.min()
        around = reach_of(depth, row, column, high)
        assert found[k] in around or found[k] == 0


def reach_of(depth, row, column, pixels):
    return depth[
        max(0, row - pixels) : row + pixels + 1, max(0, column - pixels) : column + pixels + 1
    ]


def test_no_place_in_a_window_sees_farther_than_its_farthest():
    generator = torch.Generator().manual_seed(2)
    depth = torch.rand((CAMERA.height, CAMERA.width), generator=generator).pow(8) * 3 + 1
    nearest = NearestDepth(depth, CAMERA, LIMIT)
    center = points_at(*random_places())
    inside = center + 0.1 * (torch.rand(center.shape, generator=generator) - 0.5)
    farthest = nearest.farthest(nearest.windows(center, 0.1))
    sees = nearest.nearest(nearest.windows(inside, 0.01))
    assert (sees <= farthest).all()
    assert (farthest < 4).float().mean() > 0.2


@pytest.mark.parametrize('value', NOWHERE)
def test_an_area_without_measurement_is_near(value):
    depth = image()
    depth[40:60, 60:90] = value
    assert nearest_at(
        depth, points_at([75.0, 58.0, 20.0], [50.0, 50.0, 50.0], [2.0] * 3)
    ).tolist() == [
        0.0,
        0.0,
        3.0,
    ]


@pytest.mark.parametrize('value', NOWHERE)
def test_a_line_without_measurement_is_near(value):
    depth = image()
    depth[:, 75] = value
    assert nearest_at(depth, points_at([75.0], [50.0], [2.0])).tolist() == [0.0]


@pytest.mark.parametrize('value', NOWHERE)
def test_a_speck_without_measurement_is_nothing(value):
    depth = image()
    depth[40:44, 60:64] = value
    assert nearest_at(depth, points_at([61.0], [41.0], [2.0])).tolist() == [3.0]


def test_a_thin_thing_is_near():
    depth = image()
    depth[:, 75] = 1.0
    found = nearest_at(depth, points_at([71.0, 75.0, 79.0, 100.0], [50.0] * 4, [2.0] * 4))
    assert found.tolist() == [1.0, 1.0, 1.0, 3.0]


def test_what_is_not_in_the_image_is_near():
    places = points_at([-1.0, 161.0, 80.0, 80.0, 80.0], [50.0, 50.0, -1.0, 118.0, 58.0], [2.0] * 5)
    places[2, 4] = -2.0  # behind the camera
    assert nearest_at(image(), places).tolist() == [0.0] * 5


def test_what_is_next_to_the_border_is_near():
    assert nearest_at(image(), points_at([1.0, 159.0], [50.0, 50.0], [2.0, 2.0])).tolist() == [
        0,
        0,
    ]


def test_a_sphere_around_the_camera_is_not_known():
    nearest = NearestDepth(image(), CAMERA, LIMIT)
    window = nearest.windows(points_at([80.0], [58.0], [0.1]), 0.2)
    assert nearest.nearest(window).item() == 0
    assert nearest.farthest(window).item() == torch.inf


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (3, 5), (4, 4), (9, 130)])
def test_images_of_any_size(height, width):
    camera = PinholeCamera(width=width, height=height, fx=5.0, fy=5.0, cx=0.0, cy=0.0)
    nearest = NearestDepth(image(3.0, camera), camera, LIMIT)
    window = nearest.windows(torch.tensor([[0.0], [0.0], [1.0]]), 0.01)
    assert nearest.nearest(window).tolist() == [0.0]


def test_no_places():
    nearest = NearestDepth(image(), CAMERA, LIMIT)
    assert nearest.windows(torch.empty(3, 0), 0.1).shape == (0,)


def test_devices_agree(device):
    depth = torch.rand((CAMERA.height, CAMERA.width), generator=torch.Generator().manual_seed(3))
    places = points_at(*random_places())
    there = NearestDepth(depth.to(device), CAMERA, LIMIT)
    assert torch.equal(
        there.nearest(there.windows(places.to(device), 0.05)).cpu(),
        nearest_at(depth, places, 0.05),
    )
