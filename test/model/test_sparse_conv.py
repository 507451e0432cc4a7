import pytest
import torch
from torch.nn.functional import conv3d

from concerto_ros.model.sparse_conv import SubMConv3d, find_neighbors

SIZE = 6


def voxels(num_voxels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cell = torch.randperm(SIZE**3, generator=generator)[:num_voxels]
    return torch.stack([cell // SIZE**2, cell // SIZE % SIZE, cell % SIZE], dim=1)


def dense_convolution(layer, x, grid):
    volume = x.new_zeros(1, x.shape[1], SIZE, SIZE, SIZE)
    volume[0, :, grid[:, 0], grid[:, 1], grid[:, 2]] = x.t()
    weight = layer.weight.permute(0, 4, 1, 2, 3)
    y = conv3d(volume, weight, layer.bias, padding=layer.weight.shape[1] // 2)
    return y[0, :, grid[:, 0], grid[:, 1], grid[:, 2]].t()


def gradients(y, *inputs):
    generator = torch.Generator().manual_seed(1)
    return torch.autograd.grad(y, inputs, torch.randn(y.shape, generator=generator).to(y))


# 5 channels take the path of gathered chunks, 70 the path of one product per tap.
@pytest.mark.parametrize('in_channels', [5, 70])
@pytest.mark.parametrize('out_channels', [3, 80])
@pytest.mark.parametrize('kernel_size', [3, 5])
@pytest.mark.parametrize('num_voxels', [1, 2, 90, SIZE**3])
def test_equals_dense_convolution(in_channels, out_channels, kernel_size, num_voxels):
    torch.manual_seed(0)
    layer = SubMConv3d(in_channels, out_channels, kernel_size).double()
    torch.nn.init.normal_(layer.bias)
    grid = voxels(num_voxels)
    x = torch.randn(num_voxels, in_channels, dtype=torch.float64, requires_grad=True)
    neighborhood = find_neighbors(grid + 7, torch.zeros(num_voxels).long(), kernel_size)
    found = layer(x, neighborhood)
    expected = dense_convolution(layer, x, grid)
    torch.testing.assert_close(found, expected)
    inputs = (x, layer.weight, layer.bias)
    for ours, reference in zip(
        gradients(found, *inputs), gradients(expected, *inputs), strict=True
    ):
        torch.testing.assert_close(ours, reference)


def test_more_rows_than_a_chunk():
    torch.manual_seed(0)
    axis = torch.arange(11)
    grid = torch.cartesian_prod(axis, axis, axis)
    layer = SubMConv3d(2, 2)
    x = torch.randn(len(grid), 2)
    y = layer(x, find_neighbors(grid, torch.zeros(len(grid)).long()))
    volume = x.t().reshape(1, 2, 11, 11, 11)
    dense = conv3d(volume, layer.weight.permute(0, 4, 1, 2, 3), layer.bias, padding=1)
    torch.testing.assert_close(y, dense.reshape(2, -1).t())


@pytest.mark.parametrize('kernel_size', [3, 5])
def test_searched_neighbors_equal_those_of_the_dense_table(kernel_size):
    grid = torch.cat([voxels(90), voxels(50, seed=1)])
    batch = torch.tensor([0] * 90 + [1] * 50)
    dense = find_neighbors(grid, batch, kernel_size)
    searched = find_neighbors(grid, batch, kernel_size, max_dense_cells=0)
    assert torch.equal(dense.table, searched.table)


def test_far_voxels_of_a_wide_scene_are_no_neighbors():
    grid = torch.tensor([[0, 0, 0], [0, 0, 1], [65534, 65534, 65534], [65534, 65534, 65533]])
    table = find_neighbors(grid, torch.zeros(4).long()).table
    assert [(row != 4).sum().item() for row in table] == [2, 2, 2, 2]
    assert table[0, 14] == 1
    assert table[2, 12] == 3


def test_clouds_do_not_touch():
    grid = torch.tensor([[1, 1, 1], [1, 1, 2]])
    apart = find_neighbors(grid, torch.tensor([0, 1])).table
    together = find_neighbors(grid, torch.tensor([0, 0])).table
    assert (apart != 2).sum() == 2
    assert (together != 2).sum() == 4


def test_no_voxels():
    layer = SubMConv3d(2, 3)
    grid = torch.zeros(0, 3, dtype=torch.int64)
    neighborhood = find_neighbors(grid, grid[:, 0])
    assert layer(torch.zeros(0, 2), neighborhood).shape == (0, 3)


def test_autocast_rounds_only_as_its_dtype_does():
    torch.manual_seed(0)
    grid = voxels(90)
    neighborhood = find_neighbors(grid, torch.zeros(90).long())
    for channels in (5, 70):
        layer, x = SubMConv3d(channels, 8), torch.randn(90, channels)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            half = layer(x, neighborhood)
        torch.testing.assert_close(half.float(), layer(x, neighborhood), atol=0.02, rtol=0.05)
