import math

import numpy as np
import pytest

from concerto_ros.rooms.primitives import (
    Part,
    bounds,
    from_unit,
    intersect,
    normals,
    sample_surface,
    signed_distance,
    to_unit,
    yaw_rotation,
)
from concerto_ros.rooms.textures import draw_material

MATERIAL = draw_material(np.random.default_rng(0))
TILT = np.array([[1.0, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]]) @ yaw_rotation(0.7)


def part(shape, half=(0.3, 0.5, 0.2), top=1.0, rotation=TILT):
    return Part(
        shape=shape, rotation=rotation, center=np.array([1.0, -2.0, 0.5]),
        half=np.array(half), top=top, material=MATERIAL,
    )  # fmt: skip


SOLIDS = [
    part('box'), part('ellipsoid'), part('frustum'), part('frustum', top=0.4),
    part('frustum', top=0.0),
]  # fmt: skip


def first_hits(solid, origin, directions):
    unit = directions @ (solid.rotation / solid.half)
    start = to_unit(solid, origin[None])[0]
    return intersect(solid, start, (unit[:, 0], unit[:, 1], unit[:, 2]))


def test_ray_enters_a_box_at_its_face():
    solid = part('box', rotation=np.eye(3))
    rays = np.array([[1.0, 0, 0], [-1.0, 0, 0], [1.0, 0.1, 0], [0, 0, 1.0]])
    hits = first_hits(solid, np.array([0.0, -2.0, 0.5]), rays)
    np.testing.assert_allclose(hits, [0.7, np.inf, 0.7, np.inf])


def test_ray_enters_a_ball_and_a_cone_where_computed_by_hand():
    origin = np.array([0.0, -2.0, 0.5])
    forward = np.array([[1.0, 0, 0]])
    ball = part('ellipsoid', half=(0.25, 0.5, 0.5), rotation=np.eye(3))
    np.testing.assert_allclose(first_hits(ball, origin, forward), [0.75])
    cone = part('frustum', half=(0.5, 0.5, 0.5), top=0.0, rotation=np.eye(3))
    np.testing.assert_allclose(first_hits(cone, origin, forward), [0.75])  # half way up: radius/2
    # from 2 m above the tip, a tenth sideways: 0.1 t = 0.5 (t - 2)
    from_above = first_hits(cone, np.array([1.0, -2.0, 3.0]), np.array([[0.0, 0.1, -1.0]]))
    np.testing.assert_allclose(from_above, [2.5])


@pytest.mark.parametrize('solid', SOLIDS)
def test_first_hit_lies_on_the_surface_and_faces_the_ray(solid):
    rng = np.random.default_rng(1)
    origin = solid.center + np.array([2.0, 1.0, 1.5])
    directions = solid.center + rng.uniform(-0.6, 0.6, (500, 3)) - origin
    t = first_hits(solid, origin, directions)
    hit = np.isfinite(t)
    assert 50 < hit.sum() < 500
    points = origin + t[hit, None] * directions[hit]
    np.testing.assert_allclose(signed_distance(solid, points), 0, atol=1e-9)
    normal = normals(solid, to_unit(solid, points))
    assert ((normal * directions[hit]).sum(axis=1) < 1e-6).all()
    # nothing of the solid lies before the first hit
    before = origin + (t[hit, None] * rng.uniform(0, 0.999, (hit.sum(), 1))) * directions[hit]
    assert (signed_distance(solid, before) > 0).all()


@pytest.mark.parametrize('solid', SOLIDS)
def test_rays_that_miss_stay_outside(solid):
    rng = np.random.default_rng(2)
    origin = solid.center + np.array([-1.5, 2.0, 0.3])
    directions = solid.center + rng.uniform(-0.7, 0.7, (200, 3)) - origin
    missed = directions[np.isinf(first_hits(solid, origin, directions))]
    assert len(missed) > 20
    along = origin + np.linspace(0, 2, 400)[:, None, None] * missed
    assert (signed_distance(solid, along.reshape(-1, 3)) > 0).all()


@pytest.mark.parametrize('solid', SOLIDS)
def test_surface_samples_have_outward_unit_normals_and_fill_the_bounds(solid):
    q = sample_surface(solid, 0.02)
    points, normal = from_unit(solid, q), normals(solid, q)
    np.testing.assert_allclose(signed_distance(solid, points), 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-12)
    assert (signed_distance(solid, points + 1e-3 * normal) > 0).all()
    assert (signed_distance(solid, points - 1e-3 * normal) < 0).all()
    low, high = bounds(solid)
    assert (points >= low - 1e-9).all()
    assert (points <= high + 1e-9).all()
    np.testing.assert_allclose(points.min(axis=0), low, atol=0.03)
    np.testing.assert_allclose(points.max(axis=0), high, atol=0.03)


def test_signed_distance_of_a_tilted_box_is_that_to_its_nearest_face():
    solid = part('box')
    outside = solid.center + 0.5 * solid.rotation[:, 0]  # its half extent is 0.3
    np.testing.assert_allclose(signed_distance(solid, outside[None]), [0.2])


def test_yaw_turns_x_towards_y():
    np.testing.assert_allclose(yaw_rotation(math.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-15)
