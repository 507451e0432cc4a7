import importlib.util
import sys

import pytest
import torch

from concerto_ros.errors import BackendUnavailable
from concerto_ros.model import (
    BackboneConfig,
    PointTransformerV3,
    Recipe,
    load_checkpoint,
    prepare_cloud,
    save_checkpoint,
)
from training.evaluation.config import LoraSection
from training.evaluation.lora import add_lora, merge_lora

needs_peft = pytest.mark.skipif(
    importlib.util.find_spec('peft') is None,
    reason='peft is not installed: pip install -r training/requirements.txt',
)
CHANNELS = (16, 16, 32)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    config = BackboneConfig(
        enc_depths=(1, 2, 1),
        enc_channels=CHANNELS,
        enc_num_head=(1, 1, 2),
        enc_patch_size=(64, 64, 64),
        stride=(2, 2),
    )
    return PointTransformerV3(config).eval()


@pytest.fixture
def points():
    return prepare_cloud(torch.rand(80, 3), recipe=Recipe(voxel_size=0.1)).points


def drawn(adapted):
    """Give the changes weights, as training does; they start at zero."""
    for p in adapted.parameters():
        if p.requires_grad:
            p.data.normal_(std=0.1)
    return adapted


@needs_peft
def test_only_the_published_number_of_weights_learns(backbone):
    adapted = add_lora(backbone, LoraSection(), seed=0)
    learning = {n: p.numel() for n, p in adapted.named_parameters() if p.requires_grad}
    assert sum(learning.values()) == 32 * (16 + 2 * 16 + 32)  # per block, rank 8 on C -> 3 C
    assert all('.attn.qkv.lora_' in name for name in learning)


@needs_peft
def test_at_first_nothing_is_changed(backbone, points):
    before = backbone(points).upcast()
    adapted = add_lora(backbone, LoraSection(), seed=0).eval()
    torch.testing.assert_close(adapted(points).upcast(), before)


@needs_peft
def test_a_merged_backbone_does_what_the_adapted_one_did(backbone, points, tmp_path):
    names = list(backbone.state_dict())
    plain = backbone(points).upcast()
    adapted = drawn(add_lora(backbone, LoraSection(), seed=0)).eval()
    expected = adapted(points).upcast()
    merged = merge_lora(adapted)
    assert list(merged.state_dict()) == names
    save_checkpoint(merged, tmp_path / 'merged.safetensors')
    loaded, _ = load_checkpoint(tmp_path / 'merged.safetensors')
    torch.testing.assert_close(loaded(points).upcast(), expected, rtol=1e-4, atol=1e-5)
    assert (expected - plain).abs().max() > 0.01


@needs_peft
def test_the_seed_decides_the_first_weights(backbone):
    state = torch.random.get_rng_state()
    adapted = add_lora(backbone, LoraSection(), seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    first = [p.clone() for n, p in adapted.named_parameters() if 'lora_A' in n]
    again = add_lora(merge_lora(adapted), LoraSection(), seed=3)
    parameters = [p for n, p in again.named_parameters() if 'lora_A' in n]
    assert all(torch.equal(a, b) for a, b in zip(first, parameters, strict=True))


def test_without_peft_the_cure_is_told(backbone, monkeypatch):
    monkeypatch.setitem(sys.modules, 'peft', None)
    with pytest.raises(BackendUnavailable, match='pip install -r training/requirements'):
        add_lora(backbone, LoraSection(), seed=0)
