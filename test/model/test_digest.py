import pytest
import torch

from concerto_ros.model import (
    BackboneConfig,
    PointTransformerV3,
    load_checkpoint,
    save_checkpoint,
    weights_digest,
)


@pytest.fixture
def model():
    return PointTransformerV3(
        BackboneConfig(
            enc_depths=(1, 1), enc_channels=(16, 32), enc_num_head=(1, 2),
            enc_patch_size=(64, 64), stride=(2,), enc_mode=False, dec_depths=(1,),
            dec_channels=(16,), dec_num_head=(1,), dec_patch_size=(64,),
        )
    )  # fmt: skip


def test_every_weight_of_the_encoder_counts(model):
    before = weights_digest(model)
    assert len(before) == 16
    with torch.no_grad():
        model.enc['enc1'].block0.mlp[0].fc2.weight[3, 3] += 1
    assert weights_digest(model) != before


def test_neither_file_format_nor_decoder_count(model, tmp_path):
    before = weights_digest(model)
    with torch.no_grad():
        next(model.dec.parameters()).add_(1)
    for name in ('a.pth', 'b.safetensors'):
        save_checkpoint(model, tmp_path / name)
        assert weights_digest(load_checkpoint(tmp_path / name)[0]) == before
