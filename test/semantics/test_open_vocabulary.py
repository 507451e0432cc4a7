import pytest
import torch

from concerto_ros.errors import CheckpointError, SearchError
from concerto_ros.semantics import OpenVocabulary, Translator
from concerto_ros.semantics import translator as translator_module
from concerto_ros.semantics.text_encoder import VocabularyEncoder

ENCODER = VocabularyEncoder('toy', ['east', 'north', 'up'], torch.eye(3))
IDENTITY = Translator(
    weight=torch.eye(3), bias=torch.zeros(3), text_encoder='toy', logit_scale=10.0
)


def test_best_name_and_its_probability(dense_features):
    vocabulary = OpenVocabulary.build(IDENTITY, ENCODER, ['up', 'east'])
    label, confidence = vocabulary.predict(dense_features([[2.0, 0, 0], [0, 0, 5], [1, 0, 1]]))
    assert label.dtype == torch.uint16
    assert confidence.dtype == torch.float32
    assert label.tolist()[:2] == [2, 1]
    assert confidence.tolist() == pytest.approx([1 / (1 + 2.718281828**-10)] * 2 + [0.5])
    assert vocabulary.labels.names == ('unknown', 'up', 'east')


def test_doubtful_points_stay_unknown(dense_features):
    vocabulary = OpenVocabulary.build(IDENTITY, ENCODER, ['up', 'east'], min_confidence=0.6)
    label, confidence = vocabulary.predict(dense_features([[2.0, 0, 0], [1, 0, 1]]))
    assert label.tolist() == [2, 0]
    assert confidence[1].item() == pytest.approx(0.5)


def test_a_large_vocabulary_is_read_in_parts(dense_features, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    vocabulary = OpenVocabulary(
        translator=IDENTITY,
        names=tuple(f'name {i}' for i in range(11)),
        text_embedding=torch.randn(11, 3, generator=generator),
    )
    features = dense_features(torch.randn(20, 3, generator=generator))
    logits = 10 * IDENTITY.scores(features, vocabulary.text_embedding)
    confidence, best = logits.softmax(1).max(1)
    monkeypatch.setattr(translator_module, '_MAX_NUMBERS', 40)  # two names at a time
    found = vocabulary.predict(features)
    assert found[0].tolist() == (best + 1).tolist()
    torch.testing.assert_close(found[1], confidence, atol=1e-5, rtol=1e-5)


def test_no_points(dense_features):
    vocabulary = OpenVocabulary.build(IDENTITY, ENCODER, ['up'])
    label, confidence = vocabulary.predict(dense_features(torch.zeros(0, 3)))
    assert label.shape == confidence.shape == (0,)


def test_empty_vocabulary_is_refused():
    with pytest.raises(SearchError, match='needs 1 to 65535 names'):
        OpenVocabulary.build(IDENTITY, ENCODER, [])


def test_a_thing_named_twice_is_told():
    with pytest.raises(SearchError, match='names up, east more than once: name each thing once'):
        OpenVocabulary.build(IDENTITY, ENCODER, ['up', 'east', 'UP', 'north', 'the  East'])


def test_words_and_encoders_are_checked():
    with pytest.raises(SearchError, match="'west' is not among"):
        OpenVocabulary.build(IDENTITY, ENCODER, ['west'])
    other = VocabularyEncoder('other', ['east'], torch.eye(3)[:1])
    with pytest.raises(CheckpointError, match='trained for the text encoder toy'):
        OpenVocabulary.build(IDENTITY, other, ['east'])
