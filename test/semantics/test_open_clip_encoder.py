"""Text towers of open_clip, with random weights in a file."""

import pytest
import torch
from torch.nn.functional import normalize

from concerto_ros.errors import BackendUnavailable, ConfigError
from concerto_ros.semantics.text_encoder import load_text_encoder
from concerto_ros.torchvision_beside_cpu import declare_operators

declare_operators()
open_clip = pytest.importorskip('open_clip', reason='open_clip is not installed: run make test')

TEXTS = ['sofa', 'a photo of a chair.']
CONFIG = {
    'embed_dim': 8,
    'vision_cfg': {'image_size': 8, 'layers': 1, 'width': 8, 'head_width': 8, 'patch_size': 8},
    'text_cfg': {'context_length': 16, 'vocab_size': 49408, 'width': 8, 'heads': 1, 'layers': 2},
}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Let open_clip know a tiny model, and write weights of it; return their file."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, 'tiny-text', CONFIG)
    path = tmp_path / 'mine.pt'
    model = open_clip.create_model('tiny-text')
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter)  # as initialised, all texts are alike
    torch.save(model.state_dict(), path)
    return path


def reference(path, **options):
    model = open_clip.create_model('tiny-text', pretrained=str(path), **options).eval()
    with torch.no_grad():
        return normalize(model.encode_text(open_clip.get_tokenizer('tiny-text')(TEXTS)), dim=1)


def test_vectors_are_those_of_the_text_tower(weights):
    encoder = load_text_encoder(f'open_clip:tiny-text/{weights}')
    assert encoder.dim == 8
    torch.testing.assert_close(encoder.encode(TEXTS), reference(weights))
    assert encoder.encode([]).shape == (0, 8)
    assert all('{}' in template for template in encoder.templates)


def test_a_file_stands_for_the_tag_that_it_is_named_after(weights):
    assert load_text_encoder(f'open_clip:tiny-text/{weights}').name == 'open_clip:tiny-text/mine'


def test_weights_of_openai_get_their_activation(weights, monkeypatch):
    tags = {'mine': {'quick_gelu': True}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'tiny-text', tags)
    encoder = load_text_encoder(f'open_clip:tiny-text/{weights}')
    expected = reference(weights, force_quick_gelu=True)
    assert not torch.allclose(expected, reference(weights))
    torch.testing.assert_close(encoder.encode(TEXTS), expected)


@pytest.mark.parametrize('text', ['椅子', 'Stuhl', '\x07', 'x' * 300])
def test_any_text_has_a_vector(weights, text):
    encoder = load_text_encoder(f'open_clip:tiny-text/{weights}')
    assert encoder.encode([text]).norm().item() == pytest.approx(1, abs=1e-5)


def test_without_a_network_one_sentence_names_the_cures(tmp_path, monkeypatch):
    constants = pytest.importorskip('huggingface_hub').constants
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    with pytest.raises(BackendUnavailable) as error:
        load_text_encoder('open_clip:ViT-B-32/openai')
    message = str(error.value)
    assert 'connect to the internet once, set HF_HOME' in message
    assert '. ' not in message


def test_unknown_models_are_refused():
    with pytest.raises(ConfigError, match=r'no model "ViT-B-23"; near are .*ViT-B-32'):
        load_text_encoder('open_clip:ViT-B-23/openai')


@pytest.mark.parametrize('pretrained', ['none', 'damaged'])
def test_absent_and_damaged_weights_are_told(weights, pretrained):
    if pretrained == 'damaged':
        weights.write_bytes(b'nonsense')
        pretrained = weights
    with pytest.raises(BackendUnavailable, match=r'cannot be loaded .* or give a file of weights'):
        load_text_encoder(f'open_clip:tiny-text/{pretrained}')
