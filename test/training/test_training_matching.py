import pytest
import torch

from training.objectives.matching import match

RADIUS = 0.32


def brute_force(query, query_cloud, reference, reference_cloud, radius):
    distance = (query[:, None].double() - reference[None].double()).norm(dim=2)
    distance[query_cloud[:, None] != reference_cloud] = torch.inf
    nearest, row = distance.min(1)
    rows = (nearest < radius).nonzero().squeeze(1)
    return rows, row[rows]


def clouds(num_rows, num_clouds, extent, seed):
    generator = torch.Generator().manual_seed(seed)
    coord = torch.rand(num_rows, 3, generator=generator) * extent - extent / 2
    return coord, torch.randint(0, num_clouds, (num_rows,), generator=generator)


def one_cloud(rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 3), torch.zeros(
        len(rows), dtype=torch.int64
    )


@pytest.mark.parametrize('extent', [0.2, 1.0, 4.0, 20.0])
@pytest.mark.parametrize('num_clouds', [1, 3])
def test_matches_are_those_of_all_distances(device, extent, num_clouds):
    query = [t.to(device) for t in clouds(400, num_clouds, extent, seed=1)]
    reference = [t.to(device) for t in clouds(300, num_clouds, extent, seed=2)]
    found = match(*query, *reference, RADIUS)
    expected = brute_force(*query, *reference, RADIUS)
    assert torch.equal(found.query, expected[0])
    assert torch.equal(found.reference, expected[1])


def test_a_cloud_sees_only_the_cloud_of_its_number():
    coord, _ = one_cloud([(0, 0, 0), (0.1, 0, 0)])
    found = match(coord[:1], torch.tensor([1]), coord, torch.tensor([0, 1]), RADIUS)
    assert found.reference.tolist() == [1]


def test_far_clouds_do_not_meet_at_the_border_of_a_row():
    query, query_cloud = one_cloud([(0, 0, 0), (5, 5, 5)])
    reference, reference_cloud = one_cloud([(0, 0, 5), (5, 5, 0), (0, 5, 5)])
    assert len(match(query, query_cloud, reference, reference_cloud, RADIUS).query) == 0


@pytest.mark.parametrize(('distance', 'num_found'), [(0.4999, 1), (0.5, 0), (0.5001, 0)])
def test_what_lies_at_the_radius_is_too_far(distance, num_found):
    query, query_cloud = one_cloud([(0, 0, 0)])
    reference, reference_cloud = one_cloud([(0, distance, 0)])
    found = match(query, query_cloud, reference, reference_cloud, 0.5)
    assert len(found.query) == num_found


def test_equal_distances_give_the_lowest_row():
    query, query_cloud = one_cloud([(0, 0, 0)])
    reference, reference_cloud = one_cloud([(0.25, 0, 0), (-0.25, 0, 0), (0, 0.25, 0)])
    assert match(query, query_cloud, reference, reference_cloud, 0.5).reference.tolist() == [0]


def test_queries_without_partner_are_absent():
    query, query_cloud = one_cloud([(9, 9, 9), (0, 0, 0.3), (-9, 0, 0)])
    reference, reference_cloud = one_cloud([(0, 0, 0)])
    found = match(query, query_cloud, reference, reference_cloud, RADIUS)
    assert (found.query.tolist(), found.reference.tolist()) == ([1], [0])


@pytest.mark.parametrize(('num_queries', 'num_references'), [(0, 0), (0, 3), (3, 0)])
def test_nothing_matches_nothing(num_queries, num_references):
    query = clouds(num_queries, 1, 0.1, seed=1)
    reference = clouds(num_references, 1, 0.1, seed=2)
    found = match(*query, *reference, RADIUS)
    assert found.query.shape == found.reference.shape == (0,)
