"""Equality with numbers that the published network computed; see the README of the fixtures.

Pairs NAME.npz and NAME.safetensors are taken from shared/fixtures beside the repository and from
every folder named by CONCERTO_PARITY_FIXTURES (separated as in PATH).
"""

import importlib.util
import json
import os
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from concerto_ros.errors import BackendUnavailable
from concerto_ros.model import PointBatch, PointTransformerV3, make_plan
from concerto_ros.model.attention import use_attention
from concerto_ros.model.attention_backend import select_attention
from concerto_ros.model.checkpoint_config import read_config
from concerto_ros.model.plan import draw_permutations
from concerto_ros.model.serialization import CURVES, curve_code, z_order_code
from concerto_ros.model.sparse_conv import find_neighbors
from concerto_ros.model.sparse_conv.torch_backend import convolve
from concerto_ros.weights_file import read_weights

SHARED = Path(__file__).resolve().parents[2].parent / 'shared' / 'fixtures'
NAMED = [Path(p) for p in os.environ.get('CONCERTO_PARITY_FIXTURES', '').split(os.pathsep) if p]
FOLDERS = [*NAMED, *([SHARED] if SHARED.is_dir() else [])]
CASES = sorted({p.resolve() for folder in FOLDERS for p in folder.glob('*.safetensors')})
NUMBERS = sorted({p.resolve() for folder in FOLDERS for p in folder.glob('*.npz')})
UNITS = [path for path in NUMBERS if path.with_suffix('.safetensors') not in CASES]

ABSENT = pytest.param(
    Path('absent'),
    marks=[
        pytest.mark.data,
        pytest.mark.skip(reason='the published numbers in ../shared/fixtures are absent'),
    ],
)

# flash_attn is optional: without it there is nothing to test.
ATTENTION = ['sdpa', *(['flash'] if importlib.util.find_spec('flash_attn') else [])]

TOLERANCE = 1e-5  # of the largest value; float32 against float64 differ by at most 1.4e-6
HALF_TOLERANCE = 1e-3  # the flash branch rounds queries, keys and values to half precision
DOUBLE_TOLERANCE = 1e-11


def tensor(array):
    array = np.asarray(array)
    return torch.from_numpy(array.astype(np.int64) if array.dtype == np.int32 else array)


def relative_error(found, expected):
    """Largest difference in units of the largest value."""
    assert found.shape == expected.shape
    return ((found.double() - expected.double()).abs().max() / expected.abs().max()).item()


class Case:
    """One fixture, the network with its weights, and the plan that the published one followed."""

    def __init__(self, weights):
        self.numbers = np.load(weights.with_suffix('.npz'))
        self.meta = json.loads(bytes(self.numbers['meta']))
        self.config = read_config(self.meta['config'])
        self.num_levels = self.config.num_stages
        self.state = read_weights(weights)[1]
        self.model = self.network()
        self.tolerance = HALF_TOLERANCE if self.config.enable_flash else TOLERANCE
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
            self.config,
            depth=[int(self[f'out/l{level}/depth']) for level in range(self.num_levels)],
            permutations=self.permutations(),
        )

    def network(self):
        model = PointTransformerV3(self.config).eval().requires_grad_(False)
        model.load_state_dict(self.state)
        return model

    def __getitem__(self, key):
        return tensor(self.numbers[key])

    def __contains__(self, key):
        return key in self.numbers.files

    def permutations(self):
        drawn = self['perms'].tolist() if 'perms' in self else []
        fixed = [list(range(len(self.config.order)))] * (self.num_levels - len(drawn))
        return fixed + drawn

    def row_of(self, level):
        """Our row of each published row."""
        cells = self.plan.stages[level].cells
        keys = [
            torch.cat([batch[:, None], grid], dim=1).tolist()
            for batch, grid in (
                (cells.batch, cells.grid_coord),
                (self[f'out/l{level}/batch'], self[f'out/l{level}/grid_coord']),
            )
        ]
        row = {tuple(key): i for i, key in enumerate(keys[0])}
        assert len(row) == len(keys[1])
        return torch.tensor([row[tuple(key)] for key in keys[1]])


def run(case, model):
    """Return the pyramid, and what the parts of the network gave on the way, by their names."""
    parts, hooks = {}, []

    def remember(name, _module, _inputs, output):
        parts[name] = output

    names = ('embedding', *(n for n, _ in model.named_modules() if is_remembered(n)))
    for name in names:
        hook = model.get_submodule(name).register_forward_hook(partial(remember, name))
        hooks.append(hook)
    pyramid = model(case.points, plan=case.plan, mask=case.mask)
    for hook in hooks:
        hook.remove()
    return pyramid, parts


def is_remembered(name):
    path = name.split('.')
    return (path[:1] == ['dec'] and len(path) == 2) or (
        path[:2] == ['enc', 'enc0'] and (path[3:] in ([], ['attn'])) and path[-1] != 'down'
    )


@pytest.fixture(scope='module', params=CASES or [ABSENT], ids=lambda path: path.stem)
def case(request):
    return Case(request.param)


@pytest.fixture(scope='module')
def result(case):
    return run(case, case.model)


@pytest.fixture(scope='module')
def pyramid(result):
    return result[0]


@pytest.mark.parametrize('folder', FOLDERS or [ABSENT], ids=str)
def test_every_folder_has_fixtures(folder):
    pairs = [p for p in folder.glob('*.safetensors') if p.with_suffix('.npz').is_file()]
    assert pairs, f'{folder} holds no pair of NAME.safetensors and NAME.npz'


def assert_features(case, result, key, tolerance):
    """Compare levels; where there is a decoder, a level may hold its feature or the encoder's."""
    pyramid, parts = result
    for level in range(case.num_levels):
        found = [pyramid.levels[level].feat]
        found = [found[0][case.row_of(level)] if level else found[0]]
        if f'dec.dec{level}' in parts:
            found.append(parts[f'dec.dec{level}'][case.row_of(level)])
        expected = case[f'{key}/l{level}/feat']
        errors = [relative_error(f, expected) for f in found if f.shape == expected.shape]
        assert min(errors) < tolerance, f'level {level}'


def test_features_of_every_level(case, result):
    assert_features(case, result, 'out', case.tolerance)


def test_features_in_double_precision(case):
    if 'out64/l0/feat' not in case:
        pytest.skip('this fixture has no numbers in double precision')
    tolerance = HALF_TOLERANCE if case.config.enable_flash else DOUBLE_TOLERANCE
    assert_features(case, run(case, case.network().double()), 'out64', tolerance)


def test_decoded_feature(case, pyramid):
    if 'out/dec_feat' not in case:
        assert case.config.enc_mode
        assert pyramid.decoded is None
    else:
        assert relative_error(pyramid.decoded, case['out/dec_feat']) < case.tolerance


def test_upcast(case, pyramid):
    if 'out/upcast' not in case:
        pytest.skip('this fixture holds no feature carried up')
    assert relative_error(pyramid.upcast(num_concats=2), case['out/upcast']) < case.tolerance


def test_trace_of_the_first_stage(case, result):
    _, parts = result
    names = [name for name in case.numbers.files if name.startswith('trace/')]
    for name in names:
        _, key = name.split('/')
        part = 'embedding' if key == 'embedding' else None
        if part is None:
            _, block, kind = key.split('_')
            part = f'enc.enc0.block{block}' + ('.attn' if kind == 'attn' else '')
        error = relative_error(parts[part][case.row_of(0)], case[name])
        assert error < case.tolerance, name


def test_codes_and_orders(case):
    for level, permutation in enumerate(case.permutations()):
        grid, batch = case[f'out/l{level}/grid_coord'], case[f'out/l{level}/batch']
        depth = int(case[f'out/l{level}/depth'])
        row = case.row_of(level)
        for place, curve_index in enumerate(permutation):
            curve = case.config.order[curve_index]
            code = (batch << (3 * depth)) | curve_code(curve, z_order_code(grid), depth)
            assert torch.equal(code, case[f'out/l{level}/code'][place]), (level, curve)
            if place < len(case.plan.stages[level].orders):
                expected = row[case[f'out/l{level}/order'][place]]
                assert torch.equal(case.plan.stages[level].orders[place], expected), (level, curve)


def test_published_behaviour_given_its_random_numbers(case):
    seed = case.meta['forward_seed']
    generator = torch.Generator().manual_seed(seed)
    assert draw_permutations(case.config, generator) == case.permutations()
    place = case.points.grid_coord, case.points.offset, case.config
    generator.manual_seed(seed)
    ours = make_plan(*place, reference=True, generator=generator)
    for stage, published in zip(ours.stages, case.plan.stages, strict=True):
        for order, expected in zip(stage.orders, published.orders, strict=True):
            assert torch.equal(order, expected)
    torch.manual_seed(seed)
    found = case.model(case.points, mask=case.mask, reference=True).upcast()
    assert torch.equal(found, case.model(case.points, mask=case.mask, plan=case.plan).upcast())


def test_default_depth_is_the_published_one_for_a_single_cloud(case):
    if len(case.points.offset) > 1:
        pytest.skip('the published depth is shared by the batch, ours is not')
    plan = make_plan(
        case.points.grid_coord,
        case.points.offset,
        case.config,
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
        members = found.bincount(minlength=len(coarse))[coarse]
        assert torch.equal(members.cumsum(0), case[f'out/l{level}/idx_ptr'][1:])


def test_windows(case):
    """Rows that share a window in the published network attend to the same rows in ours."""
    levels = [level for level in range(case.num_levels) if f'pad/l{level}/pad' in case]
    for level, place in chain.from_iterable(
        ((level, p) for p in range(len(case.plan.stages[level].orders))) for level in levels
    ):
        windows, row = case.plan.stages[level].windows[place], case.row_of(level)
        order = row[case[f'out/l{level}/order'][place]]
        pad, unpad, starts = (case[f'pad/l{level}/{k}'] for k in ('pad', 'unpad', 'cu_seqlens'))
        published_window = torch.searchsorted(starts, unpad, right=True) - 1
        our_window = window_of(windows)[order]
        pairs = set(zip(published_window.tolist(), our_window.tolist(), strict=True))
        assert len(pairs) == len(starts) - 1
        for published, ours in pairs:
            keys = order[pad[int(starts[published]) : int(starts[published + 1])]]
            assert torch.equal(keys_of(windows, ours).sort().values, keys.sort().values)


def window_of(windows):
    """Window that holds the result of each row; short windows come last."""
    num_full_slots = windows.num_full * windows.size
    short = (windows.slot - num_full_slots) // max(windows.short_size, 1) + windows.num_full
    return torch.where(windows.slot < num_full_slots, windows.slot // windows.size, short)


def keys_of(windows, number):
    """Rows that those of a window attend to."""
    if number < windows.num_full:
        return windows.gather[number * windows.size :][: windows.size]
    number -= windows.num_full
    first = windows.num_full * windows.size + number * windows.short_size
    keys = windows.gather[first:][: windows.short_size]
    return keys if windows.short_mask is None else keys[windows.short_mask[number].flatten()]


@pytest.mark.gpu
@pytest.mark.parametrize('attention', ATTENTION)
def test_features_on_a_gpu(case, attention):
    if not torch.cuda.is_available():
        pytest.skip('no CUDA device, or torch is built without CUDA')
    device, model = torch.device('cuda'), case.network().cuda()
    backend = select_attention(attention, device, torch.float32)
    if attention == 'flash' and case.config.enable_rpe:
        with pytest.raises(BackendUnavailable, match='knows no relative positions'):
            use_attention(model, backend)
        return
    use_attention(model, backend)
    points = case.points.to(device)
    plan = make_plan(
        points.grid_coord,
        points.offset,
        case.config,
        depth=[int(case[f'out/l{level}/depth']) for level in range(case.num_levels)],
        permutations=case.permutations(),
    )
    mask = None if case.mask is None else case.mask.to(device)
    found = model(points, plan=plan, mask=mask).upcast().cpu()
    expected = case.model(case.points, plan=case.plan, mask=case.mask).upcast()
    tolerance = HALF_TOLERANCE if attention == 'flash' else TOLERANCE
    assert relative_error(found, expected) < tolerance


@pytest.fixture(scope='module', params=UNITS or [ABSENT], ids=lambda path: path.stem)
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
