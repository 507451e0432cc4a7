from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from concerto_ros.errors import SearchError
from concerto_ros.semantics.text_encoder import VocabularyEncoder
from concerto_ros.semantics.text_encoder.remembering import RememberingEncoder

WORDS = [f'word {i}' for i in range(200)]


class Watched(VocabularyEncoder):
    """A table that notes what it was asked."""

    def __init__(self):
        super().__init__('toy', WORDS, torch.randn(len(WORDS), 3))
        self.asked = []

    def encode(self, texts):
        self.asked.append(texts)
        return super().encode(texts)


@pytest.fixture
def table():
    return Watched()


def test_it_answers_like_the_other_encoder(table):
    encoder = RememberingEncoder(table, capacity=10)
    assert (encoder.name, encoder.dim, encoder.templates) == ('toy', 3, ('{}',))
    texts = [*WORDS, *WORDS[:5]]
    for _ in range(2):  # more texts than are remembered
        assert torch.equal(encoder.encode(texts), VocabularyEncoder.encode(table, texts))
    assert encoder.encode([]).shape == (0, 3)


def test_texts_are_read_once_and_in_batches(table):
    encoder = RememberingEncoder(table)
    encoder.encode(['word 7', 'word 8', 'word 7'])
    encoder.encode(WORDS)
    assert [len(texts) for texts in table.asked] == [2, 64, 64, 64, 6]
    encoder.encode(WORDS)
    assert len(table.asked) == 5


def test_what_was_asked_longest_ago_is_forgotten(table):
    encoder = RememberingEncoder(table, capacity=2)
    for texts in (['word 1'], ['word 2'], ['word 1'], ['word 3']):
        encoder.encode(texts)
    table.asked.clear()
    encoder.encode(['word 3', 'word 1', 'word 2'])
    assert table.asked == [['word 2']]


def test_memory_holds_no_more_than_the_vectors(table):
    encoder = RememberingEncoder(table)
    encoder.encode(WORDS)
    assert all(t.untyped_storage().nbytes() == 3 * 4 for t in encoder._memory.values())


def test_unknown_texts_are_not_remembered(table):
    encoder = RememberingEncoder(table)
    for _ in range(2):
        with pytest.raises(SearchError, match="'x' is not among"):
            encoder.encode(['x'])


def test_many_threads_may_ask(table):
    encoder = RememberingEncoder(table, capacity=20)
    expected = VocabularyEncoder.encode(table, WORDS)
    with ThreadPoolExecutor(8) as pool:
        parts = [WORDS[i : i + 50] for i in range(0, 150, 3)]
        found = list(pool.map(encoder.encode, parts))
    for i, vectors in enumerate(found):
        assert torch.equal(vectors, expected[3 * i : 3 * i + 50])
