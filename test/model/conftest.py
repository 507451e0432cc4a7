import importlib.util

import pytest
import torch

from concerto_ros.model import BackboneConfig, PointBatch, PointTransformerV3
from concerto_ros.model.sparse_conv import select_backend
from concerto_ros.model.sparse_conv.selection import Backend

HAS_SPCONV = importlib.util.find_spec('spconv') is not None
BACKENDS = [('torch', 'cpu'), pytest.param(('torch', 'cuda'), marks=pytest.mark.gpu)]
BACKENDS += [('spconv', 'cpu')]
BACKENDS += [pytest.param(('spconv', 'cuda'), marks=pytest.mark.gpu)] if HAS_SPCONV else []


def tiny_config(**changes):
    """Five stages of one block; a window is shorter than the test clouds."""
    values = {
        'enc_depths': (1, 1, 1, 1, 1),
        'enc_channels': (16, 32, 32, 48, 64),
        'enc_num_head': (1, 2, 2, 3, 4),
        'enc_patch_size': (64, 64, 64, 64, 64),
    }
    return BackboneConfig(**{**values, **changes})


def tiny_model(seed=0, **changes):
    """A network whose layers all matter: weights scaled by their fan-in, not small."""
    generator = torch.Generator().manual_seed(seed)
    model = PointTransformerV3(tiny_config(**changes)).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            if tensor.ndim > 1:
                tensor.copy_(noise / tensor[0].numel() ** 0.5)
            else:
                tensor.add_(noise, alpha=0.2)
    return model


def random_points(counts=(300,), extent=12, seed=0):
    """Clouds of distinct voxels in a cube, features uniform in -1..1."""
    generator = torch.Generator().manual_seed(seed)
    cells = [torch.randperm(extent**3, generator=generator)[:n].sort().values for n in counts]
    cells = [c[torch.randperm(len(c), generator=generator)] for c in cells]
    cell = torch.cat(cells)
    grid = torch.stack([cell // extent**2, cell // extent % extent, cell % extent], dim=1)
    return PointBatch(
        coord=grid * 0.02,
        grid_coord=grid,
        feat=torch.rand(len(grid), 9, generator=generator) * 2 - 1,
        offset=torch.tensor(counts).cumsum(0),
    )


@pytest.fixture(name='tiny_config')
def tiny_config_fixture():
    return tiny_config


@pytest.fixture(name='tiny_model')
def tiny_model_fixture():
    return tiny_model


@pytest.fixture(name='random_points')
def random_points_fixture():
    return random_points


@pytest.fixture(params=BACKENDS, ids=str)
def backend(request, monkeypatch):
    """Yield what computes convolutions, with `convolve`, `down` and `up`, and its device."""
    name, device = request.param
    if name == 'spconv' and not HAS_SPCONV:
        pytest.skip('spconv is not installed: it is optional, see README.md')
    if device == 'cuda' and not torch.cuda.is_available():
        pytest.skip('no CUDA device')
    device = torch.device(device)
    if (name, device.type) == ('spconv', 'cpu'):
        yield from _spconv_on_one_thread(monkeypatch, device)
    else:
        yield select_backend(name, device), device


def _spconv_on_one_thread(monkeypatch, device):
    """Yield spconv on a CPU: it is refused there, but on one thread its results are right."""
    from spconv.pytorch import ops

    from concerto_ros.model.sparse_conv import spconv_backend, spconv_stride2

    monkeypatch.setattr(ops, 'get_current_stream', lambda: 0)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    down, up = spconv_stride2.down, spconv_stride2.up
    compute = Backend(name='spconv', convolve=spconv_backend.convolve, down=down, up=up, notice='')
    yield compute, device
    torch.set_num_threads(num_threads)
