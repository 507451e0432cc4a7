"""Translators from labels, from images and from stored embeddings, as the command makes them."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build, read_plain_yaml
from concerto_ros.errors import ConfigError, SourceError
from concerto_ros.model import load_checkpoint, save_checkpoint, weights_digest
from concerto_ros.semantic_map.labeler import Labeler
from concerto_ros.semantic_map.trained_weights import TrainedWeights
from concerto_ros.semantics import Translator
from concerto_ros.torchvision_beside_cpu import declare_operators
from concerto_ros.weights_file import read_weights_file
from training.translate import main
from training.translation.config import TranslateConfig
from training.translation.pixel_texts import LinkedImage, StoredPixels
from training.translation.run_translate import run_translate
from training.translation.zero_shot import HELD_OUT, NAMES, TRAINED

WALLS = 'left wall, right wall'  # labels of the tiny scenes: 0 and 1
WORDS = ('left wall', 'right wall', 'plaster', 'bricks', 'white one', 'red one', 'roof')
TEXTS = """
left wall: {texts: plaster, held_out: white one}
right wall: {texts: bricks, held_out: red one}
"""


@pytest.fixture
def space(tmp_path):
    """Write texts and their vectors: synonyms are near each other, classes at right angles."""
    left, right = np.eye(4)[:2]
    rows = [left, right, left, right, left, right, np.eye(4)[3]]
    embedding = np.array(rows) + 0.2 * np.random.default_rng(0).normal(size=(7, 4)) * [0, 0, 1, 0]
    np.savez(tmp_path / 'words.npz', names=WORDS, embedding=embedding, text_encoder='walls')
    (tmp_path / 'texts.yaml').write_text(TEXTS)
    return {
        'text.encoder': f'vocabulary:{tmp_path / "words.npz"}',
        'text.classes': str(tmp_path / 'texts.yaml'),
    }


@pytest.fixture
def settings(tiny_split, tmp_path, space):
    return {
        'run.output': str(tmp_path / 'out'),
        'run.device': 'cpu',
        'data.train': str(tiny_split),
        'data.validation': str(tiny_split),
        'data.vocabulary': WALLS,
        'data.voxel_size': 0.05,
        'translator.num_steps': 40,
        'translator.batch_size': 256,
        'optimizer.lr': 0.02,
        **space,
    }


@pytest.fixture
def translate(settings):
    """Return a function that trains a translator on the tiny scenes."""
    return lambda **changes: run_translate(
        build(
            TranslateConfig, {**settings, **{n.replace('__', '.'): v for n, v in changes.items()}}
        )
    )


@pytest.fixture
def unlabelled(tiny_split, tmp_path):
    """Return a copy of the tiny split without labels."""
    root = shutil.copytree(tiny_split.parents[1], tmp_path / 'unlabelled')
    for path in root.rglob('segment20.npy'):
        path.unlink()
    return root / 'splits' / tiny_split.name


def test_the_node_takes_what_was_trained_from_labels(translate, tiny_weights, tmp_path):
    checkpoint = tiny_weights()['semantics.checkpoint']
    result = translate(source__checkpoint=checkpoint)
    assert {called: s.miou > 0.9 for called, s in result.scores.items()} == {
        NAMES: True, TRAINED: True, HELD_OUT: True,
    }  # fmt: skip
    translator = Translator.load(tmp_path / 'out' / 'translator.safetensors')
    assert translator.backbone == weights_digest(load_checkpoint(checkpoint)[0])
    assert translator.text_encoder == 'walls'
    assert translator.logit_scale == pytest.approx(result.calibration.fitted_scale)
    assert result.calibration.error_after <= result.calibration.error_before + 0.01
    values = {**result.node, 'map.voxel_size': 0.05, 'semantics.vocabulary': 'plaster, roof'}
    cpu = torch.device('cpu')
    labeler = Labeler(TrainedWeights.load(build(ConcertoConfig, values).semantics, cpu), cpu)
    assert labeler.language_labels.names == ('unknown', 'plaster', 'roof')


def test_voxels_of_another_size_than_in_training_are_warned_of(
    translate, tiny_weights, tmp_path, caplog
):
    backbone, _ = load_checkpoint(tiny_weights()['semantics.checkpoint'])
    path = tmp_path / 'backbone.pth'
    save_checkpoint(backbone, path, {'settings': {'data.voxel_size': 0.1}})
    translate(source__checkpoint=str(path), translator__num_steps=1)
    assert 'is 0.05 m, but source.checkpoint was trained on voxels of 0.1 m' in caplog.text


def test_the_command_prints_the_table_and_writes_it(settings, tmp_path, capsys):
    (tmp_path / 'translate.yaml').write_text('run: {seed: 3}\n')
    status = main([
        str(tmp_path / 'translate.yaml'), *(f'{name}={value}' for name, value in settings.items()),
        'translator.num_steps=2',
    ])  # fmt: skip
    shown = capsys.readouterr().out
    folder = tmp_path / 'out'
    assert status == 0
    assert (folder / 'table.md').read_text() in shown
    assert '| IoU of the class called by its | name | trained text | held-out text |' in shown
    assert 'Expected calibration error of names: ' in shown
    assert 'this is not for the node: the weights of the backbone are random' in shown
    content = json.loads((folder / 'results.json').read_text())
    assert content['texts']['left wall'] == {
        'trained': ['left wall', 'plaster'], 'held_out': ['white one'], 'described': []
    }  # fmt: skip
    assert set(content['scores']['held-out text']['classes']) == {'left wall', 'right wall'}
    assert content['settings']['run.seed'] == 3
    assert {'git', 'torch'} <= set(content['code'])
    origin = read_weights_file(folder / 'translator.safetensors').origin
    assert origin['settings'] == content['settings']
    assert origin['source'] == content['code']


def test_the_same_seed_gives_the_same_numbers_bit_for_bit(translate, tmp_path):
    found = []
    for _ in range(2):
        scale = translate(translator__num_steps=3).calibration.fitted_scale
        translator = Translator.load(tmp_path / 'out' / 'translator.safetensors')
        found.append((scale, translator.weight.tolist(), translator.bias.tolist()))
    assert found[0] == found[1]


def test_texts_of_clip_find_what_they_were_not_trained_with(translate, shared_data, tmp_path):
    path = tmp_path / 'texts.yaml'
    path.write_text("""
chair: {texts: "armchair, folding chair, deck chair", held_out: rocking chair}
wardrobe: {texts: "cabinet, cupboard", held_out: armoire}
""")
    result = translate(
        data__vocabulary='chair, wardrobe',
        text__encoder=f'vocabulary:{shared_data / "clip_text" / "lvis.npz"}',
        text__classes=str(path),
    )
    assert result.left_out == ()
    assert result.scores[TRAINED].miou > 0.9
    assert result.scores[HELD_OUT].miou > 0.9


def test_stored_embeddings_take_the_place_of_labels(translate, unlabelled, tiny_split):
    root = unlabelled.parents[1]
    for links in root.rglob('correspondence/*.npy'):
        x, y, point = np.load(links).T
        cloud = tiny_split.parents[1] / 'train' / links.parents[1].name
        pixels = np.zeros((32, 32, 4), np.float16)
        pixels[y, x, np.load(cloud / 'segment20.npy')[point]] = 3.0
        (links.parents[1] / 'lseg').mkdir(exist_ok=True)
        np.save(links.parents[1] / 'lseg' / links.name, pixels)
    result = translate(
        data__train=str(unlabelled), translator__recipe='images', images__embeddings='lseg'
    )
    assert result.scores[NAMES].miou > 0.8
    assert result.num_scenes == (4, 4)


def test_the_whole_recipe_runs_with_an_image_tower_of_clip(
    translate, unlabelled, tmp_path, monkeypatch
):
    declare_operators()
    open_clip = pytest.importorskip('open_clip')
    config = {
        'embed_dim': 12,
        'vision_cfg': {'image_size': 32, 'layers': 1, 'width': 16, 'head_width': 8,
                       'patch_size': 8},
        'text_cfg': {'context_length': 16, 'vocab_size': 49408, 'width': 8, 'heads': 1,
                     'layers': 1},
    }  # fmt: skip
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, 'tiny-translate', config)
    path = tmp_path / 'random.pt'
    torch.save(open_clip.create_model('tiny-translate').state_dict(), path)
    clip = {
        'data__train': str(unlabelled), 'translator__recipe': 'images', 'images__size': 32,
        'translator__num_steps': 3,
    }  # fmt: skip
    result = translate(**clip, text__encoder=f'open_clip:tiny-translate/{path}')
    translator = Translator.load(tmp_path / 'out' / 'translator.safetensors')
    assert translator.text_encoder == result.text_encoder == 'open_clip:tiny-translate/random'
    assert translator.weight.shape == (12, 432)
    with pytest.raises(ConfigError, match=r'gives 12 numbers and text.encoder walls 4: name the'):
        translate(**clip, images__encoder=f'open_clip:tiny-translate/{path}')


def linked_image(folder, rows):
    """Write an image of 6 x 4 pixels that sees points at some of them."""
    paths = [folder / 'color' / '7.png', folder / 'correspondence' / '7.npy']
    for path in paths:
        path.parent.mkdir(parents=True)
    Image.new('RGB', (6, 4)).save(paths[0])
    np.save(paths[1], np.array(rows))
    return LinkedImage(*paths, num_points=10)


def test_stored_arrays_cover_the_whole_image_at_their_own_resolution(tmp_path):
    # The middle square has columns 1 to 4: the first and the last point are outside.
    image = linked_image(tmp_path, [[0, 0, 5], [1, 0, 6], [4, 3, 7], [3, 1, 8], [5, 3, 9]])
    (tmp_path / 'texts').mkdir()
    rows, columns = np.meshgrid(range(8), range(3), indexing='ij')  # twice as high, half as wide
    np.save(tmp_path / 'texts' / '7.npy', np.stack([rows, columns], 2).astype(np.float16))
    point, embedding = StoredPixels('texts', 2, torch.device('cpu'))(image)
    assert point.tolist() == [6, 7, 8]
    assert embedding.tolist() == [[1, 0], [7, 2], [3, 1]]


def test_arrays_of_another_space_are_refused(tmp_path):
    image = linked_image(tmp_path, [[1, 0, 6]])
    (tmp_path / 'texts').mkdir()
    np.save(tmp_path / 'texts' / '7.npy', np.zeros((4, 6, 5), np.float16))
    with pytest.raises(SourceError, match=r'7.npy should hold \(h, w, 2\) floats, .*\(4, 6, 5\)'):
        StoredPixels('texts', 2, torch.device('cpu'))(image)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'data.train': ''}, '"data.train" must name a split'),
        ({'data.train': '', 'translator.recipe': 'images'}, '"data.train" must name splits, ROOT'),
        ({'data.validation': ''}, '"data.validation" must name a split'),
        ({'data.vocabulary': 'left wall, ceiling'}, 'walls knows no text of the class "ceiling"'),
        ({'data.segment': 'segment200'}, r"labels of this scene are \['segment20'\]"),
        ({'source.checkpoint': 'missing.pth'}, 'there is no such file'),
        ({'translator.recipe': 'images'}, 'come from open_clip:MODEL/PRETRAINED, got "vocab'),
        ({'text.encoder': 'word2vec'}, 'a text encoder is'),
    ],
)
def test_errors_are_told_in_one_sentence(settings, tmp_path, capsys, changes, sentence):
    (tmp_path / 'empty.yaml').write_text('')
    values = {**settings, **changes}
    status = main([str(tmp_path / 'empty.yaml'), *(f'{n}={v}' for n, v in values.items())])
    message = capsys.readouterr().err
    assert status == 2
    assert message.count('\n') == 1
    assert message.startswith('training.translate: ')
    assert re.search(sentence, message), message


@pytest.mark.parametrize('name', ['translate', 'translate_images', 'translate_rooms'])
def test_the_settings_that_are_shipped_can_be_read(root, name):
    values = read_plain_yaml(root / 'config' / 'training' / f'{name}.yaml')
    assert build(TranslateConfig, values).run.output == f'runs/{name}'
