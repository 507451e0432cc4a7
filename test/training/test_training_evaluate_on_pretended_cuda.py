"""The protocol on a pretended GPU: no tensor is made or read on the wrong side.

The linear probe needs gradients, which the pretence does not know.
"""

import shutil

import pytest
import torch
from test_pretended_cuda import pretended_cuda  # noqa: F401  # a fixture

from concerto_ros.config.tree import build
from training.protocol import run
from training.protocol.config import ProtocolConfig


@pytest.mark.slow
def test_neighbours_are_asked_where_the_features_are(
    pretended_cuda,  # noqa: F811
    tiny_split,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setattr(run, 'choose_device', torch.device)  # there is no other GPU
    shutil.copytree(tiny_split.parents[1], tmp_path / 'judged')
    judged = tmp_path / 'judged' / 'splits'
    scores = {}
    for device in ('cpu', 'cuda'):
        config = build(ProtocolConfig, {
            'run.output': str(tmp_path / device), 'run.device': device, 'run.seeds': '0',
            'probes': 'knn', 'encoder.name': 'concerto:random#nano', 'data.voxel_size': 0.1,
            'data.train': str(tiny_split), 'data.validation': str(judged / tiny_split.name),
            'data.vocabulary': 'left wall, right wall', 'regimes.points_per_scene': '20',
        })  # fmt: skip
        scores[device] = [entry.scores['miou'] for entry in run.run_protocol(config).entries]
    assert scores['cuda'] == pytest.approx(scores['cpu'], abs=0.02)
    assert pretended_cuda.num_calls > 1000
