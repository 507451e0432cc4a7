"""SmallViT: shapes, masks, other sizes, files."""

import pytest
import torch

from concerto_ros.errors import CheckpointError, ConfigError
from concerto_ros.weights_file import read_weights, write_weights
from training.image_encoders import SmallViT, VitConfig, load_vit, save_vit
from training.image_encoders.small_vit import vit_settings

CONFIG = VitConfig(image_size=16, patch_size=4, channels=12, depth=2, heads=3)


@pytest.fixture
def vit():
    return SmallViT(CONFIG).eval()


def test_there_is_one_token_per_patch(vit):
    tokens = vit(torch.rand(2, 3, 16, 16))
    assert tokens.shape == (2, 16, 12)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(2, 16))  # after the last norm


def test_no_image_gives_no_token(vit):
    assert vit(torch.zeros(0, 3, 16, 16)).shape == (0, 16, 12)


def test_a_token_sees_its_patch_most_and_all_sides_alike(vit):
    images = torch.rand(64, 3, 16, 16, requires_grad=True)
    patches = vit.stem(images).flatten(2).mT  # tokens before they see each other
    patches[:, 1 * 4 + 2].square().sum().backward()
    weight = images.grad.square().sum((0, 1))
    weight /= weight.sum()
    seen = weight.view(4, 4, 4, 4).sum((1, 3))
    assert seen.flatten().argmax() == 1 * 4 + 2
    assert seen[1, 2] > 4 * seen.mean()
    place = torch.arange(16) + 0.5
    center = torch.stack([weight.sum(1) @ place, weight.sum(0) @ place])
    torch.testing.assert_close(center, torch.tensor([6.0, 10.0]), rtol=0, atol=0.5)


def test_masked_patches_are_not_seen(vit):
    image = torch.rand(1, 3, 16, 16)
    changed = image.clone()
    changed[..., :4, :4] = 0
    mask = torch.zeros(1, 16, dtype=torch.bool)
    assert not torch.equal(vit(image, mask), vit(changed, mask))
    mask[0, 0] = True
    torch.testing.assert_close(vit(image, mask), vit(changed, mask))


def test_positions_matter(vit):
    patch = torch.rand(1, 3, 4, 4)
    tokens = vit(patch.tile(1, 1, 4, 4))[0]
    assert (tokens[1:] - tokens[0]).abs().amax(1).min() > 1e-3


def test_positions_stretch_over_other_sizes(vit):
    with torch.no_grad():
        vit.position.copy_(torch.linspace(0, 1, 4).view(1, 1, 1, 4).expand_as(vit.position))
    assert vit(torch.rand(1, 3, 24, 24)).shape == (1, 36, 12)
    stretched = vit._position_of(8)
    assert stretched.shape == (1, 12, 8, 8)
    assert (stretched.diff(dim=3) > 0).all()  # still from left to right
    torch.testing.assert_close(vit._position_of(4), vit.position)


def test_every_parameter_gets_a_gradient(vit):
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 3] = True
    vit(torch.rand(1, 3, 16, 16), mask)[..., 0].mean().backward()
    assert [name for name, p in vit.named_parameters() if p.grad is None] == []


def test_patches_are_halved_images():
    with pytest.raises(ConfigError, match='power of two, got 6'):
        VitConfig(image_size=36, patch_size=6, channels=12, depth=2, heads=3)


@pytest.mark.parametrize('change', [{'image_size': 18}, {'heads': 5}])
def test_sizes_that_do_not_divide_are_refused(change):
    values = {'image_size': 16, 'patch_size': 4, 'channels': 12, 'depth': 2, 'heads': 3, **change}
    with pytest.raises(ConfigError, match='multiple of patch_size, and channels of heads'):
        VitConfig(**values)


@pytest.mark.parametrize('name', ['vit.safetensors', 'vit.pth'])
def test_a_file_gives_the_network_back(vit, tmp_path, name):
    save_vit(vit, tmp_path / name)
    loaded = load_vit(tmp_path / name)
    assert loaded.config == CONFIG
    image = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(loaded.eval()(image), vit(image), rtol=0, atol=0)


def test_of_a_state_of_training_the_teacher_is_taken(vit, tmp_path):
    tensors = {f'teacher.vit.{name}': t for name, t in vit.state_dict().items()}
    tensors |= {f'student.vit.{name}': t + 1 for name, t in vit.state_dict().items()}
    tensors['teacher.head.x'] = torch.zeros(1)
    write_weights(tmp_path / 'last.pth', vit_settings(CONFIG), tensors)
    torch.testing.assert_close(load_vit(tmp_path / 'last.pth').state_dict(), vit.state_dict())


def test_files_of_something_else_are_refused(vit, tmp_path):
    path = tmp_path / 'vit.safetensors'
    write_weights(path, {'enc_depths': [1]}, vit.state_dict())
    with pytest.raises(CheckpointError, match='no file of our vision transformer'):
        load_vit(path)
    save_vit(vit, path)
    config, tensors = read_weights(path)
    tensors = {name: t.clone() for name, t in tensors.items()}
    del tensors['norm.bias']
    write_weights(path, config, tensors)
    with pytest.raises(CheckpointError, match=r'config and weights disagree(?s:.)*norm\.bias'):
        load_vit(path)
    write_weights(path, {'small_vit': {'depth': 'two'}}, tensors)
    with pytest.raises(CheckpointError, match=r'config and weights disagree.*depth'):
        load_vit(path)
    with pytest.raises(CheckpointError, match='no such file'):
        load_vit(tmp_path / 'absent.pth')
