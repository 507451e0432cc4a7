import pytest
import torch

from concerto_ros.errors import ConfigError
from concerto_ros.model import BackboneConfig, FeaturePyramid
from concerto_ros.model.pyramid import PyramidLevel
from training.backbone_sizes import backbone_config
from training.config import BackboneSection, DistillationConfig
from training.objectives.cells import cell_of_points, upcast_rows, view_cells
from training.objectives.heads import Branch, PrototypeHead

CONFIG = DistillationConfig(hidden=12, embed=6, prototypes=10)


def pyramid(seed=0):
    """Six points in two clouds, four cells, two coarser cells."""
    generator = torch.Generator().manual_seed(seed)
    inverses = [range(6), [0, 0, 1, 2, 3, 3], [0, 0, 1, 1]]
    offsets = [[3, 6], [2, 4], [1, 2]]
    channels = [2, 3, 5]
    return FeaturePyramid(
        tuple(
            PyramidLevel(
                feat=torch.randn(offset[-1], c, generator=generator),
                grid_coord=torch.zeros(offset[-1], 3, dtype=torch.int64),
                offset=torch.tensor(offset),
                inverse=torch.tensor(inverse),
            )
            for inverse, offset, c in zip(inverses, offsets, channels, strict=True)
        )
    )


def test_logits_are_cosines_of_the_published_layers():
    head, features = PrototypeHead(8, CONFIG), pyramid()
    rows = torch.tensor([3, 0])
    state = head.state_dict()
    x = features.upcast(to_level=1)[rows]
    x = torch.nn.functional.gelu(x @ state['mlp.0.weight'].t() + state['mlp.0.bias'])
    x = x @ state['mlp.2.weight'].t() + state['mlp.2.bias']
    directions = state['prototype.parametrizations.weight.original1']
    expected = torch.cosine_similarity(x[:, None], directions[None], dim=2)
    torch.testing.assert_close(head(features, 1, rows), expected)


def test_no_rows_still_give_every_parameter_a_gradient():
    head = PrototypeHead(8, CONFIG)
    head(pyramid(), 1, torch.zeros(0, dtype=torch.int64)).sum().backward()
    trained = {name: p.grad for name, p in head.named_parameters() if p.requires_grad}
    assert all(grad is not None and not grad.any() for grad in trained.values())
    assert len(trained) == 5


def test_prototypes_have_length_one_and_keep_it():
    head = PrototypeHead(8, CONFIG)
    assert not head.get_parameter('prototype.parametrizations.weight.original0').requires_grad
    torch.testing.assert_close(head.prototype.weight.norm(dim=1), torch.ones(10))


def test_branch_names_are_published():
    backbone = BackboneConfig(
        enc_depths=(1, 1),
        enc_channels=(4, 8),
        enc_num_head=(1, 2),
        enc_patch_size=(16, 16),
        stride=(2,),
    )
    branch = Branch(backbone, ['mask_head'], 0, CONFIG)
    shapes = {name: tuple(t.shape) for name, t in branch.state_dict().items()}
    heads = {name: s for name, s in shapes.items() if not name.startswith('backbone.')}
    assert heads == {
        'mask_head.mlp.0.weight': (12, 12),
        'mask_head.mlp.0.bias': (12,),
        'mask_head.mlp.2.weight': (6, 12),
        'mask_head.mlp.2.bias': (6,),
        'mask_head.prototype.parametrizations.weight.original0': (10, 1),
        'mask_head.prototype.parametrizations.weight.original1': (10, 6),
    }
    assert 'backbone.embedding.mask_token' in shapes


def test_cells_lie_at_the_mean_of_their_points():
    origin = torch.arange(18.0).reshape(6, 3)
    cells = view_cells(pyramid(), origin, 2)
    assert cells.origin.tolist() == [[3, 4, 5], [12, 13, 14]]
    assert cells.view.tolist() == [0, 1]
    assert cells.num_views == 2


@pytest.mark.parametrize(
    ('level', 'expected'),
    [(0, [0, 1, 2, 3, 4, 5]), (1, [0, 0, 1, 2, 3, 3]), (2, [0, 0, 0, 1, 1, 1])],
)
def test_each_point_knows_its_cell(level, expected):
    assert cell_of_points(pyramid(), level).tolist() == expected


@pytest.mark.parametrize('level', [0, 1, 2])
def test_rows_of_the_upcast_feature(level):
    features = pyramid()
    rows = torch.tensor([1, 0, 1])
    expected = features.upcast(to_level=level)[rows]
    assert torch.equal(upcast_rows(features, level, rows), expected)


def test_backbone_of_a_section_is_the_published_one():
    config = backbone_config(BackboneSection(size='base', drop_path=0.3))
    assert config == BackboneConfig()
    nano = backbone_config(BackboneSection(size='nano'))
    assert nano.enc_channels == (16, 32, 64, 128, 192)


def test_parts_of_a_size_can_be_replaced():
    config = backbone_config(BackboneSection(depths='1, 2', channels='16,32', heads='1,2'))
    assert (config.enc_depths, config.enc_channels, config.stride) == ((1, 2), (16, 32), (2,))
    assert config.enc_patch_size == (1024, 1024)


@pytest.mark.parametrize(
    ('section', 'message'),
    [
        (BackboneSection(size='huge'), 'backbone.size must be one of nano, .* got .huge'),
        (BackboneSection(depths='1;2'), "backbone.depths must be integers .* got '1;2'"),
        (BackboneSection(channels='16,32'), 'enc_depths must have one value for each of 2'),
    ],
)
def test_what_is_no_backbone_is_refused(section, message):
    with pytest.raises(ConfigError, match=message):
        backbone_config(section)
