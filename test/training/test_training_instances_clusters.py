import numpy as np
import pytest

from training.protocol.instances import components
from training.protocol.instances.cluster import propose
from training.protocol.instances.components import connected_points
from training.protocol.instances.config import InstanceSection

SMALL = InstanceSection(min_voxels=2)
OBJECTS = np.array([False, True, True])  # class 0 is a wall


def plain_components(position, radius):
    """Return the same by all pairs."""
    near = ((position[:, None] - position) ** 2).sum(2) <= radius**2
    component = np.arange(len(position))
    while True:
        lowest = np.where(near, component, len(position)).min(1)
        if (lowest == component).all():
            return np.unique(component, return_inverse=True)[1]
        component = lowest


def same_groups(a, b):
    pairs = len(np.unique(np.stack([a, b]), axis=1).T)
    return pairs == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize('spread', [0.5, 4.0, 10.0, 14.0, 40.0])
def test_components_are_those_of_all_pairs(spread):
    position = np.random.default_rng(0).normal(size=(400, 3)) * spread
    found = connected_points(position, 1.5)
    assert same_groups(found, plain_components(position, 1.5))


def test_components_of_dense_blobs_are_exact_in_small_parts(monkeypatch):
    monkeypatch.setattr(components, '_PAIRS_AT_ONCE', 7)
    rng = np.random.default_rng(1)
    middles = rng.uniform(0, 6, (12, 3))
    position = middles[rng.integers(0, 12, 600)] + rng.normal(size=(600, 3)) * 0.2
    found = connected_points(position, 1.0)
    assert 1 < found.max() + 1 < 12
    assert same_groups(found, plain_components(position, 1.0))


def test_the_order_of_points_does_not_matter():
    rng = np.random.default_rng(2)
    position = rng.uniform(-8, 8, (300, 3))
    order = rng.permutation(300)
    assert (connected_points(position[order], 1.5) == connected_points(position, 1.5)[order]).all()


@pytest.mark.parametrize(('gap', 'groups'), [(1.5, 1), (1.5001, 2)])
def test_the_radius_itself_is_near(gap, groups):
    position = np.array([[0.0, 0, 0], [gap, 0, 0]])
    assert connected_points(position, 1.5).max() + 1 == groups


def test_nothing_is_no_component():
    assert connected_points(np.zeros((0, 3)), 1.0).shape == (0,)


def blob(x, count=4):
    """Voxels in a row along y."""
    return np.stack([np.full(count, x), np.arange(count), np.zeros(count)], axis=1).astype(float)


def test_objects_are_voxels_of_one_class_near_each_other():
    place = np.concatenate([blob(0), blob(1), blob(10), blob(20)])
    label = np.repeat([1, 2, 2, 0], 4)
    probability = np.linspace(0.5, 0.8, 16)
    found = propose(label, probability, [place], OBJECTS, SMALL)
    assert found.label.tolist() == [1, 2, 2]
    assert [np.flatnonzero(mask).tolist() for mask in found.mask] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    assert np.allclose(found.score, probability.reshape(4, 4).mean(1)[:3])


def test_a_cluster_of_no_more_than_the_least_voxels_is_no_object():
    place = np.concatenate([blob(0, 2), blob(10, 3)])
    found = propose(np.ones(5, int), np.ones(5), [place], OBJECTS, SMALL)
    assert found.mask.tolist() == [[False, False, True, True, True]]


def test_a_scene_without_objects_has_no_proposal():
    found = propose(np.zeros(4, int), np.ones(4), [blob(0), blob(0)], OBJECTS, SMALL)
    assert found.mask.shape == (0, 4)
    assert len(found.label) == len(found.score) == 0


def test_what_both_sets_find_is_proposed_once():
    place = np.concatenate([blob(0), blob(9)])
    found = propose(np.ones(8, int), np.ones(8), [place, place], OBJECTS, SMALL)
    assert len(found.label) == 2


def test_of_two_that_overlap_the_higher_score_stays():
    place = np.concatenate([blob(0), blob(1)])
    apart = np.concatenate([blob(0), blob(9)])  # two objects
    label = np.ones(8, int)
    surer_half = np.repeat([0.9, 0.5], 4)
    found = propose(label, surer_half, [place, apart], OBJECTS, SMALL)
    assert found.mask.sum(1).tolist() == [4, 4]  # the whole is gone before it meets the other half
    found = propose(label, np.ones(8), [place, apart], OBJECTS, SMALL)
    assert found.mask.sum(1).tolist() == [8]  # of equal scores, the first set
    found = propose(label, np.ones(8), [apart, place], OBJECTS, SMALL)
    assert found.mask.sum(1).tolist() == [4, 4]


def test_those_that_overlap_less_stay_both():
    place = np.concatenate([blob(0), blob(1, 16)])
    apart = np.concatenate([blob(0), np.arange(16)[:, None] * [9.0, 9, 9] + 50])
    found = propose(np.ones(20, int), np.ones(20), [apart, place], OBJECTS, SMALL)
    assert found.mask.sum(1).tolist() == [4, 20]
