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


def test_there_is_one_token_per_patch_and_one_for_the_image(vit):
    cls, tokens = vit(torch.rand(2, 3, 16, 16))
    assert cls.shape == (2, 12)
    assert tokens.shape == (2, 16, 12)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(2, 16))  # after the last norm


def test_no_image_gives_no_token(vit):
    cls, tokens = vit(torch.zeros(0, 3, 16, 16))
    assert cls.shape == (0, 12)
    assert tokens.shape == (0, 16, 12)


def test_tokens_are_in_the_order_of_rows(vit):
    image = torch.rand(1, 3, 16, 16)
    changed = image.clone()
    changed[..., 4:8, 8:12] += 1  # the patch in row 1, column 2
    embedded, other = vit.patch_embed(image), vit.patch_embed(changed)
    differs = (embedded != other).any(1).flatten(1)
    assert differs.nonzero().tolist() == [[0, 1 * 4 + 2]]


def test_masked_patches_are_not_seen(vit):
    image = torch.rand(1, 3, 16, 16)
    changed = image.clone()
    changed[..., :4, :4] = 0
    mask = torch.zeros(1, 16, dtype=torch.bool)
    assert not torch.equal(vit(image, mask)[1], vit(changed, mask)[1])
    mask[0, 0] = True
    torch.testing.assert_close(vit(image, mask), vit(changed, mask))


def test_positions_matter(vit):
    patch = torch.rand(1, 3, 4, 4)
    tokens = vit(patch.tile(1, 1, 4, 4))[1][0]
    assert (tokens[1:] - tokens[0]).abs().amax(1).min() > 1e-3


def test_positions_stretch_over_other_sizes(vit):
    with torch.no_grad():
        vit.position.copy_(torch.linspace(0, 1, 4).view(1, 1, 1, 4).expand_as(vit.position))
    assert vit(torch.rand(1, 3, 24, 24))[1].shape == (1, 36, 12)
    stretched = vit._position_of(8)
    assert stretched.shape == (1, 12, 8, 8)
    assert (stretched.diff(dim=3) > 0).all()  # still from left to right
    torch.testing.assert_close(vit._position_of(4), vit.position)


def test_every_parameter_gets_a_gradient(vit):
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 3] = True
    cls, tokens = vit(torch.rand(1, 3, 16, 16), mask)
    (cls.square().mean() + tokens[..., 0].mean()).backward()
    assert [name for name, p in vit.named_parameters() if p.grad is None] == []


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
    tensors['teacher.class_head.x'] = torch.zeros(1)
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
