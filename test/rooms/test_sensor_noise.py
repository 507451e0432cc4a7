import numpy as np
import pytest

from concerto_ros.errors import ConfigError
from concerto_ros.rooms.noise import SensorNoise, axial_sigma, noisy_color, noisy_depth

SHAPE = (120, 160)


def measured(noise, depth, cosine=1.0, reflectance=0.5, mirror=False, seed=0):
    return noisy_depth(
        noise, np.broadcast_to(np.float64(depth), SHAPE), np.full(SHAPE, cosine),
        np.full(SHAPE, reflectance), np.full(SHAPE, mirror), np.random.default_rng(seed),
    )  # fmt: skip


@pytest.mark.parametrize('depth', [0.8, 2.0, 4.0])
def test_axial_noise_has_the_documented_mean_and_deviation(depth):
    noise = SensorNoise(disparity_step=0.0)
    image = measured(noise, depth)
    assert image.dtype == np.float32
    assert (image > 0).all()
    sigma = 0.0012 + 0.0019 * (depth - 0.4) ** 2
    np.testing.assert_allclose(axial_sigma(noise, np.array(depth)), sigma)
    np.testing.assert_allclose(image.std(), sigma, rtol=0.05)
    assert abs(image.mean() - depth) < 4 * sigma / np.sqrt(image.size)


def test_disparity_steps_grow_with_the_square_of_depth():
    noise = SensorNoise()
    for depth, step in ((1.0, 0.0032), (3.0, 0.0286)):  # z^2 / (f b) / 8
        levels = np.unique(measured(noise, depth))
        assert abs(np.median(np.diff(levels)) - step) < 0.1 * step


def test_returns_are_missing_where_documented():
    noise = SensorNoise()
    share = {
        'plain': (measured(noise, 2.0) == 0).mean(),
        'grazing': (measured(noise, 2.0, cosine=0.05) == 0).mean(),
        'half grazing': (measured(noise, 2.0, cosine=0.2 * 2 / 3) == 0).mean(),
        'black': (measured(noise, 2.0, reflectance=0.0) == 0).mean(),
        'mirror': (measured(noise, 2.0, mirror=True) == 0).mean(),
        'far': (measured(noise, 5.5) == 0).mean(),
        'near': (measured(noise, 0.3) == 0).mean(),
        'nothing': (measured(noise, 0.0) == 0).mean(),
    }
    wanted = {
        'plain': 0, 'grazing': 1, 'half grazing': 0.5, 'black': 0.5, 'mirror': 0.7, 'far': 1,
        'near': 1, 'nothing': 1,
    }  # fmt: skip
    for name, value in wanted.items():
        assert abs(share[name] - value) < 0.06, name  # 1200 patches: three sigma are 0.04


def test_depth_edges_lose_returns_fly_and_jitter():
    depth = np.full(SHAPE, 1.0)
    depth[:, 80:] = 3.0
    quiet = SensorNoise(axial_base=0.0, axial_growth=0.0, disparity_step=0.0)
    image = noisy_depth(
        quiet, depth, np.ones(SHAPE), np.full(SHAPE, 0.5), np.zeros(SHAPE, bool),
        np.random.default_rng(0),
    )  # fmt: skip
    assert (image[:, :79] == 1.0).all()
    assert (image[:, 82:] == 3.0).all()
    edge = image[:, 79:81]
    assert 0.15 < (edge[:, 1] == 0).mean() < 0.85
    assert ((edge > 1.01) & (edge < 2.99)).any()


def test_switched_off_noise_changes_nothing():
    off = SensorNoise(
        axial_base=0.0, axial_growth=0.0, lateral=0.0, disparity_step=0.0, min_depth=0.0,
        max_depth=100.0, grazing=0.0, dark_share=0.0, mirror_share=0.0, edge_share=0.0,
        flying_share=0.0, color_sigma=0.0, exposure=0.0,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    depth, color = rng.uniform(0.5, 8, SHAPE), rng.random((*SHAPE, 3))
    kept = noisy_depth(off, depth, rng.random(SHAPE), rng.random(SHAPE), depth > 3, rng)
    np.testing.assert_array_equal(kept, depth.astype(np.float32))
    np.testing.assert_array_equal(noisy_color(off, color, 0.0, rng), color)


def test_color_noise_and_exposure_have_the_documented_size():
    noise = SensorNoise()
    gray = np.full((*SHAPE, 3), 0.5)
    plain = noisy_color(noise, gray, 0.0, np.random.default_rng(0))
    np.testing.assert_allclose(plain.std() * 255, 4.0, rtol=0.02)
    darker = noisy_color(noise, gray, -1.0, np.random.default_rng(0))
    np.testing.assert_allclose(darker.mean(), 0.25, atol=0.002)


@pytest.mark.parametrize(
    ('field', 'message'),
    [
        ({'axial_base': -1.0}, r'noise.axial_base must be in 0..inf, got -1'),
        ({'dark_share': 1.5}, r'noise.dark_share must be in 0..1.0, got 1.5'),
        ({'exposure': np.inf}, r'noise.exposure must be in 0'),
        ({'min_depth': 6.0}, r'noise.min_depth must be below max_depth, got 6.0, 5.0'),
    ],
)
def test_invalid_noise_is_named(field, message):
    with pytest.raises(ConfigError, match=message):
        SensorNoise(**field)
