import importlib.util

import pytest
import torch
from torch.nn.functional import conv3d

from concerto_ros.errors import BackendUnavailable
from concerto_ros.model.sparse_conv import (
    DownConv3d,
    SubMConv3d,
    UpConv3d,
    find_neighbors,
    select_backend,
    selection,
    use_backend,
)

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


# Narrow features differ in path from wide ones on a GPU, and in half precision.
@pytest.mark.parametrize('in_channels', [5, 70])
@pytest.mark.parametrize('kernel_size', [3, 5])
@pytest.mark.parametrize('num_voxels', [0, 1, 2, 90, SIZE**3])
def test_every_backend_equals_dense_convolution(backend, in_channels, kernel_size, num_voxels):
    convolve, device = backend[0].convolve, backend[1]
    layer = SubMConv3d(in_channels, 30, kernel_size).to(device)
    layer.convolve = convolve
    torch.nn.init.normal_(layer.bias)
    grid = voxels(num_voxels).to(device)
    x = torch.randn(num_voxels, in_channels, device=device, requires_grad=True)
    neighborhood = find_neighbors(grid + 7, torch.zeros_like(grid[:, 0]), kernel_size)
    expected = dense_convolution(layer, x, grid)
    inputs = (x, layer.weight, layer.bias)
    references = gradients(expected, *inputs)
    for _ in range(2):  # the second time with what the first one has prepared
        found = layer(x, neighborhood)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)
        for ours, reference in zip(gradients(found, *inputs), references, strict=True):
            torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-4)


def test_no_backend_lets_clouds_touch(backend):
    convolve, device = backend[0].convolve, backend[1]
    grid = torch.cat([voxels(90), voxels(80, seed=1)]).to(device)
    batch = torch.tensor([0] * 90 + [2] * 80, device=device)  # the cloud between is empty
    layer = SubMConv3d(5, 30).to(device)
    layer.convolve = convolve
    x = torch.randn(len(grid), 5, device=device)
    found = layer(x, find_neighbors(grid, batch))
    for part in (batch == 0, batch == 2):
        torch.testing.assert_close(
            found[part], dense_convolution(layer, x[part], grid[part]), atol=2e-5, rtol=2e-5
        )


@pytest.mark.parametrize('in_channels', [5, 70])
def test_exact_in_double(device, in_channels):
    layer = SubMConv3d(in_channels, 80).double().to(device)
    grid = voxels(90).to(device)
    x = torch.randn(90, in_channels, dtype=torch.float64, device=device, requires_grad=True)
    found = layer(x, find_neighbors(grid, torch.zeros_like(grid[:, 0])))
    expected = dense_convolution(layer, x, grid)
    torch.testing.assert_close(found, expected)
    for ours, reference in zip(
        gradients(found, x, layer.weight), gradients(expected, x, layer.weight), strict=True
    ):
        torch.testing.assert_close(ours, reference)


# --- choice of the backend ---------------------------------------------------------------


def test_auto_takes_torch_without_cuda_and_says_why():
    backend = select_backend('auto', torch.device('cpu'))
    assert backend.name == 'torch'
    assert backend.notice.startswith('convolution by torch: spconv is for CUDA')


def test_spconv_by_name_never_falls_back():
    with pytest.raises(BackendUnavailable, match=r'not possible: spconv is for CUDA.*torch'):
        select_backend('spconv', torch.device('cpu'))


def test_a_name_that_is_no_backend():
    with pytest.raises(BackendUnavailable, match='auto, torch, spconv, got "minkowski"'):
        select_backend('minkowski', torch.device('cpu'))


@pytest.mark.parametrize(
    ('installed', 'expected'),
    [
        ({}, 'spconv is not installed: pip install spconv-cu126==2.3.8'),
        ({'spconv': '2.3.8'}, 'the installed spconv 2.3.8 is built without CUDA: pip install'),
        ({'spconv-cu120': '2.3.6'}, 'spconv-cu120 2.3.6: it crashes with numpy 2.4.6; pip'),
        ({'spconv-cu118': '2.3.6'}, 'pip uninstall spconv-cu118, then pip install spconv-cu126'),
        ({'spconv-cu121': '2.3.8'}, ''),
        ({'spconv-cu126': '2.3.7'}, ''),
    ],
)
def test_builds_that_cannot_work_are_refused_before_they_are_imported(
    monkeypatch, installed, expected
):
    def version(name):
        if name not in installed:
            raise selection.importlib.metadata.PackageNotFoundError
        return installed[name]

    monkeypatch.setattr(selection.importlib.metadata, 'version', version)
    monkeypatch.setattr(
        selection.importlib.util, 'find_spec', lambda name: name if installed else None
    )
    monkeypatch.setattr(selection.np, '__version__', '2.4.6')
    monkeypatch.setattr(selection, '_failure', lambda device: '')
    obstacle = selection._obstacle(torch.device('cuda'))
    assert expected in obstacle if expected else obstacle == ''


@pytest.mark.parametrize(
    ('code', 'expected'),
    [
        ('pass', ''),
        ('import os, signal; os.kill(os.getpid(), signal.SIGFPE)', 'ends by SIGFPE'),
        ('assert False, "wrong numbers"', 'fails with AssertionError: wrong numbers'),
    ],
)
def test_a_build_that_ends_the_process_ends_another_one(monkeypatch, code, expected):
    monkeypatch.setattr(selection, '_TRIAL', code)
    selection._failure.cache_clear()
    failure = selection._failure(torch.device('cpu'))
    selection._failure.cache_clear()
    assert expected in failure if expected else failure == ''


def test_the_trial_runs_where_spconv_does():
    selection._failure.cache_clear()
    failure = selection._failure(torch.device('cpu'))
    if importlib.util.find_spec('spconv'):
        assert failure == ''
    else:
        assert failure.endswith("No module named 'spconv'")


def test_one_call_sets_all_layers_of_a_network():
    calls = []
    layers = SubMConv3d(2, 2), DownConv3d(2, 2), UpConv3d(2, 2)
    network = torch.nn.Sequential(layers[0], torch.nn.Sequential(*layers[1:]))
    names = 'convolve', 'down', 'up'
    functions = {name: lambda x, *_, name=name: calls.append(name) or x for name in names}
    use_backend(network, selection.Backend(name='test', notice='', **functions))
    for layer in layers:
        layer(torch.zeros(0, 2), None)
    assert calls == ['convolve', 'down', 'up']


# Pairs come in chunks of 8192 rows; half precision gathers narrow features of 512 rows at a time.
@pytest.mark.parametrize(('dtype', 'error'), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize('channels', [2, 70])
def test_more_rows_than_a_chunk(dtype, error, channels):
    torch.manual_seed(0)
    size = 21
    grid = torch.cartesian_prod(*[torch.arange(size)] * 3)
    layer, x = SubMConv3d(channels, 3), torch.randn(len(grid), channels)
    torch.nn.init.normal_(layer.weight, std=0.1)
    volume = x.t().reshape(1, channels, size, size, size)
    dense = conv3d(volume, layer.weight.permute(0, 4, 1, 2, 3), layer.bias, padding=1)
    expected = dense.reshape(3, -1).t()
    expected = (expected, *gradients(expected, layer.weight, layer.bias))
    neighborhood = find_neighbors(grid, torch.zeros(len(grid)).long())
    y = layer.to(dtype)(x.to(dtype), neighborhood)
    found = (y, *gradients(y, layer.weight, layer.bias))
    for ours, wanted in zip(found, expected, strict=True):
        assert (ours.float() - wanted).norm() < error * wanted.norm()


def test_a_map_of_the_result_may_be_joined_with_the_weights():
    torch.manual_seed(0)
    layer, linear = SubMConv3d(2, 3), torch.nn.Linear(3, 4)
    for num_voxels in (20, 100):  # from 55 rows on it is less work
        grid = voxels(num_voxels)
        x = torch.randn(num_voxels, 2, requires_grad=True)
        neighborhood = find_neighbors(grid, torch.zeros(num_voxels).long())
        inputs = (x, *layer.parameters(), *linear.parameters())
        expected = linear(layer(x, neighborhood))
        found = layer(x, neighborhood, linear)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(gradients(found, *inputs), gradients(expected, *inputs))


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


def test_autocast_rounds_only_as_its_dtype_does():
    torch.manual_seed(0)
    grid = voxels(90)
    neighborhood = find_neighbors(grid, torch.zeros(90).long())
    for channels in (5, 70):
        layer, x = SubMConv3d(channels, 8), torch.randn(90, channels)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            half = layer(x, neighborhood)
        torch.testing.assert_close(half.float(), layer(x, neighborhood), atol=0.02, rtol=0.05)
