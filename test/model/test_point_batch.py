import pytest
import torch

from concerto_ros.errors import ConcertoError
from concerto_ros.model import PointBatch


def batch(**changes):
    values = {
        'coord': torch.zeros(3, 3),
        'grid_coord': torch.tensor([[0, 0, 0], [1, 0, 0], [65534, 2, 3]]),
        'feat': torch.zeros(3, 9),
        'offset': torch.tensor([1, 3]),
    }
    return PointBatch(**{**values, **changes})


def test_batch_numbers_the_clouds():
    points = batch(offset=torch.tensor([1, 1, 3]))
    assert len(points) == 3
    assert points.batch.tolist() == [0, 2, 2]
    assert points.to('cpu').batch.tolist() == [0, 2, 2]


def test_nothing_is_a_valid_batch():
    nothing = batch(
        coord=torch.zeros(0, 3),
        grid_coord=torch.zeros(0, 3, dtype=torch.int64),
        feat=torch.zeros(0, 9),
        offset=torch.tensor([0]),
    )
    assert len(nothing) == 0
    assert nothing.batch.tolist() == []


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'coord': torch.zeros(3, 2)}, r'coord must be \(N, 3\)'),
        ({'coord': torch.zeros(3, 3).double()}, 'coord must be .* torch.float32, got .*float64'),
        ({'grid_coord': torch.zeros(2, 3, dtype=torch.int64)}, r'grid_coord must be \(3, 3\)'),
        ({'grid_coord': torch.zeros(3, 3).int()}, 'torch.int64, got .* torch.int32'),
        ({'grid_coord': torch.full((3, 3), -1)}, r'in 0..65534, found -1..-1: subtract'),
        ({'grid_coord': torch.full((3, 3), 65535)}, r'found 65535..65535'),
        ({'grid_coord': torch.zeros(3, 3)}, r'torch.int64, got \(3, 3\) torch.float32'),
        ({'grid_coord': torch.full((3, 3), 65536)}, r'found 65536..65536'),
        ({'coord': torch.full((3, 3), float('inf'))}, 'coord holds NaN or infinity: leave out'),
        ({'coord': torch.tensor(0.0)}, r'coord must be \(N, 3\)'),
        ({'feat': torch.zeros(3)}, r'feat must be \(3, C\)'),
        ({'offset': torch.tensor(3)}, r'offset must be \(B\)'),
        ({'offset': torch.full((2**15 + 1,), 3)}, 'at most 32768 clouds fit, got 32769'),
        ({'feat': torch.zeros(2, 9)}, r'feat must be \(3, C\)'),
        ({'feat': torch.full((3, 9), float('nan'))}, 'feat holds NaN'),
        ({'offset': torch.tensor([1, 2])}, 'end at N = 3, got'),
        ({'offset': torch.tensor([2, 1, 3])}, 'growing row counts'),
        ({'offset': torch.tensor([-1, 3])}, 'growing row counts'),
        ({'offset': torch.tensor([[3]])}, r'offset must be \(B\)'),
        ({'feat': torch.zeros(3, 9, device='meta')}, 'on one device'),
    ],
)
def test_bad_input_is_refused(changes, message):
    with pytest.raises(ConcertoError, match=message):
        batch(**changes)
