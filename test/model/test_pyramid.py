import pytest
import torch

from concerto_ros.errors import CheckpointError
from concerto_ros.model import FeaturePyramid, PyramidLevel


def level(feat, inverse):
    rows = len(feat)
    return PyramidLevel(
        feat=torch.tensor(feat),
        grid_coord=torch.zeros(rows, 3, dtype=torch.int64),
        offset=torch.tensor([rows]),
        inverse=torch.tensor(inverse),
    )


@pytest.fixture
def pyramid():
    return FeaturePyramid(
        (
            level([[1.0], [2.0], [3.0]], [0, 1, 2]),
            level([[10.0, 11.0], [20.0, 21.0]], [1, 0, 1]),
            level([[100.0]], [0, 0]),
        )
    )


def test_upcast_puts_finer_levels_first(pyramid):
    assert pyramid.num_points == 3
    assert pyramid.num_channels == 4
    assert pyramid.upcast().tolist() == [
        [1.0, 20.0, 21.0, 100.0],
        [2.0, 10.0, 11.0, 100.0],
        [3.0, 20.0, 21.0, 100.0],
    ]


def test_upcast_copies_after_the_concatenations(pyramid):
    assert pyramid.upcast(num_concats=1).tolist() == [
        [20.0, 21.0, 100.0],
        [10.0, 11.0, 100.0],
        [20.0, 21.0, 100.0],
    ]
    assert pyramid.upcast(num_concats=0).tolist() == [[100.0]] * 3


def test_upcast_to_a_coarser_level(pyramid):
    assert pyramid.upcast(to_level=1).tolist() == [[10.0, 11.0, 100.0], [20.0, 21.0, 100.0]]
    assert pyramid.upcast(to_level=2).tolist() == [[100.0]]


@pytest.mark.parametrize('num_concats', [None, 0, 1, 2, 4])
@pytest.mark.parametrize('to_level', range(5))
def test_linear_map_equals_that_of_the_concatenated_feature(
    tiny_model, random_points, num_concats, to_level
):
    pyramid = tiny_model()(random_points((300, 40)))
    feature = pyramid.upcast(num_concats, to_level)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(7, feature.shape[1], generator=generator) / 14
    bias = torch.randn(7, generator=generator)
    found = pyramid.linear(weight, bias, num_concats=num_concats, to_level=to_level)
    torch.testing.assert_close(found, feature @ weight.t() + bias, atol=1e-5, rtol=1e-5)


def test_linear_map_of_other_width_is_refused(pyramid):
    with pytest.raises(CheckpointError, match=r'from 4 channels, as this backbone has, got .* 5'):
        pyramid.linear(torch.zeros(2, 5), torch.zeros(2))
    with pytest.raises(CheckpointError, match=r'from 3 channels, as this backbone has, got .* 4'):
        pyramid.linear(torch.zeros(2, 4), torch.zeros(2), num_concats=1)
