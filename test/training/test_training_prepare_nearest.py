import numpy as np
import pytest

from training.prepare.nearest import nearest_within


@pytest.mark.parametrize('radii', [(0.3,), (0.1, 0.3)])
def test_it_agrees_with_brute_force(radii):
    rng = np.random.default_rng(0)
    query, reference = rng.normal(size=(200, 3)), rng.normal(size=(400, 3))
    distance = np.linalg.norm(query[:, None] - reference, axis=2)
    expected = np.where(distance.min(axis=1) <= 0.3, distance.argmin(axis=1), -1)
    assert 0 < (expected < 0).sum() < 200
    np.testing.assert_array_equal(nearest_within(query, reference, radii), expected)


def test_the_radius_is_kept_across_cells():
    query = np.array([[0.0, 0, 0], [0.0, 0, 0.5], [-3.0, 0, 0]])
    reference = np.array([[0.049, 0, 0], [0.0, 0.051, 0.5]])
    assert nearest_within(query, reference, (0.02, 0.05)).tolist() == [0, -1, -1]


@pytest.mark.parametrize(('queries', 'references'), [(0, 3), (3, 0), (0, 0)])
def test_nothing_is_near_nothing(queries, references):
    found = nearest_within(np.zeros((queries, 3)), np.ones((references, 3)), (0.1,))
    assert found.tolist() == [-1] * queries
