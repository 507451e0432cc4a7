import pytest
import torch
from torch.nn.functional import normalize

from concerto_ros.errors import SearchError
from concerto_ros.semantics.prompts import check_names, clean_name, embed_names
from concerto_ros.semantics.text_encoder import VocabularyEncoder


def test_vectors_of_all_phrases_are_averaged():
    encoder = VocabularyEncoder(
        'toy', ['a red mug', 'mug!', 'a red cup', 'cup!'], torch.randn(4, 5)
    )
    encoder.templates = ('a red {}', '{}!')
    found = embed_names(encoder, ['mug', 'cup'])
    phrases = encoder.encode(['a red mug', 'mug!', 'a red cup', 'cup!'])
    expected = normalize(torch.stack([phrases[:2].mean(0), phrases[2:].mean(0)]), dim=1)
    torch.testing.assert_close(found, expected)
    assert found.dtype == torch.float32


def test_no_names():
    assert embed_names(VocabularyEncoder('toy', ['mug'], torch.eye(3)[:1]), []).shape == (0, 3)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('a mug', 'mug'),
        ('  The  wine_glass\n', 'wine glass'),
        ('so\x07fa\u200b\ud800', 'sofa'),
        ('wine\tglass\x85\x1b rack', 'wine glass rack'),
        ('a', 'a'),
        ('A4 paper', 'A4 paper'),
        ('椅子', '椅子'),
        ('{0}{name} box', '{0}{name} box'),
        ('x' * 300, 'x' * 300),
    ],
)
def test_names_are_cleaned(name, text):
    assert clean_name(name) == text


@pytest.mark.parametrize('name', ['', ' \t', '\x00\x1b', '\ud800', '?!', '🪑'])
def test_texts_without_words_are_refused(name):
    with pytest.raises(SearchError, match='has no word: name a thing'):
        clean_name(name)


def test_very_long_texts_are_refused():
    with pytest.raises(SearchError, match='has 10000 characters, at most 300 are read'):
        clean_name('x' * 10_000)


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        ([], 'needs 1 to 65535 names, got 0: name what labels shall tell apart'),
        (['mug'] * 65_536, 'needs 1 to 65535 names, got 65536'),
        (['mug', 'cup', 'a  Mug'], 'names mug more than once: name each thing once'),
        (['mug', '?!'], 'has no word'),
    ],
)
def test_what_is_no_vocabulary_is_refused(names, message):
    check_names(['mug', 'cup'])
    with pytest.raises(SearchError, match=message):
        check_names(names)


def test_braces_are_taken_as_they_are():
    encoder = VocabularyEncoder('toy', ['{0} box'], torch.eye(3)[:1])
    assert embed_names(encoder, ['{0} box']).tolist() == [[1, 0, 0]]
