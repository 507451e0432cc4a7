"""The settings of a network name its kind and size, and each kind keeps to its contract."""

import pytest
import torch

from concerto_ros.errors import ConfigError
from concerto_ros.model import PointBatch, make_plan
from training.networks.concerto_unet import ConcertoUNet
from training.networks.config import NetworkSection
from training.networks.hunet import HUNet
from training.networks.hunet_blocks import Branch
from training.networks.make import make_network
from training.networks.unet import in_plan_order


def test_settings_name_the_network_and_its_drop_path():
    network = make_network(NetworkSection(kind='hunet', size='nano', drop_path=0.3))
    assert isinstance(network, HUNet)
    kept = [round(part.keep, 3) for part in network.modules() if isinstance(part, Branch)]
    # Encoder: convolutions at four levels, with attention (two branches) at the last two; then
    # the decoder, from the coarsest level on.
    assert kept[:4] == [1, 0.94, 0.88, 0.76]
    assert kept[4:8] == [0.82, 0.82, 0.7, 0.7]
    assert kept[8:12] == [0.7, 0.82, 0.94, 1]


def test_concerto_is_the_other_kind():
    network = make_network(NetworkSection(kind='concerto', size='nano', drop_path=0.1))
    assert isinstance(network, ConcertoUNet)


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('hunet', "of hunet must be one of released, ablation, nano, got 'wide'"),
        ('concerto', "of concerto must be one of nano, tiny, small, base, large, got 'wide'"),
    ],
)
def test_sizes_that_do_not_exist(kind, message):
    with pytest.raises(ConfigError, match=message):
        make_network(NetworkSection(kind=kind, size='wide'))


@pytest.mark.parametrize('kind', ['concerto', 'hunet'])
def test_features_belong_to_their_voxels_in_whatever_order_these_come(kind):
    network = make_network(NetworkSection(kind=kind, size='nano')).eval()
    cell = torch.randperm(16**3)[:200]
    grid = torch.stack([cell // 256, cell // 16 % 16, cell % 16], dim=1)
    feat = torch.rand(200, 9)

    def decoded(rows):
        points = PointBatch(
            coord=grid[rows].float(), grid_coord=grid[rows], feat=feat[rows],
            offset=torch.tensor([200]),
        )  # fmt: skip
        plan = make_plan(points.grid_coord, points.offset, network.geometry, depth=network.depth)
        return network(in_plan_order(points, plan), plan, torch.zeros(network.token_channels))

    with torch.no_grad():
        first, other = decoded(torch.arange(200)), decoded(torch.randperm(200))
    for level, same in zip(first, other, strict=True):
        torch.testing.assert_close(level, same, atol=1e-4, rtol=1e-4)
