import dataclasses

import numpy as np
import pytest

from concerto_ros.rooms.textures import COLORS, PATTERNS, albedo, draw_material, value_noise


@pytest.mark.parametrize('pattern', PATTERNS)
def test_main_color_covers_half_of_a_surface_and_colors_stay_in_range(pattern):
    rng = np.random.default_rng(3)
    material = dataclasses.replace(draw_material(rng), pattern=pattern)
    points = rng.uniform(-2, 2, (20_000, 3))
    color = albedo(material, points)
    assert color.shape == points.shape
    assert color.min() >= 0
    assert color.max() <= 1
    to_main = np.linalg.norm(color - material.color, axis=1)
    to_second = np.linalg.norm(color - material.second, axis=1)
    assert (to_main <= to_second).mean() > 0.45


def test_noise_is_continuous_between_zero_and_one():
    x = np.linspace(-40, 40, 20_001)
    noise = value_noise(np.stack([x, 0.3 * x, np.full_like(x, 0.5)], axis=1))
    assert noise.min() >= 0
    assert noise.max() <= 1
    assert noise.std() > 0.1
    assert np.abs(np.diff(noise)).max() < 0.02  # steps of 4 mm in a noise of feature size 1


def test_materials_are_drawn_with_the_documented_shares():
    rng = np.random.default_rng(4)
    drawn = [draw_material(rng) for _ in range(3000)]
    for name, (_, share) in COLORS.items():
        got = np.mean([material.color_name == name for material in drawn])
        assert abs(got - share) < 4 * np.sqrt(share / 3000), name
    assert {material.pattern for material in drawn} == set(PATTERNS)


def test_shares_of_colors_add_up_to_one():
    np.testing.assert_allclose(sum(share for _, share in COLORS.values()), 1)
