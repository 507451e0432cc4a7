"""Equality with numbers that the published network computed; see the README of the fixtures.

Pairs NAME.npz and NAME.safetensors are taken from shared/fixtures beside the repository and from
every folder named by CONCERTO_PARITY_FIXTURES (separated as in PATH).
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from concerto_ros.model import PointBatch, load_backbone, make_plan
from concerto_ros.model.serialization import CURVES, curve_code, z_order_code
from concerto_ros.model.sparse_conv import find_neighbors
from concerto_ros.model.sparse_conv.torch_backend import convolve
from concerto_ros.model.windows import make_windows

SHARED = Path(__file__).resolve().parents[2].parent / 'shared' / 'fixtures'
NAMED = [Path(p) for p in os.environ.get('CONCERTO_PARITY_FIXTURES', '').split(os.pathsep) if p]
CASES = sorted({p for folder in [SHARED, *NAMED] for p in folder.glob('*.safetensors')})
UNITS = sorted({p for folder in [SHARED, *NAMED] for p in folder.glob('u_units.npz')})

ABSENT = pytest.param(
    Path('absent'),
    marks=pytest.mark.skip(reason='the published numbers in ../shared/fixtures are absent'),
)

TOLERANCE = 1e-5  # of the largest value; float32 against float64 differ by at most 1.4e-6
HALF_TOLERANCE = 1e-2  # the flash branch rounds queries, keys and values to half precision


def tensor(array):
    array = np.asarray(array)
    return torch.from_numpy(array.astype(np.int64) if array.dtype == np.int32 else array)


def relative_error(found, expected):
    """Largest difference in units of the largest value."""
    return ((found.double() - expected.double()).abs().max() / expected.abs().max()).item()


class Case:
    """One fixture, the network with its weights, and the plan that the published one followed."""

    def __init__(self, weights):
        self.numbers = np.load(weights.with_suffix('.npz'))
        self.config = json.loads(bytes(self.numbers['meta']))['config']
        self.num_levels = len(self.config['enc_channels'])
        self.model, self.report = load_backbone(weights)
        self.mask = tensor(self.numbers['in/mask']) if 'in/mask' in self else None
        self.points = PointBatch(
            coord=self['in/coord'],
            grid_coord=self['in/grid_coord'],
            feat=self['in/feat'],
            offset=self['in/offset'],
        )
        self.plan = make_plan(
            self.points.grid_coord,
            self.points.offset,
            self.model.config,
            depth=[int(self[f'out/l{level}/depth']) for level in range(self.num_levels)],
            permutations=self.permutations(),
        )

    def __getitem__(self, key):
        return tensor(self.numbers[key])

    def __contains__(self, key):
        return key in self.numbers.files

    def permutations(self):
        drawn = self['perms'].tolist() if 'perms' in self else []
        fixed = [list(range(len(self.config['order'])))] * (self.num_levels - len(drawn))
        return fixed + drawn

    def counts(self, level):
        num_clouds = len(self['in/offset'])
        return self[f'out/l{level}/batch'].bincount(minlength=num_clouds).tolist()

    def patch_size(self, level):
        size = self.config['enc_patch_size'][level]
        return size if self.config.get('enable_flash', True) else min(size, *self.counts(level))

    def row_of(self, level):
        """Our row of each published row."""
        keys = [
            torch.cat([batch[:, None], grid], dim=1).tolist()
            for batch, grid in (
                (self.plan.stages[level].cells.batch, self.plan.stages[level].cells.grid_coord),
                (self[f'out/l{level}/batch'], self[f'out/l{level}/grid_coord']),
            )
        ]
        row = {tuple(key): i for i, key in enumerate(keys[0])}
        assert len(row) == len(keys[1])
        return torch.tensor([row[tuple(key)] for key in keys[1]])


@pytest.fixture(scope='module', params=CASES or [ABSENT], ids=lambda path: path.stem)
def case(request):
    return Case(request.param)


@pytest.fixture(scope='module')
def pyramid(case):
    return case.model(case.points, plan=case.plan, mask=case.mask)


def test_every_folder_has_fixtures():
    for folder in [*NAMED, *([SHARED] if SHARED.is_dir() else [])]:
        pairs = [p for p in folder.glob('*.safetensors') if p.with_suffix('.npz').is_file()]
        assert pairs, f'{folder} holds no pair of NAME.safetensors and NAME.npz'


def test_features_of_every_level(case, pyramid):
    tolerance = HALF_TOLERANCE if case.config.get('enable_flash', True) else TOLERANCE
    # A decoder, which we do not have, rewrites the features of all levels but the coarsest.
    first = 0 if case.config.get('enc_mode', False) else case.num_levels - 1
    for level in range(first, case.num_levels):
        found = pyramid.levels[level].feat
        found = found[case.row_of(level)] if level else found
        assert relative_error(found, case[f'out/l{level}/feat']) < tolerance, f'level {level}'


def test_upcast(case, pyramid):
    if not case.config.get('enc_mode', False):
        pytest.skip('this fixture has a decoder, which is not built')
    tolerance = HALF_TOLERANCE if case.config.get('enable_flash', True) else TOLERANCE
    found = pyramid.upcast(num_concats=2)
    assert found.shape == case['out/upcast'].shape
    assert relative_error(found, case['out/upcast']) < tolerance


def test_codes_and_orders(case):
    for level, permutation in enumerate(case.permutations()):
        grid, batch = case[f'out/l{level}/grid_coord'], case[f'out/l{level}/batch']
        depth = int(case[f'out/l{level}/depth'])
        row = case.row_of(level)
        for place, curve_index in enumerate(permutation):
            curve = case.config['order'][curve_index]
            code = (batch << (3 * depth)) | curve_code(curve, z_order_code(grid), depth)
            assert torch.equal(code, case[f'out/l{level}/code'][place]), (level, curve)
            if place < len(case.plan.stages[level].orders):
                expected = row[case[f'out/l{level}/order'][place]]
                assert torch.equal(case.plan.stages[level].orders[place], expected), (level, curve)


def test_default_depth_is_the_published_one_for_a_single_cloud(case):
    if len(case.points.offset) > 1:
        pytest.skip('the published depth is shared by the batch, ours is not')
    plan = make_plan(
        case.points.grid_coord,
        case.points.offset,
        case.model.config,
        permutations=case.permutations(),
    )
    for ours, published in zip(plan.stages, case.plan.stages, strict=True):
        for order, expected in zip(ours.orders, published.orders, strict=True):
            assert torch.equal(order, expected)


def test_pooling_maps(case):
    for level in range(1, case.num_levels):
        fine, coarse = case.row_of(level - 1), case.row_of(level)
        found = case.plan.stages[level].cells.inverse[fine]
        assert torch.equal(found, coarse[case[f'out/l{level}/pooling_inverse']])


def test_windows(case):
    for level in range(case.num_levels):
        if f'pad/l{level}/pad' not in case:
            continue
        counts, size = case.counts(level), int(case[f'pad/l{level}/patch_size'])
        windows = make_windows(counts, size, 'cpu')
        starts = case[f'pad/l{level}/cu_seqlens']
        assert windows.num_full + (windows.slot.numel() > 0 and short_windows(counts, size)) == (
            len(starts) - 1
        )
        for row, place in enumerate(case[f'pad/l{level}/unpad'].tolist()):
            window = int(torch.searchsorted(starts, place, right=True)) - 1
            published = case[f'pad/l{level}/pad'][int(starts[window]) : int(starts[window + 1])]
            assert keys_of(windows, row) == sorted(published.tolist()), (level, row)


def short_windows(counts, size):
    return sum(0 < n < size for n in counts)


def keys_of(windows, row):
    """Rows that `row` attends to."""
    slot = int(windows.slot[row])
    num_full_slots = windows.num_full * windows.size
    if slot < num_full_slots:
        first = slot // windows.size * windows.size
        return sorted(windows.gather[first : first + windows.size].tolist())
    window = (slot - num_full_slots) // windows.short_size
    first = num_full_slots + window * windows.short_size
    keys = windows.gather[first : first + windows.short_size]
    if windows.short_mask is not None:
        keys = keys[windows.short_mask[window].flatten()]
    return sorted(keys.tolist())


@pytest.fixture(scope='module', params=UNITS or [ABSENT], ids=lambda path: path.parent.name)
def units(request):
    return np.load(request.param)


def test_curves_of_units(units):
    depths = sorted({int(key.split('/')[1][1:]) for key in units.files if key.startswith('curve')})
    assert depths
    for depth in depths:
        batch = tensor(units[f'curve/d{depth}/batch'])
        z_code = z_order_code(tensor(units[f'curve/d{depth}/grid']))
        for curve in CURVES:
            code = (batch << (3 * depth)) | curve_code(curve, z_code, depth)
            assert torch.equal(code, tensor(units[f'curve/d{depth}/{curve}'])), (depth, curve)


@pytest.mark.parametrize('name', ['subm3', 'subm5'])
def test_convolution_of_units(units, name):
    x, weight, bias = (
        tensor(units[f'{name}/{key}']).requires_grad_() for key in ('x', 'weight', 'bias')
    )
    indices = tensor(units[f'{name}/indices'])
    neighborhood = find_neighbors(indices[:, 1:], indices[:, 0], kernel_size=weight.shape[1])
    y = convolve(x, weight, bias, neighborhood)
    y.backward(tensor(units[f'{name}/grad_y']))
    assert relative_error(y, tensor(units[f'{name}/y'])) < TOLERANCE
    for value, key in ((x, 'grad_x'), (weight, 'grad_w'), (bias, 'grad_b')):
        assert relative_error(value.grad, tensor(units[f'{name}/{key}'])) < TOLERANCE, key
