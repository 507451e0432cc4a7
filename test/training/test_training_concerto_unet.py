"""The Concerto encoder in a U-Net: unchanged, blind to what is hidden, and taken out again."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from concerto_ros.model import (
    BackboneConfig,
    PointBatch,
    PointTransformerV3,
    load_checkpoint,
    make_plan,
)
from training.checkpoint import TrainingState, save_state
from training.export import export
from training.networks.concerto_unet import ConcertoUNet
from training.networks.unet import in_plan_order

CONFIG = BackboneConfig(
    enc_depths=(1, 1, 2),
    enc_channels=(16, 16, 48),
    enc_num_head=(1, 1, 3),
    enc_patch_size=(64, 64, 64),
    stride=(2, 2),
    drop_path=0.0,
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ConcertoUNet(CONFIG).eval()


def make_points(counts=(120, 90)):
    generator = torch.Generator().manual_seed(0)
    cells = torch.cat([torch.randperm(10**3, generator=generator)[:n] for n in counts])
    grid = torch.stack([cells // 100, cells // 10 % 10, cells % 10], 1)
    return PointBatch(
        coord=grid.float() * 0.02,
        grid_coord=grid,
        feat=torch.randn(len(grid), 9, generator=generator),
        offset=torch.tensor(counts).cumsum(0),
    )


@pytest.fixture
def scene(network):
    """Return points in the order of their plan, the plan, a token, and what is hidden."""
    points = make_points()
    plan = make_plan(points.grid_coord, points.offset, network.geometry)
    points = in_plan_order(points, plan)
    coarse = torch.rand(len(plan.stages[-1].cells), generator=torch.Generator().manual_seed(1))
    hidden = (coarse < 0.4)[plan.stages[2].cells.inverse][plan.stages[1].cells.inverse]
    assert 0 < hidden.sum() < len(hidden)
    return points, plan, torch.randn(network.token_channels), hidden


def test_encoder_is_the_backbone(network, scene):
    points, plan, _, _ = scene
    assert not torch.equal(plan.stages[0].cells.inverse, torch.arange(len(points)))
    own = PointTransformerV3(network.backbone.config).eval()
    own.load_state_dict(network.backbone.state_dict())
    expected = own(points)  # with the plan it makes itself
    for level, feat in zip(expected.levels, network.encode(points, plan), strict=True):
        torch.testing.assert_close(feat, level.feat)


def test_every_level_has_all_cells(network, scene):
    points, plan, token, hidden = scene
    for which in (None, hidden):
        found = network(points, plan, token, which)
        shapes = [(len(s.cells), c) for s, c in zip(plan.stages, network.channels, strict=True)]
        assert [tuple(x.shape) for x in found] == shapes
    assert network.channels == (32, 32, 48)


def test_hidden_features_never_matter(network, scene):
    points, plan, token, hidden = scene
    other = points.feat.clone()
    other[hidden] += 100.0
    changed = PointBatch(
        coord=points.coord, grid_coord=points.grid_coord, feat=other, offset=points.offset
    )
    before = network(points, plan, token, hidden)
    after = network(changed, plan, token, hidden)
    assert all(map(torch.equal, before, after))
    seen = network(changed, plan, token)
    assert not torch.allclose(seen[0], network(points, plan, token)[0])


def test_hidden_cells_come_from_the_token_and_their_surroundings(network, scene):
    points, plan, token, hidden = scene
    feat = network(points, plan, token, hidden)
    other = network(points, plan, token + torch.randn(len(token)), hidden)
    assert all(not torch.allclose(a[-1:], b[-1:]) for a, b in zip(feat, other, strict=True))
    coarse = ~torch.zeros(len(plan.stages[-1].cells), dtype=torch.bool)
    coarse[plan.stages[2].cells.inverse[plan.stages[1].cells.inverse[~hidden]]] = False
    assert feat[-1][coarse].std(0).mean() > 1e-4  # blocks tell hidden cells apart


def test_all_weights_are_trained(scene):
    points, plan, token, hidden = scene
    network = ConcertoUNet(CONFIG)
    token.requires_grad_()
    found = network(points, plan, token, hidden)
    sum(x.square().mean() for x in found).backward()
    assert token.grad.abs().sum() > 0
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_decoder_drops_more_the_coarser_its_level():
    network = ConcertoUNet(replace(CONFIG, drop_path=0.4), depth=2)
    rates = [[block.drop_path.rate for block in stage] for stage in network.blocks]
    assert np.allclose(rates, [[0.0, 0.0], [0.2, 0.2], [0.4, 0.4]])


def test_the_decoder_drops_in_training_only(scene):
    points, plan, token, _ = scene
    network = ConcertoUNet(replace(CONFIG, drop_path=0.4)).eval()
    feats = network.encode(points, plan)

    def twice():
        first, second = (network.decode(feats, None, token, plan)[-1] for _ in range(2))
        return torch.equal(first, second)

    assert twice()
    network.train()
    assert not twice()


def test_deeper_decoder_finds_its_curves():
    network = ConcertoUNet(CONFIG, depth=3).eval()
    points = make_points()
    plan = make_plan(points.grid_coord, points.offset, network.geometry)
    assert [len(stage.windows) for stage in plan.stages] == [3, 3, 2]
    network(in_plan_order(points, plan), plan, torch.zeros(network.token_channels))


def test_half_precision_runs(network, scene):
    points, plan, token, hidden = scene
    with torch.autocast('cpu', torch.bfloat16):
        found = network(points, plan, token, hidden)
    assert all(x.isfinite().all() for x in found)


def test_backbone_is_taken_out_of_a_state(tmp_path, network):
    tensors = {f'student.{name}': t for name, t in network.state_dict().items()}
    tensors |= {name.replace('student', 'teacher'): t + 1 for name, t in tensors.items()}
    config = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(network.backbone.config).items()
    }
    state = TrainingState(
        step=1, state_dict=tensors, optimizer={}, config=config, settings={}, source={}
    )
    last = save_state(tmp_path, state)
    export(last, tmp_path / 'backbone.safetensors')
    for path in (last, tmp_path / 'backbone.safetensors'):
        model, report = load_checkpoint(path)
        assert model.config == network.backbone.config
        own = network.backbone.state_dict()
        assert all(torch.equal(own[name], t) for name, t in model.state_dict().items())
    assert report.left_out == ()
