"""The reference of the encoder benchmark is the published network, shown by its own numbers."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.published_network import PublishedNetwork, padding
from concerto_ros.model import PointBatch, load_checkpoint

SHARED = Path(__file__).resolve().parents[2].parent / 'shared' / 'fixtures'
NAMED = [Path(p) for p in os.environ.get('CONCERTO_PARITY_FIXTURES', '').split(os.pathsep) if p]
CASES = sorted({p for folder in [SHARED, *NAMED] for p in folder.glob('*.safetensors')})
ABSENT = pytest.param(
    Path('absent'),
    marks=[
        pytest.mark.data,
        pytest.mark.skip(reason='the published numbers in ../shared/fixtures are absent'),
    ],
)
TOLERANCE = 1e-5  # of the largest value
HALF_TOLERANCE = 1e-2  # the flash branch rounds to half precision, the reference does not


@pytest.fixture(scope='module', params=CASES or [ABSENT], ids=lambda path: path.stem)
def case(request):
    """Return the published numbers, their configuration and the levels of the reference."""
    numbers = np.load(request.param.with_suffix('.npz'))
    meta = json.loads(bytes(numbers['meta']))
    config = meta['config']
    counts = np.diff(numbers['in/offset'], prepend=0)
    if config.get('enable_flash', True) and min(counts) < max(config['enc_patch_size'][0], 1):
        pytest.skip('the flash branch cuts other windows where a cloud is shorter than one')
    model, _ = load_checkpoint(request.param)
    network = PublishedNetwork(model.config)
    weights = model.state_dict()
    network.load_state_dict({k: v for k, v in weights.items() if not k.startswith('dec.')})
    mask = torch.from_numpy(numbers['in/mask']) if 'in/mask' in numbers else None
    points = PointBatch(
        coord=torch.from_numpy(numbers['in/coord']),
        grid_coord=torch.from_numpy(numbers['in/grid_coord']).long(),
        feat=torch.from_numpy(numbers['in/feat']),
        offset=torch.from_numpy(numbers['in/offset']).long(),
    )
    torch.manual_seed(meta['forward_seed'])
    return numbers, config, network(points, mask)


def test_features(case):
    numbers, config, levels = case
    tolerance = HALF_TOLERANCE if config.get('enable_flash', True) else TOLERANCE
    first = 0 if config['enc_mode'] else len(levels) - 1  # a decoder rewrites the finer levels
    for i, level in enumerate(levels[first:], first):
        expected = torch.from_numpy(numbers[f'out/l{i}/feat'])
        error = (level.feat - expected).abs().max() / expected.abs().max()
        assert error < tolerance, f'level {i}'


def test_serialisation(case):
    numbers, _, levels = case
    for i, level in enumerate(levels):
        assert level.depth == numbers[f'out/l{i}/depth']
        for name in ('grid_coord', 'batch', 'code', 'order', 'inverse'):
            expected = numbers[f'out/l{i}/{name}'].astype(np.int64)
            np.testing.assert_array_equal(getattr(level, name).numpy(), expected, f'{i} {name}')


def test_pooling(case):
    numbers, _, levels = case
    for i, level in enumerate(levels[1:], 1):
        expected = numbers[f'out/l{i}/pooling_inverse'].astype(np.int64)
        np.testing.assert_array_equal(level.pooling_inverse.numpy(), expected)
        np.testing.assert_allclose(level.coord.numpy(), numbers[f'out/l{i}/coord'], atol=1e-6)


def test_padding_of_the_specification():
    assert padding([10], 4)[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 6, 7]
    assert padding([7], 3)[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 4, 5]
    assert padding([3], 4)[0].tolist() == [0, 1, 2]
