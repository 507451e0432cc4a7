import numpy as np
import pytest

from concerto_ros.errors import SearchError
from concerto_ros.search.regions import inside, observed_share

REGION = ([0, 0, 0], [0.5, 0.2, 1])  # 5 x 2 columns


def test_the_faces_belong_to_the_region():
    coord = np.array([[0, 0, 0], [0.5, 0.2, 1], [0.51, 0.1, 0.5], [0.1, 0.1, -0.01]])
    assert inside(coord, REGION).tolist() == [True, True, False, False]


def test_columns_are_counted_once():
    coord = np.array([[0.05, 0.05, 0.1], [0.06, 0.09, 0.9], [0.15, 0.05, 0.5], [0.45, 0.15, 0]])
    assert observed_share(coord, REGION) == pytest.approx(3 / 10)


def test_points_outside_do_not_count():
    coord = np.array([[0.05, 0.05, 2.0], [-0.01, 0.05, 0.5], [0.7, 0.1, 0.5]])
    assert observed_share(coord, REGION) == 0
    assert observed_share(np.zeros((0, 3)), REGION) == 0


def test_a_filled_region_is_fully_observed_also_at_its_faces():
    x, y = np.meshgrid(np.linspace(-1.3, -0.3, 51), np.linspace(-0.7, 0.05, 51))
    coord = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3).astype(np.float32)
    region = (np.array([-1.3, -0.7, -0.1]), np.array([-0.3, 0.05, 0.1]))
    assert observed_share(coord, region) == 1  # 10 x 7.5, so 10 x 8 columns
    assert observed_share(coord[x.ravel() < -0.81], region) == pytest.approx(0.5)


def test_a_region_smaller_than_a_column_is_one_column():
    assert observed_share(np.array([[0.01, 0.01, 0.01]]), ([0, 0, 0], [0.02, 0.02, 0.02])) == 1


@pytest.mark.parametrize(
    ('region', 'match'),
    [
        (([0, 0, 0], [0, 1, 1]), 'the region is empty'),
        (([0, 2, 0], [1, 1, 1]), 'the region is empty'),
        (([0, 0, np.nan], [1, 1, 1]), 'three finite numbers'),
        (([0, 0, 0], [1, 1, np.inf]), 'three finite numbers'),
        (([0, 0], [1, 1]), 'three finite numbers'),
    ],
)
def test_useless_regions_are_refused(region, match):
    for function in (inside, observed_share):
        with pytest.raises(SearchError, match=match):
            function(np.zeros((1, 3)), region)


@pytest.mark.parametrize('far', [1e9, 1e300])
def test_a_region_without_end_is_almost_unobserved(far):
    coord = np.zeros((10, 3))
    assert inside(coord, ([-far] * 3, [far] * 3)).all()
    assert 0 < observed_share(coord, ([-far] * 3, [far] * 3)) < 1e-9
