"""What the name of an encoder decides."""

import pytest
import torch

from concerto_ros.config.tree import build
from training.networks.config import NetworkSection
from training.protocol import encoders
from training.protocol.config import ProtocolConfig
from training.protocol.encoders.masked import new_network


@pytest.mark.parametrize(
    ('name', 'voxel_size'),
    [('msm:file', 0.02), ('msm:file#ablation', 0.04), ('msm:file#nano', 0.1)],
)
def test_released_networks_see_the_voxels_they_were_trained_on(monkeypatch, name, voxel_size):
    small = new_network(NetworkSection(kind='hunet', size='nano'))  # the published one takes long
    monkeypatch.setattr(encoders, 'load_released', lambda path, size: small)
    config = build(ProtocolConfig, {'encoder.name': name, 'data.voxel_size': 0.1})
    encoder = encoders.make_encoder(config, 0, torch.device('cpu'))
    assert encoder.facts['voxel_size'] == f'{voxel_size} m'
