import pytest
import torch

from concerto_ros.mapping.fusion import NORMAL, OFFSET, STATE_WIDTH, WEIGHT, fuse, mean_per_voxel


def measured(*rows):
    """One voxel from rows of (value, weight)."""
    values = torch.tensor([[float(v)] * (STATE_WIDTH - 1) for v, _ in rows])
    weight = torch.tensor([float(w) for _, w in rows])
    return mean_per_voxel(values, weight, torch.zeros(len(rows), dtype=torch.int64), 1)


def test_a_voxel_is_the_weighted_mean_of_its_measurements(device):
    values = torch.tensor([[1.0] * 9, [4.0] * 9, [7.0] * 9], device=device)
    weight = torch.tensor([1.0, 2.0, 0.5], device=device)
    state = mean_per_voxel(values, weight, torch.tensor([1, 1, 0], device=device), 2)
    assert state[:, 0].tolist() == [7, 3]
    assert state[:, WEIGHT].tolist() == [0.5, 3]
    assert state[:, OFFSET].shape == state[:, NORMAL].shape == (2, 3)


def test_the_first_measurement_is_taken_as_it_is():
    state = fuse(torch.zeros(1, STATE_WIDTH), measured((5, 0.25)), max_weight=8)
    assert state[0].tolist() == [5] * 9 + [0.25]


def test_the_order_of_frames_does_not_matter_below_the_cap():
    a, b, c = measured((1, 1)), measured((2, 0.5), (3, 1)), measured((-4, 2))
    empty = torch.zeros(1, STATE_WIDTH)
    forward = fuse(fuse(fuse(empty, a, 99), b, 99), c, 99)
    backward = fuse(fuse(fuse(empty, c, 99), b, 99), a, 99)
    torch.testing.assert_close(forward, backward)
    torch.testing.assert_close(forward, measured((1, 1), (2, 0.5), (3, 1), (-4, 2)))


def test_the_cap_lets_a_voxel_follow_change():
    state = torch.zeros(1, STATE_WIDTH)
    for _ in range(100):
        state = fuse(state, measured((0, 1)), max_weight=4)
    assert state[0, WEIGHT] == 100  # goes on counting
    for _ in range(10):
        state = fuse(state, measured((10, 1)), max_weight=4)
    assert state[0, 0].item() == pytest.approx(10 * (1 - 0.8**10))
