"""The network of the paper: its tensors, what it may depend on, and hidden cells."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from concerto_ros.errors import ConcertoError, ConfigError
from concerto_ros.model import PointBatch, make_plan
from training.networks.hunet import HUNet, color_and_normal
from training.networks.hunet_blocks import Branch, Clouds, ResFormer, RMSNorm
from training.networks.hunet_config import SIZES, HUNetConfig
from training.networks.unet import in_plan_order, rows_within, take_rows

TINY = HUNetConfig(
    encoder=(8, 8, 16),
    decoder=(16, 8, 16),
    convolution=(1, 2, 1),
    attention=(0, 1, 2),
    heads=(1, 2, 4),
    reach=6,
)
BARE = replace(TINY, convolution=(0, 0, 0), attention=(0, 0, 0))


def _points(counts=(60, 0, 45), seed=0, size=14):
    generator = torch.Generator().manual_seed(seed)
    cell = torch.cat([torch.randperm(size**3, generator=generator)[:count] for count in counts])
    grid = torch.stack([cell // size**2, cell // size % size, cell % size], dim=1)
    return PointBatch(
        coord=grid.float(),
        grid_coord=grid,
        feat=torch.rand(len(grid), 9, generator=generator),
        offset=torch.tensor(counts).cumsum(0),
    )


def _planned(points, network=None, **options):
    geometry = (network or HUNet(TINY)).geometry
    plan = make_plan(points.grid_coord, points.offset, geometry, **options)
    return in_plan_order(points, plan), plan


def _network(config=TINY):
    """Return a network in eval mode whose branches all matter."""
    network = HUNet(config).eval()
    for name, tensor in network.named_parameters():
        if 'gamma' in name or 'scale' in name:
            torch.nn.init.uniform_(tensor.data, 0.5, 1.5)
    return network


def _all(network, points, plan, hidden=None):
    return network(points, plan, torch.ones(network.token_channels), hidden)


# --- tensors -----------------------------------------------------------------------------


@pytest.fixture(scope='module')
def released():
    with torch.device('meta'):
        return HUNet(SIZES['released'])


def _names():
    """Yield all names as the released checkpoint spells them."""
    scale = 'norm.scale'
    yield from ('init_transform.0.weight', 'init_transform.0.bias', f'init_transform.1.{scale}')
    yield f'decoder_init_norm.{scale}'
    for i in range(4):
        yield from (f'down.{i}.0.weight', f'down.{i}.0.bias', f'down.{i}.1.{scale}')
        yield from (f'up.{i}.0.{scale}', f'up.{i}.1.weight', f'up.{i}.1.bias')
        yield f'linears_skip.{i}.0.{scale}'
        yield from (f'linears_skip.{i}.1.weight', f'linears_skip.{i}.1.bias', f'skip.{i}.gamma')
    parts = ('conv1.weight', 'conv2.weight', f'norm.{scale}', f'norm_post_layer.{scale}')
    for part in ('enc', 'dec'):
        for block in (f'resnet_{part}.{s}.{b}' for s in range(5) for b in range(2)):
            yield from (f'{block}.{name}' for name in (*parts, 'skip_path.gamma'))
    parts = (f'norm.{scale}', 'linear_in.weight', 'linear_out.weight', 'skip_path_1.gamma')
    parts += (f'mlp_norm.{scale}', 'mlp_lin_1.weight', 'mlp_lin_2.weight', 'skip_path_2.gamma')
    for stage in ('enc.3', 'enc.4', 'dec.0', 'dec.1'):
        yield from (f'att_{stage}.{a}.{name}' for a in (1, 2) for name in parts)


def test_the_released_network_has_the_released_names(released):
    names = list(released.state_dict())
    assert len(names) == 208
    assert set(names) == set(_names())


@pytest.mark.parametrize(
    ('name', 'shape'),
    [
        ('init_transform.0.weight', (32, 6)),
        ('init_transform.1.norm.scale', (32,)),
        ('down.0.0.weight', (64, 2, 2, 2, 32)),
        ('up.0.1.weight', (256, 2, 2, 2, 384)),
        ('up.3.1.bias', (64,)),
        ('linears_skip.3.1.weight', (64, 32)),
        ('skip.0.gamma', (1, 256)),
        ('resnet_enc.2.1.conv1.weight', (128, 3, 3, 3, 128)),
        ('resnet_dec.4.0.skip_path.gamma', (1, 64)),
        ('att_enc.3.1.linear_in.weight', (768, 256)),
        ('att_dec.0.2.mlp_lin_1.weight', (3072, 384)),
        ('att_dec.1.1.mlp_lin_2.weight', (256, 1024)),
    ],
)
def test_shapes_are_the_released_ones(released, name, shape):
    assert released.state_dict()[name].shape == shape


def _sum(network, *prefixes):
    return sum(p.numel() for name, p in network.named_parameters() if name.startswith(prefixes))


def test_numbers_of_parameters_are_the_published_ones(released):
    assert _sum(released, '') == 67_610_272
    assert _sum(released, 'init_transform.') == 256
    encoder = (110_784, 459_264, 1_836_032, 9_441_280, 21_436_416)
    for s, expected in enumerate(encoder):
        parts = (f'down.{s - 1}.', f'resnet_enc.{s}.', f'att_enc.{s}.')
        assert _sum(released, *parts) == expected, s
    decoder = (20_649_216, 10_032_000, 2_049_536, 1_100_832, 494_272)
    for s, expected in enumerate(decoder):
        between = (f'{part}.{s - 1}.' for part in ('up', 'linears_skip', 'skip'))
        assert _sum(released, f'resnet_dec.{s}.', f'att_dec.{s}.', *between) == expected, s
    assert _sum(released, 'decoder_init_norm.') == 384


@pytest.mark.parametrize(('size', 'number'), [('ablation', 66_988_960), ('nano', 3_227_968)])
def test_other_sizes(size, number):
    with torch.device('meta'):
        assert _sum(HUNet(SIZES[size]), '') == number


def test_small_sizes_have_the_published_shape_for_four_centimetres():
    nano, published = SIZES['nano'], SIZES['ablation']
    assert len(nano.encoder) == len(published.encoder) == 4
    for one in (nano, published):
        assert [blocks > 0 for blocks in one.attention] == [False, False, True, True]
        assert 0.04 * np.prod(one.geometry.stride) == pytest.approx(0.32)
        assert [width // 8 for width in one.encoder[2:]] == list(one.heads[2:])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'heads': (1, 2)}, 'one value for each level'),
        ({'decoder': (16, 8, 8)}, 'equally wide at the coarsest level, got 16 and 8'),
        ({'heads': (1, 3, 4)}, r'channels \(8, 8\) do not divide into 3 heads'),
        ({'reach': -1}, 'reach from 0 on'),
        ({'drop_path': 1.0}, r'drop_path and .* in \[0, 1\)'),
    ],
)
def test_shapes_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **changes)


# --- parts -------------------------------------------------------------------------------


def test_input_is_colour_from_minus_one_and_the_normal():
    feat = torch.tensor([[9.0, 9, 9, 0, 0.5, 1, 0, float('nan'), 1]])
    assert color_and_normal(feat).tolist() == [[-1, 0, 1, 0, 0, 1]]


def test_norm_adds_a_little_outside_the_root():
    norm = RMSNorm(4)
    torch.nn.init.constant_(norm.scale, 2.0)
    found = norm(torch.tensor([[3.0, 3, 3, 3], [1e-4, -1e-4, 1e-4, 1e-4], [0, 0, 0, 0]]))
    expected = torch.tensor([[1.0, 1, 1, 1], [0.5, -0.5, 0.5, 0.5], [0, 0, 0, 0]]) * 2
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_branch_skips_whole_clouds_in_training_only():
    branch, x = Branch(2, 0.5), torch.zeros(90, 2)
    clouds = Clouds(batch=torch.arange(30).repeat_interleave(3), counts=[3] * 30)
    found = branch.add(x, torch.ones(90, 2), clouds).view(30, 6)
    dropped = found == 0
    assert torch.equal(dropped.all(1), dropped.any(1))
    assert 5 < int(dropped.all(1).sum()) < 25
    torch.testing.assert_close(found[~dropped], torch.full_like(found[~dropped], 0.2))
    branch.eval()
    torch.testing.assert_close(branch.add(x, torch.ones(90, 2), clouds), torch.full((90, 2), 0.1))


def test_attention_returns_to_the_rows_it_came_from():
    """What attention says of a row is added to that row, whatever the order it was asked in."""
    block, x = ResFormer(8, 2, 0.0), torch.randn(5, 8)
    clouds = Clouds(batch=torch.zeros(5).long(), counts=[5])
    results = [
        block(x, clouds, torch.tensor(order), lambda qkv: qkv[:, 2])
        for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1])
    ]
    torch.testing.assert_close(*results)
    value = x @ block.linear_in.weight[16:].t() / (x.square().mean(1, keepdim=True).sqrt() + 1e-4)
    y = x + 0.1 * value @ block.linear_out.weight.t()
    a, b = (block.mlp_norm(y) @ block.mlp_lin_1.weight.t()).chunk(2, 1)
    expected = y + 0.1 * (torch.nn.functional.gelu(a) * b) @ block.mlp_lin_2.weight.t()
    torch.testing.assert_close(results[0], expected)


# --- what the result depends on ----------------------------------------------------------


def test_levels_have_their_cells_and_channels():
    network = _network()
    points, plan = _planned(_points(), network)
    feats = network.encode(points, plan)
    sizes = [len(stage.cells) for stage in plan.stages]
    assert [tuple(f.shape) for f in feats] == list(zip(sizes, TINY.encoder, strict=True))
    found = network.decode(feats, None, torch.zeros(16), plan)
    assert [tuple(f.shape) for f in found] == list(zip(sizes, network.channels, strict=True))


def test_calls_repeat_bit_by_bit():
    network = _network()
    points, plan = _planned(_points())
    calls = (_all(network, points, plan) for _ in range(2))
    for first, second in zip(*calls, strict=True):
        assert torch.equal(first, second)


def test_the_order_of_rows_does_not_matter():
    network, points = _network(), _points((80,))
    rows = torch.randperm(80)
    other = PointBatch(
        coord=points.coord[rows],
        grid_coord=points.grid_coord[rows],
        feat=points.feat[rows],
        offset=points.offset,
    )
    for first, second in zip(
        _all(network, *_planned(points)), _all(network, *_planned(other)), strict=True
    ):
        assert torch.equal(first, second)


def test_other_clouds_do_not_matter():
    network, points = _network(), _points((60, 0, 45))
    alone = take_rows(points, points.batch == 2)
    both = _planned(points, depth=network.depth)
    for first, second, stage in zip(
        _all(network, *both),
        _all(network, *_planned(alone, depth=network.depth)),
        both[1].stages,
        strict=True,
    ):
        torch.testing.assert_close(first[stage.cells.batch == 2], second, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('counts', [(0,), (1,), (0, 1, 0)])
def test_hardly_any_voxels(counts):
    network = _network()
    points, plan = _planned(_points(counts))
    assert all(len(y) == sum(counts) and y.isfinite().all() for y in _all(network, points, plan))


@pytest.mark.parametrize(
    ('turn', 'changes_encoder'), [([0, 1, 3, 2], False), ([1, 0, 2, 3], True)]
)
def test_the_decoder_takes_the_curves_after_those_of_the_encoder(turn, changes_encoder):
    network = _network(replace(TINY, attention=(0, 0, 2)))
    points, plan = _planned(_points((400,)), network)
    _, turned = _planned(_points((400,)), network, permutations=[[0, 1, 2, 3]] * 2 + [turn])
    first, second = network.encode(points, plan), network.encode(points, turned)
    assert torch.equal(first[-1], second[-1]) != changes_encoder
    first, second = (network.decode(first, None, torch.zeros(16), p) for p in (plan, turned))
    assert torch.equal(first[-1], second[-1]) == changes_encoder


def test_the_plan_draws_curves_of_the_published_depth():
    points = _points((60,))
    network = _network()
    _, own = _planned(points, network)
    _, deep = _planned(points, network, depth=network.depth)
    assert network.depth == (16, 16, 16)
    assert [len(stage.orders) for stage in own.stages] == [1, 4, 4]
    assert torch.equal(own.stages[2].orders[0], deep.stages[2].orders[0])


def test_points_must_fit_the_plan():
    network, points = _network(), _points()
    points, plan = _planned(points)
    with pytest.raises(ConcertoError, match=r'feat must be \(105, 9\), one row per voxel'):
        network.encode(take_rows(points, points.batch == 0), plan)
    with pytest.raises(ConcertoError, match='3 levels of this network, got 4'):
        network.encode(points, _planned(points, HUNet(SIZES['nano']))[1])


# --- hidden cells ------------------------------------------------------------------------


def _hidden(plan, ratio=0.5):
    """Hide whole cells of the coarsest level."""
    parent = plan.stages[1].cells.inverse
    drawn = torch.rand(len(plan.stages[2].cells)) < ratio
    return drawn[plan.stages[2].cells.inverse[parent]]


def test_nothing_of_hidden_voxels_is_read():
    network = _network()
    points, plan = _planned(_points())
    hidden = _hidden(plan)
    noise = torch.randn(points.feat.shape) * hidden[:, None]
    changed = replace(points, feat=points.feat + noise, coord=points.coord + noise[:, :3])
    for first, second in zip(
        _all(network, points, plan, hidden), _all(network, changed, plan, hidden), strict=True
    ):
        assert torch.equal(first, second)


def test_hidden_cells_start_from_the_token_and_take_no_skip():
    """Without blocks all can be said by hand."""
    network = _network(BARE)
    points, plan = _planned(_points(), network)
    hidden = _hidden(plan)
    visible = take_rows(points, ~hidden)
    part = make_plan(visible.grid_coord, visible.offset, network.geometry)
    rows = rows_within(part, plan)
    feats, token = network.encode(visible, part), torch.randn(16)
    fine, middle, coarse = network.decode(feats, rows, token, plan)
    whole = token.repeat(len(coarse), 1)
    whole[rows[2]] = feats[2]
    torch.testing.assert_close(coarse, network.decoder_init_norm(whole))
    cells = [stage.cells for stage in plan.stages]
    for i, (x, y) in enumerate([(coarse, middle), (middle, fine)]):
        level = 1 - i
        octant = (cells[level].grid_coord & 1) @ torch.tensor([4, 2, 1])
        weight = network.up[i][1].weight.flatten(1, 3)[:, octant]
        parent = network.up[i][0](x)[cells[level + 1].inverse]
        up = torch.einsum('oni,ni->no', weight, parent) + network.up[i][1].bias
        expected = network.skip[i].gamma * up
        expected[rows[level]] += network.linears_skip[i](feats[level])
        torch.testing.assert_close(y, expected)


def test_all_may_be_hidden():
    network = _network()
    points, plan = _planned(_points())
    found = _all(network, points, plan, torch.ones(len(points), dtype=torch.bool))
    assert all(len(y) == len(s.cells) for y, s in zip(found, plan.stages, strict=True))
    assert all(y.isfinite().all() for y in found)


@pytest.mark.parametrize('is_masked', [False, True])
def test_gradients_reach_all_parameters(is_masked):
    network = _network().train()
    points, plan = _planned(_points())
    token = torch.ones(16, requires_grad=True)
    found = network(points, plan, token, _hidden(plan) if is_masked else None)
    sum((y * torch.randn_like(y)).sum() for y in found).backward()
    lost = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert lost == []
    assert (token.grad is not None) == is_masked


@pytest.mark.parametrize('is_masked', [False, True])
def test_half_precision_is_near(is_masked):
    network = _network()
    points, plan = _planned(_points())
    hidden = _hidden(plan) if is_masked else None
    expected = _all(network, points, plan, hidden)
    with torch.autocast('cpu', torch.bfloat16):
        found = _all(network, points, plan, hidden)
    for ours, reference in zip(found, expected, strict=True):
        assert (ours - reference).norm() < 0.03 * reference.norm()


# --- as released -------------------------------------------------------------------------


def _finest(network, points, plan):
    return _all(network, points, plan)[0]


def test_as_released_curves_and_dropout_are_drawn_in_eval_mode():
    points, plan = _planned(_points((300,)))
    network = _network()
    steady = _finest(network, points, plan)
    network.noise = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    first, second = (_finest(network, points, plan) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first, steady)
    network.noise = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    assert torch.equal(_finest(network, points, plan), first)
    assert network.inference == 'as released: attention dropout, curves drawn from 3'
    network.noise = None
    assert torch.equal(_finest(network, points, plan), steady)
    assert network.inference == 'deterministic'


def test_as_released_curves_alone_are_those_of_the_generator():
    network = _network(replace(TINY, attention_dropout=0.0))
    points, plan = _planned(_points((300,)), network)
    network.noise = torch.Generator().manual_seed(3)
    first, second = (_finest(network, points, plan) for _ in range(2))
    assert not torch.equal(first, second)


def test_attention_drops_in_training():
    points, plan = _planned(_points((300,)))
    network = _network()
    steady = _finest(network, points, plan)
    assert not torch.equal(_finest(network.train(), points, plan), steady)
