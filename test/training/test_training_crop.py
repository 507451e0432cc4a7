import numpy as np
import pytest

from concerto_ros.errors import SourceError
from training.views.crop import Cloud, nearest
from training.views.voxels import sample_voxels

LINE = np.array([[5, 1, 4, 0, 2, 3], [0] * 6, [0] * 6], dtype=np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def planes(*points):
    return np.array(points, dtype=np.float32).reshape(-1, 3).T


@pytest.mark.parametrize(
    ('count', 'rows'), [(1, [3]), (3, [1, 3, 4]), (6, [*range(6)]), (9, [*range(6)])]
)
def test_nearest_points_keep_their_order(count, rows):
    assert nearest(LINE, np.zeros(3, np.float32), count).tolist() == rows


def test_points_at_one_distance_do_not_make_more_than_asked():
    assert len(nearest(np.ones((3, 50), np.float32), np.zeros(3, np.float32), 20)) == 20


def test_nearest_agrees_with_a_sort():
    coord = rng().random((3, 500), dtype=np.float32)
    center = np.float32([0.2, 0.5, 0.9])
    expected = np.sort(np.argsort(((coord.T - center) ** 2).sum(1))[:123])
    np.testing.assert_array_equal(nearest(coord, center, 123), expected)


def test_a_cloud_gives_some_of_its_points():
    cloud = Cloud(coord=LINE, color=LINE / 10, normal=-LINE)
    part = cloud.take(np.array([2, 5]))
    assert part.num_points == 2
    assert part.coord[0].tolist() == [4, 3]
    assert part.normal[0].tolist() == [-4, -3]


def test_each_voxel_has_one_of_its_points():
    coord = planes((0.01, 0, 0), (0.05, 0, 0), (0.019, 0, 0), (-0.001, 0, 0))
    found = sample_voxels(coord, 0.02, rng())
    assert found.voxel.tolist() == [1, 2, 1, 0]  # floor, not towards zero
    assert found.voxel[found.rows].tolist() == [0, 1, 2]


def test_axes_do_not_mix():
    coord = planes(*np.ndindex(3, 4, 5)) * np.float32(0.02) + np.float32(0.01)
    found = sample_voxels(coord, 0.02, rng())
    assert sorted(found.rows) == [*range(60)]


def test_each_member_is_drawn_alike():
    coord = planes(*[(0.001 * i, 0, 0) for i in range(4)])
    drawn = [int(sample_voxels(coord, 0.02, rng(seed)).rows[0]) for seed in range(400)]
    assert (np.abs(np.bincount(drawn) - 100) < 35).all()  # four standard deviations


def test_one_seed_gives_one_choice():
    coord = rng().random((3, 1000), dtype=np.float32)
    first, second = (sample_voxels(coord, 0.2, rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.rows, second.rows)


@pytest.mark.parametrize(
    ('coord', 'message'),
    [
        (planes(), 'needs at least one point'),
        (planes((0, 0, 0), (np.nan, 0, 0)), 'must be finite'),
        (planes((0, 0, 0), (0, np.inf, 0)), 'must be finite'),
        (planes((0, 0, 0), (0, 0, 1500)), 'remove stray points'),
        (np.tile(planes((0, 0, 0), (900, 900, 900)), 300_000), 'fit into 50000 voxels of 0.02 m'),
    ],
)  # fmt: skip
def test_unusable_scenes_are_refused(coord, message):
    with pytest.raises(SourceError, match=message):
        sample_voxels(coord, 0.02, rng())
