"""Patches of CLIP in the space of texts: the last block without queries and keys."""

import pytest
import torch
from torch.nn import functional

from concerto_ros.errors import ConfigError
from concerto_ros.torchvision_beside_cpu import declare_operators
from training.image_encoders import make_image_encoder
from training.image_encoders.dense_clip import load_dense_clip

declare_operators()
open_clip = pytest.importorskip('open_clip')

VISION = {'image_size': 16, 'layers': 2, 'width': 16, 'head_width': 8, 'patch_size': 8}


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """Return a function that makes open_clip know a tiny model; it returns tower and name."""

    def write(**vision):
        config = {
            'embed_dim': 12,
            'vision_cfg': {**VISION, **vision},
            'text_cfg': {'context_length': 4, 'vocab_size': 10, 'width': 8, 'heads': 1,
                         'layers': 1},
        }  # fmt: skip
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, 'tiny-dense', config)
        model = open_clip.create_model('tiny-dense').eval()
        for parameter in model.visual.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)  # no bias and gain is trivial
        torch.save(model.state_dict(), tmp_path / 'clip.pt')
        return model.visual, f'open_clip:tiny-dense/{tmp_path / "clip.pt"}'

    return write


def by_values(tower, images):
    """The published method, written out: values, output layer, MLP, norm, projection."""
    first, last = tower.transformer.resblocks
    x = first(tower._embeds(images))
    width = x.shape[2]
    weight, bias = last.attn.in_proj_weight[2 * width :], last.attn.in_proj_bias[2 * width :]
    x = x + last.attn.out_proj(functional.linear(last.ln_1(x), weight, bias))
    x = x + last.mlp(last.ln_2(x))
    return (tower.ln_post(x) @ tower.proj)[:, 1:]


def test_patches_go_the_way_of_the_values(clip):
    tower, name = clip()
    dense = load_dense_clip(name, 16)
    assert (dense.name, dense.patch_size, dense.num_channels) == (name, 8, 12)
    images = torch.rand(2, 3, 16, 16)
    expected = by_values(tower, (images - dense.mean) / dense.std)
    torch.testing.assert_close(dense(images), expected, atol=1e-5, rtol=1e-5)
    assert dense(torch.rand(1, 3, 16, 16)).shape == (1, 4, 12)


def test_its_tokens_are_not_taken_for_those_of_the_plain_encoder(clip):
    _, name = clip()
    dense, plain = load_dense_clip(name, 16), make_image_encoder(name, 16)
    assert dense.fingerprint() != plain.fingerprint()
    torch.testing.assert_close(dense.mean, plain.mean)


@pytest.mark.parametrize(
    'vision',
    [
        {'pool_type': 'avg'},
        {'attentional_pool': True, 'attn_pooler_heads': 1},
        {'timm_model_name': 'vit_tiny_patch16_224', 'timm_pool': '', 'timm_proj': 'linear'},
    ],
)
def test_towers_without_a_class_token_that_texts_agree_with_are_refused(clip, vision):
    _, name = clip(**vision)
    with pytest.raises(ConfigError, match=r'into a class token, .* or give images\.embeddings'):
        load_dense_clip(name, 16)


@pytest.mark.parametrize('name', ['sentence:all-MiniLM-L6-v2', 'vit:x.pth', 'open_clip:ViT-B-32'])
def test_other_encoders_are_refused_with_the_cure(name):
    with pytest.raises(ConfigError, match=r'open_clip:MODEL/PRETRAINED, got .* images\.encoder'):
        load_dense_clip(name, 16)
