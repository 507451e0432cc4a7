"""Equality with a plain statement of the network, in double precision, one rule after the other.

Fixtures of the published network do not cover every option; this does. It shares no code with
the product: rows stay where they are, cells are found through dictionaries, scores are matrices.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from concerto_ros.model import PointBatch, load_checkpoint, make_plan

TOLERANCE = 1e-5  # of the largest value; float32 against float64


def z_curve(grid, depth):
    code = np.zeros(len(grid), dtype=np.int64)
    for bit in range(depth):
        for axis in range(3):
            code |= ((grid[:, axis] >> bit) & 1) << (3 * bit + 2 - axis)
    return code


def hilbert_curve(grid, depth):
    axes = [grid[:, axis].copy() for axis in range(3)]
    for bit in reversed(range(depth)):
        low = (1 << bit) - 1
        for axis in axes:
            is_set = (axis >> bit) & 1 == 1
            swap = np.where(is_set, 0, (axes[0] ^ axis) & low)
            axis ^= swap  # noqa: PLW2901 - in place, the first axis may be this one
            if axis is not axes[0]:
                axes[0] ^= swap
            axes[0] ^= np.where(is_set, low, 0)
    gray = z_curve(np.stack(axes, axis=1), depth)
    for shift in (1, 2, 4, 8, 16, 32):
        gray ^= gray >> shift
    return gray


def curve(name, grid, depth):
    grid = grid[:, [1, 0, 2]] if name.endswith('-trans') else grid
    return (hilbert_curve if name.startswith('hilbert') else z_curve)(grid, depth)


def depth_of(grid):
    return int(grid.max() + 1).bit_length()


class Level:
    """The points of one stage: their cells, the curves through them, and what was computed."""

    def __init__(self, grid, batch, curves, shared_depth):
        self.grid, self.batch, self.feat = grid, batch, None
        self.clouds = [np.flatnonzero(batch == b) for b in np.unique(batch)]
        self.orders = []
        for name in curves:
            order = []
            for rows in self.clouds:
                depth = depth_of(grid if shared_depth else grid[rows])
                order.append(rows[curve(name, grid[rows], depth).argsort()])
            self.orders.append(order)

    def neighbors(self):
        """Pairs of rows for each tap of the kernel."""
        cells = np.column_stack([self.batch, self.grid]).tolist()
        row_of = {tuple(cell): row for row, cell in enumerate(cells)}
        for tap in np.ndindex(3, 3, 3):
            there = [(b, *(np.add(cell, tap) - 1)) for b, *cell in cells]
            pairs = [(row, row_of[c]) for row, c in enumerate(there) if c in row_of]
            yield tap, torch.tensor(pairs, dtype=torch.int64).view(-1, 2).t()

    def pooled(self, curves, shared_depth):
        cells = np.column_stack([self.batch, self.grid // 2])
        unique, inverse = np.unique(cells, axis=0, return_inverse=True)
        level = Level(unique[:, 1:], unique[:, 0], curves, shared_depth)
        level.inverse = torch.from_numpy(inverse.reshape(-1))
        return level


class PlainNetwork:
    """The forward pass, given weights by their published names."""

    def __init__(self, config, state):
        self.config = config
        self.state = {name: tensor.double() for name, tensor in state.items()}

    def linear(self, name, x):
        return functional.linear(x, self.state[f'{name}.weight'], self.state.get(f'{name}.bias'))

    def norm(self, name, x):
        weight, bias = self.state[f'{name}.weight'], self.state[f'{name}.bias']
        return functional.layer_norm(x, weight.shape, weight, bias, eps=1e-5)

    def __call__(self, points, permutations, shared_depth=False, mask=None):
        """Return the levels and the decoded feature."""
        levels = self.encode(points, permutations, shared_depth, mask)
        if self.config.enc_mode:
            return levels, None
        x = levels[-1].feat
        for s in reversed(range(len(levels) - 1)):
            up, level = f'dec.dec{s}.up', levels[s]
            coarse = functional.gelu(self.norm(f'{up}.proj.1', self.linear(f'{up}.proj.0', x)))
            skip = self.linear(f'{up}.proj_skip.0', level.feat)
            skip = functional.gelu(self.norm(f'{up}.proj_skip.1', skip))
            x = skip + coarse[levels[s + 1].inverse]
            for i in range(self.config.dec_depths[s]):
                heads = self.config.dec_num_head[s]
                x = self.block(f'dec.dec{s}.block{i}', x, levels[s], i, s, heads)
        return levels, x

    def encode(self, points, permutations, shared_depth, mask):
        config, levels = self.config, []
        for s, permutation in enumerate(permutations):
            curves = [config.order[i] for i in permutation]
            if s == 0:
                batch, grid = points.batch.numpy(), points.grid_coord.numpy()
                level = Level(grid, batch, curves, shared_depth)
                x = self.linear('embedding.stem.linear', points.feat.double())
                x = functional.gelu(self.norm('embedding.stem.norm', x))
                if mask is not None:
                    x[mask] = self.state['embedding.mask_token']
            else:
                level = levels[-1].pooled(curves, shared_depth)
                x = self.linear(f'enc.enc{s}.down.proj', x)
                x = torch.stack([x[level.inverse == c].amax(0) for c in range(len(level.grid))])
                x = functional.gelu(self.norm(f'enc.enc{s}.down.norm.0', x))
            for i in range(config.enc_depths[s]):
                name = f'enc.enc{s}.block{i}'
                x = self.block(name, x, level, i, s, config.enc_num_head[s])
            level.feat = x
            levels.append(level)
        return levels

    def block(self, name, x, level, number, stage, heads):
        x = x + self.norm(f'{name}.cpe.2', self.linear(f'{name}.cpe.1', self.conv(name, x, level)))
        pre = self.config.pre_norm
        order = level.orders[number % len(level.orders)]
        y = self.norm(f'{name}.norm1.0', x) if pre else x
        y = self.attention(f'{name}.attn', y, level, order, stage, heads)
        x = x + self.state.get(f'{name}.ls1.0.gamma', 1) * y
        x = x if pre else self.norm(f'{name}.norm1.0', x)
        y = self.norm(f'{name}.norm2.0', x) if pre else x
        y = self.linear(f'{name}.mlp.0.fc2', functional.gelu(self.linear(f'{name}.mlp.0.fc1', y)))
        x = x + self.state.get(f'{name}.ls2.0.gamma', 1) * y
        return x if pre else self.norm(f'{name}.norm2.0', x)

    def conv(self, name, x, level):
        weight = self.state[f'{name}.cpe.0.weight']
        y = self.state[f'{name}.cpe.0.bias'].repeat(len(x), 1)
        for (a, b, c), (row, neighbor) in level.neighbors():
            y[row] += x[neighbor] @ weight[:, a, b, c].t()
        return y

    def attention(self, name, x, level, order, stage, heads):
        size = self.config.enc_patch_size[stage]
        if not self.config.enable_flash:
            size = min([size, *(len(rows) for rows in level.clouds)])
        q, k, v = self.linear(f'{name}.qkv', x).view(len(x), 3, heads, -1).unbind(1)
        y = torch.empty_like(q)
        for rows in order:
            for start in range(0, len(rows), size):
                asking = rows[start : start + size]
                asked = rows[max(0, min(start, len(rows) - size)) :][:size]
                score = torch.einsum('qhd,khd->hqk', q[asking], k[asked]) * q.shape[-1] ** -0.5
                score += self.position(name, level.grid[asking], level.grid[asked], stage)
                y[asking] = torch.einsum('hqk,khd->qhd', score.softmax(-1), v[asked])
        return self.linear(f'{name}.proj', y.flatten(1))

    def position(self, name, asking, asked, stage):
        if not self.config.enable_rpe:
            return 0
        bound = int((4 * self.config.enc_patch_size[stage]) ** (1 / 3) * 2)
        distance = np.clip(asking[:, None] - asked[None], -bound, bound) + bound
        table = self.state[f'{name}.rpe.rpe_table'].view(3, 2 * bound + 1, -1)
        return sum(table[axis][distance[..., axis]] for axis in range(3)).permute(2, 0, 1)


def relative_error(found, expected):
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


def assert_levels_equal(pyramid, levels):
    for number, (ours, plain) in enumerate(zip(pyramid.levels, levels, strict=True)):
        ends = ours.offset.tolist()
        batch = np.repeat(np.arange(len(ends)), np.diff([0, *ends]))
        ours_order = np.lexsort([*ours.grid_coord.t().numpy(), batch])
        plain_order = np.lexsort([*plain.grid.T, plain.batch])
        assert (ours.grid_coord.numpy()[ours_order] == plain.grid[plain_order]).all()
        assert (batch[ours_order] == plain.batch[plain_order]).all()
        error = relative_error(ours.feat[ours_order], plain.feat[plain_order])
        assert error < TOLERANCE, f'level {number}'


DECODER = {
    'enc_mode': False,
    'dec_depths': (1, 2, 1, 1),
    'dec_channels': (16, 32, 16, 48),
    'dec_num_head': (1, 2, 1, 3),
    'dec_patch_size': (64, 64, 64, 64),
}
IDENTITY = [[0, 1, 2, 3]] * 5
UNEQUAL = (150, 40, 9)

OPTIONS = {
    'default': {},
    'several blocks of a stage': {'enc_depths': (3, 1, 2, 5, 1)},
    'decoder': DECODER,
    'decoder of other shape': {**DECODER, 'dec_depths': (2, 1, 5, 1), 'enc_depths': (1,) * 5},
    'relative positions': {'enable_rpe': True},
    'relative positions in a decoder': {**DECODER, 'enable_rpe': True},
    'layer scale': {'layer_scale': 0.1, **DECODER},
    'norm after the sum': {'pre_norm': False, **DECODER},
    'no bias of queries': {'qkv_bias': False},
    'windows of the smallest cloud': {'enable_flash': False},
    'all at once': {
        **DECODER,
        **{'enable_rpe': True, 'enable_flash': False, 'pre_norm': False, 'layer_scale': 0.5},
    },
}


@pytest.mark.parametrize('options', OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize('counts', [(199,), UNEQUAL], ids=['one cloud', 'unequal clouds'])
def test_every_option_equals_the_plain_statement(tiny_model, random_points, options, counts):
    model, points = tiny_model(**options), random_points(counts)
    levels, decoded = PlainNetwork(model.config, model.state_dict())(points, IDENTITY)
    pyramid = model(points)
    assert_levels_equal(pyramid, levels)
    assert (pyramid.decoded is None) == model.config.enc_mode
    if decoded is not None:
        assert relative_error(pyramid.decoded, decoded) < TOLERANCE


@pytest.mark.parametrize('enable_flash', [True, False])
def test_published_behaviour_equals_the_plain_statement(tiny_model, random_points, enable_flash):
    model, points = tiny_model(enable_flash=enable_flash, **DECODER), random_points(UNEQUAL)
    points.grid_coord[150:190] *= 5  # the deepest cloud is not the first
    torch.manual_seed(7)
    permutations = [torch.randperm(4).tolist() for _ in range(5)]
    plain = PlainNetwork(model.config, model.state_dict())
    levels, decoded = plain(points, permutations, shared_depth=True)
    torch.manual_seed(7)
    pyramid = model(points, reference=True)
    assert_levels_equal(pyramid, levels)
    assert relative_error(pyramid.decoded, decoded) < TOLERANCE


def test_masked_rows_equal_the_plain_statement(tiny_model, random_points):
    model, points = tiny_model(), random_points(UNEQUAL)
    mask = torch.arange(len(points)) % 3 == 0
    plain = PlainNetwork(model.config, model.state_dict())
    levels, _ = plain(points, IDENTITY, mask=mask)
    assert_levels_equal(model(points, mask=mask), levels)


def test_wide_sparse_scene_equals_the_plain_statement(tiny_model, random_points):
    model, points = tiny_model(), random_points((120,))
    points.grid_coord[:, :2] *= 700  # 13 bits
    points.grid_coord[7] += 1
    levels, _ = PlainNetwork(model.config, model.state_dict())(points, IDENTITY)
    assert_levels_equal(model(points), levels)


def test_six_channels_equal_the_plain_statement(tiny_model, random_points):
    model, nine = tiny_model(in_channels=6, mask_token=False), random_points(UNEQUAL)
    points = PointBatch(
        coord=nine.coord,
        grid_coord=nine.grid_coord,
        feat=nine.feat[:, 3:].contiguous(),
        offset=nine.offset,
    )
    levels, _ = PlainNetwork(model.config, model.state_dict())(points, IDENTITY)
    assert_levels_equal(model(points), levels)


def test_two_curves_and_two_stages_equal_the_plain_statement(tiny_model, random_points):
    model = tiny_model(
        order=('hilbert', 'z-trans'),
        stride=(2,),
        enc_depths=(3, 2),
        enc_channels=(16, 32),
        enc_num_head=(1, 2),
        enc_patch_size=(32, 64),
    )
    points = random_points(UNEQUAL)
    levels, _ = PlainNetwork(model.config, model.state_dict())(points, [[0, 1]] * 2)
    assert_levels_equal(model(points), levels)


def test_given_permutations_equal_the_plain_statement(tiny_model, random_points):
    model, points = tiny_model(enc_depths=(2, 1, 1, 1, 1)), random_points(UNEQUAL)
    permutations = [[3, 1, 0, 2], [2, 0, 3, 1], [0, 3, 1, 2], [1, 2, 3, 0], [3, 0, 2, 1]]
    levels, _ = PlainNetwork(model.config, model.state_dict())(points, permutations)
    plan = make_plan(points.grid_coord, points.offset, model.config, permutations=permutations)
    assert_levels_equal(model(points, plan=plan), levels)


FIXTURE = Path(__file__).resolve().parents[2].parent / 'shared' / 'fixtures' / 'c_mask_batch.npz'


@pytest.mark.data
@pytest.mark.skipif(not FIXTURE.is_file(), reason='../shared/fixtures, computed once, is absent')
def test_the_plain_statement_equals_the_published_network():
    numbers = np.load(FIXTURE)
    model, _ = load_checkpoint(FIXTURE.with_suffix('.safetensors'))
    points = PointBatch(
        coord=torch.from_numpy(numbers['in/coord']),
        grid_coord=torch.from_numpy(numbers['in/grid_coord']).long(),
        feat=torch.from_numpy(numbers['in/feat']),
        offset=torch.from_numpy(numbers['in/offset']).long(),
    )
    mask = torch.from_numpy(numbers['in/mask'])
    plain = PlainNetwork(model.config, model.state_dict())
    levels, _ = plain(points, numbers['perms'].tolist(), shared_depth=True, mask=mask)
    for number, level in enumerate(levels):
        expected = torch.from_numpy(numbers[f'out64/l{number}/feat'])
        assert relative_error(level.feat, expected) < 1e-12, f'level {number}'
