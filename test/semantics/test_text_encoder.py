import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from concerto_ros.errors import BackendUnavailable, CheckpointError, ConfigError, SearchError
from concerto_ros.semantics import load_text_encoder
from concerto_ros.semantics.text_encoder import VocabularyEncoder

CLIP_TEXT = Path(__file__).resolve().parents[2].parent / 'shared' / 'data' / 'clip_text'


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / 'words.npz'
    np.savez(
        path,
        names=['mug', 'Mug', 'wine_glass', 'the cat'],
        embedding=np.array([[2, 0], [0, 3], [-1, 0], [0, -1]], dtype=np.float16),
    )
    return path


@pytest.mark.parametrize(
    ('text', 'vector'),
    [
        ('mug', [1, 0]),
        ('Mug', [0, 1]),
        ('MUG', [1, 0]),
        ('a mug', [1, 0]),
        (' The  wine-glass ', [-1, 0]),
        ('cat', [0, -1]),
    ],
)
def test_words_are_found_exactly_then_without_case_and_article(vocabulary, text, vector):
    encoder = load_text_encoder(f'vocabulary:{vocabulary}')
    found = encoder.encode([text])
    assert found.dtype == torch.float32
    assert found.tolist() == [vector]


def test_name_and_dim(vocabulary):
    encoder = load_text_encoder(f'vocabulary:{vocabulary}')
    assert (encoder.name, encoder.dim) == ('vocabulary:words.npz', 2)
    assert encoder.encode([]).shape == (0, 2)


def test_file_may_name_the_encoder_that_made_it(tmp_path):
    path = tmp_path / 'a.npz'
    np.savez(path, names=['mug'], embedding=np.ones((1, 2)), text_encoder='open_clip:ViT-B-32/x')
    assert load_text_encoder(f'vocabulary:{path}').name == 'open_clip:ViT-B-32/x'


def test_unknown_words_list_near_ones(vocabulary):
    encoder = load_text_encoder(f'vocabulary:{vocabulary}')
    with pytest.raises(
        SearchError, match=r"'wineglass' is not among the 4 .* near are: wine_glass"
    ):
        encoder.encode(['mug', 'wineglass'])
    with pytest.raises(SearchError, match='none is near'):
        encoder.encode(['xylophone'])


@pytest.mark.data
def test_real_clip_words_are_unit_vectors():
    if not CLIP_TEXT.is_dir():
        pytest.skip('the word lists in ../shared/data/clip_text are absent')
    encoder = load_text_encoder(f'vocabulary:{CLIP_TEXT / "coco.npz"}')
    chair, couch, dog = encoder.encode(['chair', 'a couch', 'Dog'])
    assert encoder.dim == 512
    assert chair.norm().item() == pytest.approx(1, abs=1e-6)
    assert chair @ couch > chair @ dog


@pytest.mark.parametrize(
    'spec', ['', 'vocabulary:', 'open_clip:ViT-B-32', 'word2vec:x', 'coco.npz']
)
def test_other_specifications_are_refused(spec):
    with pytest.raises(ConfigError, match='a text encoder is'):
        load_text_encoder(spec)


def test_missing_and_damaged_vocabularies_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match='there is no such vocabulary'):
        load_text_encoder(f'vocabulary:{tmp_path}/absent.npz')
    (tmp_path / 'a.npz').write_bytes(b'nonsense')
    with pytest.raises(CheckpointError, match='with arrays names and embedding'):
        load_text_encoder(f'vocabulary:{tmp_path}/a.npz')
    np.savez(tmp_path / 'b.npz', names=['mug'])
    with pytest.raises(CheckpointError, match='with arrays names and embedding'):
        load_text_encoder(f'vocabulary:{tmp_path}/b.npz')
    np.save(tmp_path / 'c.npy', np.ones((1, 2)))
    with pytest.raises(CheckpointError, match='with arrays names and embedding'):
        load_text_encoder(f'vocabulary:{tmp_path}/c.npy')
    np.savez(tmp_path / 'd.npz', names=['mug', 'cup'], embedding=np.ones((1, 2)))
    with pytest.raises(CheckpointError, match=r'd.npz: a vocabulary of 2 words'):
        load_text_encoder(f'vocabulary:{tmp_path}/d.npz')


@pytest.mark.parametrize('value', [0.0, float('nan')])
def test_embeddings_without_direction_are_refused(value):
    with pytest.raises(CheckpointError, match='zero or not finite'):
        VocabularyEncoder('toy', ['mug'], torch.full((1, 2), value))


def test_absent_open_clip_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'open_clip', None)
    with pytest.raises(BackendUnavailable, match='pip install open_clip_torch'):
        load_text_encoder('open_clip:ViT-B-32/openai')
