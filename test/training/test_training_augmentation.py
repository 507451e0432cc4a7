import colorsys

import numpy as np
import pytest

from training.views.augmentation import augment_space, center, jitter, rotation
from training.views.color import augment_color, drop, turn_hue
from training.views.elastic import interpolate, warp
from training.views.image_augmentation import augment_images, blur, to_float


def rng(seed=0):
    return np.random.default_rng(seed)


def random_planes(num_points=500, seed=0):
    return rng(seed).random((3, num_points), dtype=np.float32)


# Space


def test_center_puts_the_floor_at_zero():
    coord = np.float32([[1, 3, 1], [10, 10, 20], [-4, 2, 0]])
    np.testing.assert_array_equal(center(coord), [[-1, 1, -1], [-5, -5, 5], [0, 6, 4]])


@pytest.mark.parametrize(('axis', 'start', 'end'), [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_rotation_is_counterclockwise(axis, start, end):
    axes = np.eye(3)
    np.testing.assert_allclose(rotation(axis, np.pi / 2) @ axes[start], axes[end], atol=1e-7)
    np.testing.assert_allclose(rotation(axis, 0.3) @ axes[axis], axes[axis], atol=1e-7)


def test_jitter_is_limited_on_both_sides():
    noise = jitter(np.zeros((3, 200_000), np.float32), rng())
    assert noise.max() == pytest.approx(0.02)
    assert noise.min() == pytest.approx(-0.02)
    assert noise.std() == pytest.approx(0.005, rel=0.01)
    assert abs(noise.mean()) < 1e-4


@pytest.mark.parametrize('seed', range(6))
def test_normals_turn_with_the_surface(seed):
    """Of a sphere, each normal is the direction from its middle, warped or not, about."""
    normal = rng(seed).standard_normal((3, 4000), dtype=np.float32)
    normal /= np.linalg.norm(normal, axis=0)
    coord, turned = augment_space(5 * normal, normal, rng(seed))
    outward = coord - coord.mean(axis=1, keepdims=True)
    cosine = (outward / np.linalg.norm(outward, axis=0) * turned).sum(axis=0)
    assert cosine.min() > 0.97
    np.testing.assert_allclose(np.linalg.norm(turned, axis=0), 1, atol=1e-5)


def test_unknown_normals_stay_zero():
    _, normal = augment_space(random_planes(), np.zeros((3, 500), np.float32), rng())
    assert not normal.any()


def test_views_are_turned_and_flipped_in_all_ways():
    corner = np.float32([[50, -50], [15, -15], [0, 1]])  # large against the warp
    drawn = [augment_space(corner, corner, rng(seed))[0][:2, 0] for seed in range(100)]
    angle = np.arctan2(*np.array(drawn).T)
    assert (np.histogram(angle, 8, (-np.pi, np.pi))[0] > 4).all()
    length = np.linalg.norm(drawn, axis=1) / np.hypot(50, 15)
    assert 0.88 < length.min() < 0.93
    assert 1.07 < length.max() < 1.12


# Elastic


def test_a_lattice_is_read_linearly():
    x, y, z = np.meshgrid(np.arange(4), np.arange(5), np.arange(6), indexing='ij')
    values = np.stack([x + 10 * y + 100 * z, -x]).astype(np.float32)
    node = np.float32([[0, 3, 1.25], [0, 4, 2.5], [0, 5, 0.75]])
    expected = [[0, 543, 1.25 + 25 + 75], [0, -3, -1.25]]
    np.testing.assert_allclose(interpolate(values, node), expected, atol=1e-4)


def test_a_warp_is_smooth_and_of_some_size():
    coord = 4 * random_planes(3000)
    both = np.concatenate([coord, coord + np.float32([[0.01], [0], [0]])], axis=1)
    moved = warp(both, 0.8, 1.6, rng()) - both
    assert 0.1 < moved.std() < 0.8
    assert np.abs(moved[:, :3000] - moved[:, 3000:]).max() < 0.02


def test_a_warp_without_amplitude_changes_nothing():
    coord = random_planes()
    np.testing.assert_array_equal(warp(coord, 0.2, 0.0, rng()), coord)


def test_one_point_can_be_warped():
    assert np.isfinite(warp(np.ones((3, 1), np.float32), 0.2, 0.4, rng())).all()


def test_a_stray_point_does_not_fill_the_memory():
    coord = random_planes()
    coord[:, 0] = 1e4  # with nodes of 0.2 m these would be 10 ** 14
    moved = warp(coord, 0.2, 0.4, rng())
    assert np.isfinite(moved).all()
    assert np.abs(moved - coord).max() < 2


# Colour


@pytest.mark.parametrize('turn', [-0.3, -0.02, 0.0, 0.015, 0.5])
def test_hue_turns_as_in_the_standard_library(turn):
    color = random_planes(100)
    color[:, 0], color[:, 1] = 0.4, 0.0  # grey, black
    color[:, 2], color[:, 3] = [0.7, 0.7, 0.1], [0.2, 0.9, 0.9]  # two channels are the largest
    hsv = [colorsys.rgb_to_hsv(*point) for point in color.T]
    expected = [colorsys.hsv_to_rgb((h + turn) % 1, s, v) for h, s, v in hsv]
    np.testing.assert_allclose(turn_hue(color, turn).T, expected, atol=1e-5)


def test_unknown_colors_stay_zero_and_change_no_other():
    known = np.maximum(random_planes(300), np.float32(0.01))
    mixed = np.concatenate([known, np.zeros((3, 200), np.float32)], axis=1)
    for seed in range(20):
        augmented = augment_color(mixed, rng(seed))
        assert not augmented[:, 300:].any()
        np.testing.assert_allclose(augmented[:, :300], augment_color(known, rng(seed)), atol=1e-5)


def test_colors_stay_in_range_and_vary():
    color = random_planes(300)
    drawn = np.array([augment_color(color, rng(seed)) for seed in range(50)])
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    means = drawn.mean(axis=(1, 2))
    assert means.min() < color.mean() - 0.1  # darker,
    assert means.max() > color.mean() + 0.1  # and brighter
    assert (np.sort(means)[1:] > np.sort(means)[:-1]).all()


def test_no_color_is_known():
    assert not augment_color(np.zeros((3, 10), np.float32), rng()).any()


@pytest.mark.parametrize(
    ('chance', 'share', 'share_chance', 'lost'),
    [(1, 0, 0, 1), (0, 0.2, 1, 0.2), (0, 1, 1, 1), (0, 1, 0, 0), (0, 0, 1, 0)],
)
def test_values_are_lost(chance, share, share_chance, lost):
    planes = 1 + random_planes(20_000)
    left = drop(planes, chance, share, share_chance, rng())
    is_lost = (left == 0).all(axis=0)
    assert is_lost.mean() == pytest.approx(lost, abs=0.01)
    np.testing.assert_array_equal(left[:, ~is_lost], planes[:, ~is_lost])


# Images


def test_a_blur_keeps_what_is_even():
    image = np.full((9, 9, 3), 0.3, np.float32)
    np.testing.assert_allclose(blur(image, 2.0), image, atol=1e-6)


def test_a_blur_is_a_normal_distribution_cut_at_four_pixels():
    image = np.zeros((21, 21, 3), np.float32)
    image[10, 10, 1] = 1
    line = np.exp(-0.5 * np.arange(-4, 5) ** 2 / 1.5**2)
    line /= line.sum()
    blurred = blur(image, 1.5)
    np.testing.assert_allclose(blurred[6:15, 6:15, 1], np.outer(line, line), atol=1e-6)
    assert blurred[..., 1].sum() == pytest.approx(1, abs=1e-5)
    assert not blurred[..., [0, 2]].any()


def test_a_blur_is_mirrored_at_the_border():
    image = np.zeros((7, 8, 3), np.float32)
    image[1, :, 0] = 1  # lies at rows 1 and, mirrored, -1
    line = np.exp(-0.5 * np.arange(5) ** 2)
    expected = 2 * line[1] / (2 * line.sum() - 1)
    np.testing.assert_allclose(blur(image, 1.0)[0, :, 0], expected, atol=1e-6)


def test_images_become_brighter_or_darker_all_alike():
    images = np.full((2, 8, 8, 3), 128, np.uint8)
    drawn = np.array([augment_images(images, rng(seed)) for seed in range(60)])
    np.testing.assert_allclose(drawn - drawn[:, :1, :1, :1], 0, atol=1e-5)
    offset = drawn[:, 0, 0, 0] - 128 / 255
    assert offset.min() >= -0.0501
    assert offset.max() <= 0.0501
    assert offset.min() < -0.03
    assert offset.max() > 0.03


def test_augmented_images_stay_in_range():
    images = rng().choice(np.uint8([0, 255]), (3, 16, 16, 3))
    drawn = np.array([augment_images(images, rng(seed)) for seed in range(20)])
    assert drawn.dtype == np.float32
    assert (drawn.min(), drawn.max()) == (0, 1)


def test_no_image_is_no_problem():
    assert augment_images(np.zeros((0, 16, 16, 3), np.uint8), rng()).shape == (0, 16, 16, 3)


def test_bytes_become_shares():
    assert to_float(np.uint8([0, 51, 255])).tolist() == pytest.approx([0, 0.2, 1])
