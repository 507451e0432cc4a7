"""Convolution with stride two and its transpose, against dense ones, by every backend."""

import pytest
import torch
from torch.nn.functional import conv3d, conv_transpose3d

from concerto_ros.model.sparse_conv import DownConv3d, Halving, UpConv3d

SIZE = 6


def halving_of(counts, device='cpu', shift=0):
    """Return voxels of clouds in a cube of `SIZE`, and their cells sorted by cloud and place."""
    generator = torch.Generator().manual_seed(0)
    cell = torch.cat([torch.randperm(SIZE**3, generator=generator)[:n] for n in counts])
    batch = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    grid = torch.stack([cell // SIZE**2, cell // SIZE % SIZE, cell % SIZE], dim=1)
    places = torch.cat([batch[:, None], grid >> 1], dim=1)
    cells, parent = torch.unique(places, dim=0, return_inverse=True)
    halving = Halving(
        grid_coord=(grid + shift).to(device),
        batch=batch.to(device),
        parent=parent.to(device),
        num_parents=len(cells),
    )
    return halving, cells.to(device)


def at(halving):
    """Return the places of the voxels in a volume of all clouds."""
    grid = halving.grid_coord
    return halving.batch, *(grid - grid.amin() // 2 * 2 if len(grid) else grid).unbind(1)


def gradients(y, *inputs):
    generator = torch.Generator().manual_seed(1)
    return torch.autograd.grad(y, inputs, torch.randn(y.shape, generator=generator).to(y))


def check(found, expected, *inputs):
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)
    for ours, reference in zip(
        gradients(found, *inputs), gradients(expected, *inputs), strict=True
    ):
        torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-4)


CLOUDS = pytest.mark.parametrize(
    ('counts', 'shift'), [((1,), 0), ((2,), 4), ((40, 0, 70), 0), ((SIZE**3, 9), 8)]
)


@CLOUDS
def test_down_equals_dense_convolution(backend, counts, shift):
    down, device = backend[0].down, backend[1]
    halving, cells = halving_of(counts, device, shift)
    layer = DownConv3d(5, 12).to(device)
    layer.compute = down
    x = torch.randn(len(halving.batch), 5, device=device, requires_grad=True)
    volume = x.new_zeros(len(counts), SIZE, SIZE, SIZE, 5).index_put(at(halving), x)
    weight = layer.weight.permute(0, 4, 1, 2, 3)
    dense = conv3d(volume.permute(0, 4, 1, 2, 3), weight, layer.bias, stride=2)
    expected = dense.permute(0, 2, 3, 4, 1)[cells.unbind(1)]
    check(layer(x, halving), expected, x, layer.weight, layer.bias)


@CLOUDS
def test_up_equals_dense_transposed_convolution(backend, counts, shift):
    up, device = backend[0].up, backend[1]
    halving, cells = halving_of(counts, device, shift)
    layer = UpConv3d(12, 5).to(device)
    layer.compute = up
    x = torch.randn(len(cells), 12, device=device, requires_grad=True)
    half = SIZE // 2
    volume = x.new_zeros(len(counts), half, half, half, 12).index_put(cells.unbind(1), x)
    weight = layer.weight.permute(4, 0, 1, 2, 3)
    dense = conv_transpose3d(volume.permute(0, 4, 1, 2, 3), weight, layer.bias, stride=2)
    expected = dense.permute(0, 2, 3, 4, 1)[at(halving)]
    check(layer(x, halving), expected, x, layer.weight, layer.bias)


def test_no_voxels_give_no_cells(backend):
    computed_by, device = backend
    halving, _ = halving_of((0, 0), device)
    parts = (DownConv3d(3, 4), computed_by.down), (UpConv3d(3, 4), computed_by.up)
    for layer, compute in parts:
        layer.to(device).compute = compute
        x = torch.zeros(0, 3, device=device, requires_grad=True)
        y = layer(x, halving)
        assert y.shape == (0, 4)
        assert gradients(y, layer.weight)[0].abs().max() == 0


def test_up_takes_from_every_voxel_what_down_gives_it():
    """With the same weights the one is the transpose of the other."""
    halving, cells = halving_of((40, 30))
    down, up = DownConv3d(3, 4).double(), UpConv3d(4, 3).double()
    up.weight.data = down.weight.data.permute(4, 1, 2, 3, 0).contiguous()
    for layer in (down, up):
        torch.nn.init.zeros_(layer.bias)
    fine = torch.randn(70, 3, dtype=torch.float64)
    coarse = torch.randn(len(cells), 4, dtype=torch.float64)
    ours, theirs = (down(fine, halving) * coarse).sum(), (fine * up(coarse, halving)).sum()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('kind', [DownConv3d, UpConv3d])
def test_half_precision_is_rounded_once(kind):
    halving, cells = halving_of((100,))
    rows = 100 if kind is DownConv3d else len(cells)
    layer, x = kind(70, 9), torch.randn(rows, 70)
    expected = layer(x, halving)
    with torch.autocast('cpu', torch.bfloat16):
        found = layer(x, halving)
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).norm() < 0.01 * expected.norm()
