import re
from itertools import pairwise

import pytest
import torch

from concerto_ros.errors import ConcertoError, ConfigError
from concerto_ros.model import BackboneConfig, PointBatch, PointTransformerV3, make_plan
from concerto_ros.model.plan import draw_permutations

TOLERANCE = {'atol': 2e-5, 'rtol': 2e-5}  # rounding of float32 over five stages, values about 1

PUBLISHED_SIZES = [  # depths, channels, heads, parameters, tensors
    ((1, 1, 1, 3, 1), (16, 32, 64, 128, 256), (1, 2, 4, 8, 16), 4_860_512, 147),
    ((2, 2, 2, 6, 2), (32, 64, 128, 256, 512), (2, 4, 8, 16, 32), 38_648_992, 273),
    ((3, 3, 3, 12, 3), (48, 96, 192, 384, 512), (3, 6, 12, 24, 32), 108_461_376, 453),
    ((3, 3, 3, 12, 3), (64, 128, 256, 512, 768), (4, 8, 16, 32, 48), 207_667_456, 453),
]

DECODER = {
    'enc_mode': False,
    'dec_depths': (1, 2, 1, 1),
    'dec_channels': (16, 32, 16, 48),
    'dec_num_head': (1, 2, 1, 3),
    'dec_patch_size': (64, 64, 64, 64),
}
OPTIONS = [{}, {'enable_flash': False}, {'enable_rpe': True, 'pre_norm': False, **DECODER}]

STATE_DICT_NAMES = re.compile(
    r'embedding\.(mask_token|stem\.(linear|norm)\.(weight|bias))'
    r'|enc\.enc[1-4]\.down\.(proj|norm\.0)\.(weight|bias)'
    r'|enc\.enc[0-4]\.block\d+\.(cpe\.[012]|norm[12]\.0|attn\.(qkv|proj)|mlp\.0\.fc[12])'
    r'\.(weight|bias)'
)
OPTIONAL_NAMES = re.compile(
    r'dec\.dec[0-3]\.up\.(proj|proj_skip)\.[01]\.(weight|bias)'
    r'|dec\.dec[0-3]\.block\d+\.(cpe\.[012]|norm[12]\.0|attn\.(qkv|proj)|mlp\.0\.fc[12])'
    r'\.(weight|bias)'
    r'|(enc|dec)\.(enc|dec)\d\.block\d+\.(ls[12]\.0\.gamma|attn\.rpe\.rpe_table)'
)


def select(points, rows, counts):
    return PointBatch(
        coord=points.coord[rows],
        grid_coord=points.grid_coord[rows],
        feat=points.feat[rows],
        offset=torch.tensor(counts, dtype=torch.int64).cumsum(0),
    )


@pytest.mark.parametrize(('depths', 'channels', 'heads', 'parameters', 'tensors'), PUBLISHED_SIZES)
def test_state_dict_is_that_of_the_published_sizes(depths, channels, heads, parameters, tensors):
    config = BackboneConfig(enc_depths=depths, enc_channels=channels, enc_num_head=heads)
    with torch.device('meta'):
        state = PointTransformerV3(config).state_dict()
    assert len(state) == tensors
    assert sum(tensor.numel() for tensor in state.values()) == parameters
    assert [name for name in state if not STATE_DICT_NAMES.fullmatch(name)] == []


@pytest.mark.parametrize(
    ('sizes', 'parameters'),
    [(PUBLISHED_SIZES[2], 16_331_520), (PUBLISHED_SIZES[3], 16_495_360)],
)
def test_decoder_of_the_published_evaluation(sizes, parameters):
    depths, channels, heads, encoder, _ = sizes
    config = BackboneConfig(
        enc_depths=depths,
        enc_channels=channels,
        enc_num_head=heads,
        enc_mode=False,
        dec_depths=(2, 2, 2, 2),
        dec_channels=(64, 96, 192, 384),
        dec_num_head=(4, 6, 12, 24),
    )
    with torch.device('meta'):
        state = PointTransformerV3(config).state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == encoder + parameters
    names = [name for name in state if name.startswith('dec')]
    assert [name for name in names if not OPTIONAL_NAMES.fullmatch(name)] == []
    stages = [name.split('.')[1] for name in names]
    assert sorted(set(stages), key=stages.index) == ['dec3', 'dec2', 'dec1', 'dec0']


def test_names_and_shapes_of_optional_tensors(tiny_config):
    config = tiny_config(
        enable_rpe=True,
        layer_scale=0.1,
        qkv_bias=False,
        enc_patch_size=(48, 128, 256, 512, 1024),
    )
    state = PointTransformerV3(config).state_dict()
    names = [name for name in state if not STATE_DICT_NAMES.fullmatch(name)]
    assert [name for name in names if not OPTIONAL_NAMES.fullmatch(name)] == []
    assert not any(name.endswith('qkv.bias') for name in state)
    assert state['enc.enc1.block0.ls2.0.gamma'].tolist() == pytest.approx([0.1] * 32)
    tables = [state[f'enc.enc{s}.block0.attn.rpe.rpe_table'].shape for s in range(5)]
    bounds = zip((11, 15, 20, 25, 31), config.enc_num_head, strict=True)
    assert tables == [(3 * (2 * bound + 1), heads) for bound, heads in bounds]


def test_same_input_gives_the_same_features(tiny_model, random_points):
    model, points = tiny_model(), random_points()
    torch.manual_seed(1)
    first = model(points).upcast()
    torch.manual_seed(2)
    assert torch.equal(model(points).upcast(), first)


def test_batch_mates_do_not_matter(tiny_model, random_points):
    # 300 rows fill windows, 40 do not, none at all is allowed; the extents differ in depth.
    model, points = tiny_model(), random_points((300, 0, 40, 1))
    spread = points.grid_coord.clone()
    spread[300:340] *= 40
    points = select(points, slice(None), [300, 0, 40, 1])
    points.grid_coord[:] = spread
    together = model(points)
    assert [level.offset[-1] for level in together.levels] == [
        len(level.feat) for level in together.levels
    ]
    for first, last in ((0, 300), (300, 340), (340, 341)):
        alone = model(select(points, slice(first, last), [last - first])).upcast()
        torch.testing.assert_close(together.upcast()[first:last], alone, **TOLERANCE)


def test_order_of_rows_does_not_matter(tiny_model, random_points):
    model, points = tiny_model(), random_points()
    shuffle = torch.randperm(300, generator=torch.Generator().manual_seed(3))
    shuffled = model(select(points, shuffle, [300])).upcast()
    assert torch.equal(shuffled, model(points).upcast()[shuffle])


def with_threads(counts, compute):
    num_threads, results = torch.get_num_threads(), []
    try:
        for n in counts:
            torch.set_num_threads(n)
            results.append(compute())
    finally:
        torch.set_num_threads(num_threads)
    return results


def test_number_of_threads_does_not_change_a_bit(tiny_model, random_points):
    model, points = tiny_model(), random_points((1500,))
    one, *others = with_threads((1, 2, 3), lambda: model(points).upcast())
    assert [torch.equal(other, one) for other in others] == [True, True]


def test_more_threads_than_windows_change_rounding_only(tiny_model, random_points):
    # A single window of a single head is shared between threads, and so are its sums.
    model, points = tiny_model(enc_patch_size=(1024,) * 5, **DECODER), random_points((1500,))
    one, *others = with_threads((1, 2, 3), lambda: model(points).decoded)
    for other in others:
        torch.testing.assert_close(other, one, **TOLERANCE)


def test_non_contiguous_input(tiny_model, random_points):
    model, points = tiny_model(), random_points()
    strided = PointBatch(
        coord=points.coord.t().contiguous().t(),
        grid_coord=points.grid_coord.t().contiguous().t(),
        feat=points.feat.repeat_interleave(2, dim=1)[:, ::2],
        offset=points.offset,
    )
    assert not strided.feat.is_contiguous()
    assert torch.equal(model(strided).upcast(), model(points).upcast())


def test_rows_of_one_voxel_are_averaged(tiny_model, random_points):
    model, points = tiny_model(), random_points((50,))
    twice = select(points, [*range(50), 7], [51])
    twice.feat[7] += 0.5
    twice.feat[50] -= 0.5
    found = model(twice).upcast()
    assert torch.equal(found[7], found[50])
    torch.testing.assert_close(found[:50], model(points).upcast(), **TOLERANCE)


def test_order_of_rows_of_one_voxel_does_not_matter(tiny_model, random_points):
    model, points = tiny_model(), random_points((50,))
    four_times = select(points, torch.arange(200) % 50, [200])
    four_times.feat[:] = torch.rand(200, 9)
    shuffle = torch.randperm(200)
    found = model(select(four_times, shuffle, [200])).upcast()
    assert torch.equal(found, model(four_times).upcast()[shuffle])
    assert torch.equal(found[shuffle.argsort()][:50], found[shuffle.argsort()][150:])


@pytest.mark.parametrize('changes', OPTIONS)
@pytest.mark.parametrize('counts', [(0,), (1,), (2,), (1, 1, 1), (0, 3, 0, 0, 1), ()])
def test_few_points(tiny_model, random_points, counts, changes):
    model, count = tiny_model(**changes), sum(counts)
    points = random_points(counts) if counts else select(random_points((1,)), slice(0), [])
    for reference in (False, True):
        pyramid = model(points, reference=reference)
        assert [level.feat.shape[1] for level in pyramid.levels] == [16, 32, 32, 48, 64]
        for level in pyramid.levels:
            assert len(level.offset) == len(counts)
            assert level.feat.isfinite().all()
        assert pyramid.num_points == count
        assert pyramid.upcast().shape == (count, 192)
        assert pyramid.linear(torch.ones(2, 192), torch.zeros(2)).shape == (count, 2)
        if not model.config.enc_mode:
            assert pyramid.decoded.shape == (count, 16)


def test_equal_clouds_of_one_voxel_have_equal_features(tiny_model, random_points):
    one = random_points((1,))
    found = tiny_model(**DECODER)(select(one, [0, 0, 0], [1, 1, 1]))
    torch.testing.assert_close(found.upcast(), found.upcast()[:1].repeat(3, 1), **TOLERANCE)
    torch.testing.assert_close(found.decoded, found.decoded[:1].repeat(3, 1), **TOLERANCE)


def test_wide_sparse_scene(tiny_model, random_points):
    model, points = tiny_model(), random_points((100,))
    points.grid_coord[:, 1].mul_(5900)
    points.grid_coord[0] = torch.tensor([65534, 0, 65534])
    pyramid = model(points)
    assert pyramid.upcast().isfinite().all()
    assert pyramid.levels[4].grid_coord.max() == 65534 // 16


def test_cells_of_a_level_are_half_as_fine(tiny_model, random_points):
    points = random_points((300, 20))
    levels = tiny_model()(points).levels
    assert torch.equal(levels[0].grid_coord, points.grid_coord)
    assert levels[0].inverse.tolist() == list(range(320))
    for fine, coarse in pairwise(levels):
        assert torch.equal(coarse.grid_coord[coarse.inverse], fine.grid_coord // 2)
        cells = torch.cat(
            [
                coarse.grid_coord,
                torch.arange(2).repeat_interleave(coarse.offset.diff(prepend=torch.tensor([0])))[
                    :, None
                ],
            ],
            dim=1,
        )
        assert len(cells.unique(dim=0)) == len(cells)


def test_mask_hides_features_but_not_places(tiny_model, random_points):
    model, points = tiny_model(), random_points()
    mask = torch.arange(300) % 3 == 0
    found = model(points, mask=mask).upcast()
    points.feat[mask] = 123.0
    assert torch.equal(model(points, mask=mask).upcast(), found)
    assert not torch.equal(model(points).upcast(), found)


def test_mask_needs_a_mask_token(tiny_model, random_points):
    with pytest.raises(ConcertoError, match='a network with a mask token'):
        tiny_model(mask_token=False)(random_points(), mask=torch.ones(300, dtype=torch.bool))


def test_given_depth_turns_the_hilbert_curves(tiny_model, random_points):
    model = tiny_model(order=('hilbert',))
    points = random_points((300,))

    def features(depth):
        plan = make_plan(points.grid_coord, points.offset, model.config, depth=depth)
        return model(points, plan=plan).upcast()

    assert torch.equal(features(4), features([4, 3, 2, 1, 0]))
    assert torch.equal(features(4), features(7))  # the curves repeat after three turns
    assert not torch.equal(features(4), features(5))
    assert torch.equal(model(points).levels[0].feat, model(points, plan=None).levels[0].feat)


def test_cells_beyond_the_given_depth_are_refused(tiny_config, random_points):
    points = random_points()
    with pytest.raises(ConcertoError, match='fit into 3 levels, so below 8, found 11'):
        make_plan(points.grid_coord, points.offset, tiny_config(), depth=3)


def test_published_behaviour_follows_the_generator(tiny_model, random_points):
    model, points = tiny_model(), random_points((300, 40))

    def features(seed):
        torch.manual_seed(seed)
        return model(points, reference=True).upcast()

    assert torch.equal(features(1), features(1))
    assert not torch.equal(features(1), features(2))
    plan = make_plan(
        points.grid_coord,
        points.offset,
        model.config,
        reference=True,
        generator=torch.Generator().manual_seed(1),
    )
    assert torch.equal(model(points, plan=plan).upcast(), features(1))


def test_published_network_draws_five_orders_or_four(tiny_config):
    def drawn(**changes):
        generator = torch.Generator().manual_seed(3)
        permutations = draw_permutations(tiny_config(**changes), generator)
        return permutations, torch.randperm(4, generator=generator).tolist()

    orders = torch.Generator().manual_seed(3)
    expected = [torch.randperm(4, generator=orders).tolist() for _ in range(6)]
    assert drawn() == (expected[:5], expected[5])
    assert drawn(shuffle_orders=False) == ([[0, 1, 2, 3], *expected[:4]], expected[4])


def test_published_depth_is_shared_by_the_batch(tiny_model, random_points):
    model, points = tiny_model(order=('hilbert',)), random_points((300, 40))
    points.grid_coord[300:] *= 2  # one level more
    apart = model(points).upcast()
    shared = model(points, reference=True).upcast()
    assert not torch.equal(shared[:300], apart[:300])
    torch.testing.assert_close(shared[300:], apart[300:], **TOLERANCE)


def test_smallest_cloud_bounds_the_windows_of_all(tiny_model, random_points):
    model, points = tiny_model(enable_flash=False), random_points((300, 40))
    alone = model(select(points, slice(300), [300])).upcast()
    assert not torch.allclose(model(points).upcast()[:300], alone, **TOLERANCE)


def test_permutation_chooses_the_curve_of_a_block(tiny_model, random_points):
    points = random_points()
    shuffled, direct = tiny_model(), tiny_model(order=('hilbert', 'z'))
    plan = make_plan(
        points.grid_coord, points.offset, shuffled.config, permutations=[(2, 0, 1, 3)] * 5
    )
    assert torch.equal(shuffled(points, plan=plan).upcast(), direct(points).upcast())


def test_drop_path_acts_in_training_only(tiny_model, random_points):
    model, points = tiny_model(drop_path=0.5), random_points()
    quiet = model(points).upcast()
    torch.manual_seed(0)
    assert not torch.equal(model.train()(points).upcast(), quiet)
    assert torch.equal(model.eval()(points).upcast(), quiet)


@pytest.mark.parametrize('changes', [*OPTIONS, {'layer_scale': 0.1}])
def test_every_weight_gets_a_gradient(tiny_model, random_points, changes):
    model = tiny_model(**changes)
    pyramid = model(random_points(extent=40), mask=torch.arange(300) < 30)
    decoded = 0 if pyramid.decoded is None else pyramid.decoded.square().sum()
    (pyramid.upcast().square().sum() + decoded).backward()
    idle = [name for name, p in model.named_parameters() if not p.grad.abs().sum() > 0]
    assert idle == []


def test_double_precision_agrees_with_single(tiny_model, random_points):
    points = random_points()
    exact = tiny_model().double()(points).upcast()
    torch.testing.assert_close(tiny_model()(points).upcast().double(), exact, **TOLERANCE)


def test_autocast_agrees_roughly(tiny_model, random_points):
    model, points = tiny_model(), random_points()
    exact = model(points).upcast()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = model(points).upcast().float()
    cosine = torch.nn.functional.cosine_similarity(half, exact, dim=1)
    assert cosine.min() > 0.99


def test_input_of_other_width_is_refused(tiny_model, random_points):
    with pytest.raises(ConcertoError, match='feat must have 6 channels, got 9'):
        tiny_model(in_channels=6)(random_points())


def test_plan_of_other_points_is_refused(tiny_model, random_points):
    model, other = tiny_model(), random_points((10,))
    plan = make_plan(other.grid_coord, other.offset, model.config)
    with pytest.raises(ConcertoError, match='plan was made for 10 points, got 300'):
        model(random_points(), plan=plan)


def test_plan_of_another_network_is_refused(tiny_model, random_points):
    points = random_points()
    config = BackboneConfig(
        stride=(), enc_depths=(1,), enc_channels=(16,), enc_num_head=(1,), enc_patch_size=(64,)
    )
    plan = make_plan(points.grid_coord, points.offset, config)
    with pytest.raises(ConcertoError, match=r'plan must have the 5 stages .* got 1'):
        tiny_model()(points, plan=plan)


@pytest.mark.parametrize('mask', [torch.ones(299, dtype=torch.bool), torch.ones(300)])
def test_mask_of_other_shape_is_refused(tiny_model, random_points, mask):
    with pytest.raises(ConcertoError, match=r'mask must be \(300,\) torch.bool, got'):
        tiny_model()(random_points(), mask=mask)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'depth': [4, 3]}, 'depth must be one number for each of 5 stages'),
        ({'permutations': [[0, 1, 2, 3]]}, 'for each of 5 stages'),
        ({'permutations': [[0, 1, 2, 2]] * 5}, 'must order the numbers'),
        ({'permutations': [[0, 1]] * 5}, 'must order the numbers'),
    ],
)
def test_choices_that_do_not_fit_the_stages_are_refused(
    tiny_config, random_points, arguments, message
):
    points = random_points()
    with pytest.raises(ConcertoError, match=message):
        make_plan(points.grid_coord, points.offset, tiny_config(), **arguments)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'enc_depths': (1, 1)}, 'enc_depths must have one value for each of 5 stages'),
        ({'stride': (2,)}, 'stride must have one value less'),
        ({'stride': (2, 2, 3, 2)}, 'powers of two'),
        ({'order': ('z', 'spiral')}, 'order must name curves'),
        ({'order': ()}, 'order must name curves'),
        ({'enc_num_head': (3, 2, 2, 3, 4)}, 'enc_channels 16 do not divide into 3 heads'),
        ({'in_channels': 0}, 'must be positive'),
        ({'enc_depths': (1, 0, 1, 1, 1)}, 'enc_depths must be positive'),
        ({'enc_mode': False, 'dec_depths': (1,)}, 'dec_depths must have one .* 4 stages'),
        ({'enc_mode': False, 'dec_num_head': (6, 6, 12, 31)}, 'dec_channels 384 do not divide'),
        ({'drop_path': 1.0}, 'drop_path'),
    ],
)
def test_bad_config_is_refused(tiny_config, changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_config(**changes)
