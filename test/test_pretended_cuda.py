"""The whole pipeline on a pretended GPU: CPU memory that behaves as if it were another device.

Tensors of the pretended device say that they are on CUDA, refuse to meet tensors of the CPU, and
cannot become numpy arrays before they are copied back. So a tensor that is created on the wrong
device, or read from the wrong side, fails here as it would on a GPU. What only a GPU can tell
(kernels, rounding, time) is left to the tests marked gpu and to bench/gpu.py.
"""

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.model import (
    prepare_cloud,
    serialization,
)
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
CUDA = torch.device('cuda')


class OnCuda(torch.Tensor):
    """A tensor of the pretended device."""

    device = CUDA
    is_cuda, is_cpu = True, False


def wrapped(value):
    is_plain = isinstance(value, torch.Tensor) and not isinstance(value, OnCuda)
    return value.as_subclass(OnCuda) if is_plain else value


def plain(value):
    return value.as_subclass(torch.Tensor) if isinstance(value, OnCuda) else value


def is_on_cpu(value):
    """Tell whether a GPU would refuse it: single numbers may come from anywhere."""
    return isinstance(value, torch.Tensor) and not isinstance(value, OnCuda) and value.ndim > 0


class PretendedCuda(TorchFunctionMode):
    """Keeps the two devices apart, and counts what is called there."""

    def __init__(self):
        super().__init__()
        self.num_calls = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(function, '__name__', '')
        tensors = [v for v in tree_flatten((args, kwargs))[0] if isinstance(v, torch.Tensor)]
        is_there = any(isinstance(t, OnCuda) for t in tensors)
        if name in {'to', 'cpu'}:
            return self.moved(args, kwargs, name)
        if (
            name == '_has_compatible_shallow_copy_type'
        ):  # may weights change their device in place?
            return False
        if is_there:
            self.num_calls += 1
            if name == 'numpy':
                raise TypeError('a tensor on CUDA cannot become a numpy array')
            if any(is_on_cpu(t) for t in tensors):
                raise RuntimeError(f'{name}: expected all tensors to be on the same device')
        device = kwargs.pop('device', None)
        target = torch.device(device) if device is not None else None
        return self.run(function, args, kwargs, is_there if target is None else target == CUDA)

    def run(self, function, args, kwargs, is_there):
        """Compute on the CPU, and give results in place back as the tensors they came in."""
        originals = {}

        def unwrapped(value):
            if not isinstance(value, OnCuda):
                return value
            inner = plain(value)
            originals[id(inner)] = (value, inner)
            return inner

        args, kwargs = tree_map(unwrapped, (args, kwargs))
        result = function(*args, **kwargs)
        if not is_there:
            return result
        return tree_map(lambda v: originals.get(id(v), (wrapped(v), None))[0], result)

    def moved(self, args, kwargs, name):
        tensor, *rest = args
        other = next((a for a in rest if isinstance(a, torch.Tensor)), None)
        device, dtype = kwargs.get('device'), kwargs.get('dtype')
        for value in rest:
            if isinstance(value, torch.dtype):
                dtype = value
            elif isinstance(value, (torch.device, str)):
                device = value
        if other is not None:
            device, dtype = other.device, other.dtype
        device = 'cpu' if name == 'cpu' else device
        goes_there = torch.device(tensor.device if device is None else device).type == 'cuda'
        result = plain(tensor) if dtype is None else plain(tensor).to(dtype)
        return wrapped(result) if goes_there else result


@pytest.fixture
def pretended_cuda():
    serialization._hilbert_tables_on.cache_clear()
    with PretendedCuda() as mode:
        yield mode
    serialization._hilbert_tables_on.cache_clear()


@pytest.fixture(scope='module')
def weights(tiny_weights):
    """Choose a network with both kinds of convolution, and settings for small images."""
    return {
        **tiny_weights(channels=(16, 32, 96, 96, 96), heads=(1, 2, 6, 6, 6)),
        'semantics.convolution': 'torch',
        'semantics.attention': 'sdpa',
        'search.min_size': 0.04,
        'depth.stride': 2,
    }


@pytest.fixture(scope='module')
def frames():
    return list(SyntheticRoom(3).frames(6, camera=CAMERA))


def run(frames, weights, device):
    """Map, label, search and ask for changes; return what comes out."""
    pipeline = PerceptionPipeline(build(ConcertoConfig, {**weights, 'map.device': device}))
    changes = []
    for frame in frames:
        pipeline.integrate(frame)
        pipeline.update_semantics()
        changes.append(pipeline.changes(0))
    return pipeline.cloud(), changes[-1], pipeline.search('chair')


# --- the pretence itself -----------------------------------------------------------------


def test_devices_cannot_be_mixed(pretended_cuda):
    there = torch.ones(2, device='cuda')
    assert there.is_cuda
    assert torch.zeros_like(there).device == (there + 1).device == CUDA
    with pytest.raises(RuntimeError, match='same device'):
        there + torch.ones(2)
    with pytest.raises(RuntimeError, match='same device'):
        torch.cat([there, torch.ones(1)])
    with pytest.raises(TypeError, match='numpy'):
        there.numpy()
    assert (there + torch.ones(())).tolist() == [2, 2]
    assert there.cpu().numpy().sum() == 2
    assert torch.ones(2).to('cuda').is_cuda
    assert not there.to('cpu').is_cuda


def test_changes_in_place_reach_the_tensor_itself(pretended_cuda):
    there = torch.zeros(3, device='cuda')
    there[1:].add_(1)
    there[0] = 5
    assert there.add_(1) is there
    assert there.tolist() == [6, 2, 2]


# --- what is ours ------------------------------------------------------------------------


def test_the_whole_pipeline_keeps_to_its_device(frames, weights, pretended_cuda):
    expected = run(frames, weights, 'cpu')
    assert pretended_cuda.num_calls == 0
    found = run(frames, weights, 'cuda')
    assert pretended_cuda.num_calls > 1000
    assert_alike(found, expected)


@pytest.mark.gpu
def test_the_whole_pipeline_on_a_gpu_says_what_it_says_on_a_cpu(frames, weights):
    if not torch.cuda.is_available():
        pytest.skip('no CUDA device')
    assert_alike(run(frames, weights, 'cuda'), run(frames, weights, 'cpu'))


def assert_alike(found, expected):
    (cloud, changes, hits), (expected_cloud, expected_changes, expected_hits) = found, expected
    for name in ('coord', 'color', 'normal'):
        ours, reference = getattr(cloud, name), getattr(expected_cloud, name)
        np.testing.assert_allclose(ours, reference, atol=1e-5)
    for name in ('label', 'language_label'):
        assert (getattr(cloud, name) == getattr(expected_cloud, name)).mean() > 0.999
    np.testing.assert_allclose(cloud.confidence, expected_cloud.confidence, atol=2e-3)
    np.testing.assert_array_equal(changes.key, expected_changes.key)
    np.testing.assert_array_equal(changes.num_points, expected_changes.num_points)
    assert hits.verdict == expected_hits.verdict == 'found'
    assert len(hits.objects) == len(expected_hits.objects)


@pytest.mark.parametrize('is_published', [False, True])
def test_clouds_are_prepared_on_their_device(pretended_cuda, is_published):
    generator = torch.Generator().manual_seed(0)
    coord = torch.rand(500, 3, generator=generator)
    results = []
    for device in ('cpu', 'cuda'):
        random = np.random.RandomState(0) if is_published else None
        cloud = prepare_cloud(coord.to(device), published_random=random)
        assert cloud.points.feat.device.type == cloud.inverse.device.type == device
        results.append(cloud.points.feat.cpu().numpy())
    np.testing.assert_array_equal(*results)
