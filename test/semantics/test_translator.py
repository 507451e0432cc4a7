import pytest
import torch

from concerto_ros.errors import CheckpointError
from concerto_ros.semantics import Translator
from concerto_ros.semantics import translator as translator_module
from concerto_ros.semantics.text_encoder import VocabularyEncoder
from concerto_ros.weights_file import read_weights_file

ENCODER = VocabularyEncoder('toy', ['east', 'north', 'up'], torch.eye(3))


def random_translator(dim=3, channels=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Translator(
        weight=torch.randn(dim, channels, generator=generator),
        bias=torch.randn(dim, generator=generator),
        text_encoder='toy',
        logit_scale=20.0,
        min_score=0.25,
        backbone='0123456789abcdef',
        names=('a', 'b'),
    )


def test_score_is_the_cosine_of_translated_feature_and_text(dense_features):
    translator = random_translator()
    feat, text = torch.randn(40, 5), torch.randn(4, 3)
    translated = feat @ translator.weight.t() + translator.bias
    expected = torch.nn.functional.cosine_similarity(translated[:, None], text[None], dim=2)
    found = translator.scores(dense_features(feat), text)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_norms_are_computed_in_parts(dense_features, monkeypatch):
    translator = random_translator(dim=7)
    features = dense_features(torch.randn(40, 5))
    expected = translator.norms(features)
    monkeypatch.setattr(translator_module, '_MAX_NUMBERS', 80)  # two rows of the map at a time
    torch.testing.assert_close(translator.norms(features), expected)
    translated = features.linear(translator.weight, translator.bias)
    torch.testing.assert_close(expected, translated.norm(dim=1))


def test_known_norms_are_used(dense_features):
    translator, features = random_translator(), dense_features(torch.randn(6, 5))
    norms = translator.norms(features)
    text = torch.eye(3)
    assert torch.equal(translator.scores(features, text, norms), translator.scores(features, text))
    lengthened = translator.scores(features, text, norms * 1e6)
    assert lengthened.abs().max() < 1e-5


def test_feature_without_direction_scores_zero(dense_features):
    translator = Translator(weight=torch.zeros(3, 5), bias=torch.zeros(3), text_encoder='toy')
    assert (
        translator.scores(dense_features(torch.ones(2, 5)), torch.eye(3)).tolist() == [[0] * 3] * 2
    )


def test_no_points_and_no_texts(dense_features):
    translator = random_translator()
    assert translator.scores(dense_features(torch.zeros(0, 5)), torch.eye(3)).shape == (0, 3)
    assert translator.scores(dense_features(torch.zeros(2, 5)), torch.zeros(0, 3)).shape == (2, 0)


def test_texts_are_read_by_the_encoder_it_was_trained_for():
    assert random_translator().encode(ENCODER, ['North']).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    'encoder',
    [
        VocabularyEncoder('other', ['east'], torch.eye(3)[:1]),
        VocabularyEncoder('toy', ['east'], torch.eye(4)[:1]),
    ],
)
def test_other_text_encoders_are_refused(encoder):
    with pytest.raises(CheckpointError, match=r'trained for the text encoder toy \(3 numbers\)'):
        random_translator().encode(encoder, ['east'])


def test_text_of_another_width_is_refused(dense_features):
    with pytest.raises(CheckpointError, match=r'must be \(Q, 3\) for this translator'):
        random_translator().scores(dense_features(torch.zeros(2, 5)), torch.zeros(1, 4))


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_saved_translator_comes_back(tmp_path, suffix):
    path = tmp_path / f'translator{suffix}'
    random_translator().save(path, {'settings': {'run.seed': 3}})
    loaded = Translator.load(path)
    assert torch.equal(loaded.weight, random_translator().weight)
    assert torch.equal(loaded.bias, random_translator().bias)
    assert (loaded.text_encoder, loaded.logit_scale) == ('toy', 20.0)
    assert (loaded.min_score, loaded.names) == (0.25, ('a', 'b'))
    assert loaded.backbone == '0123456789abcdef'
    assert read_weights_file(path).origin == {'settings': {'run.seed': 3}}


def test_a_file_of_earlier_versions_names_no_backbone(tmp_path):
    state = {'weight': torch.zeros(3, 5), 'bias': torch.zeros(3)}
    torch.save({'config': {'text_encoder': 'toy'}, 'state_dict': state}, tmp_path / 'a.pth')
    loaded = Translator.load(tmp_path / 'a.pth')
    assert loaded.backbone == ''
    loaded.check_backbone('fedc')


def test_another_backbone_is_refused():
    random_translator().check_backbone('0123456789abcdef')
    with pytest.raises(
        CheckpointError, match=r'weights 0123456789abcdef, this one has fedc: load'
    ):
        random_translator().check_backbone('fedc')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'weight': torch.zeros(3)}, r'needs weight \(D, C\) and bias \(D,\)'),
        ({'bias': torch.zeros(2)}, r'needs weight \(D, C\) and bias \(D,\)'),
        ({'bias': torch.full((3,), float('inf'))}, 'not finite'),
        ({'logit_scale': 0.0}, 'logit_scale must be positive'),
        ({'min_score': 1.0}, 'min_score must be 0 or more and below 1'),
    ],
)
def test_weights_that_do_not_fit_are_refused(changes, message):
    values = {'weight': torch.zeros(3, 5), 'bias': torch.zeros(3), 'text_encoder': 'toy'}
    with pytest.raises(CheckpointError, match=message):
        Translator(**{**values, **changes})


@pytest.mark.parametrize(
    ('config', 'names', 'message'),
    [
        ({'text_encoder': 'toy'}, ('weight',), 'a translator holds weight, bias'),
        ({}, ('weight', 'bias'), "name of its 'text_encoder'"),
        ({'text_encoder': 'toy', 'logit_scale': 'ten'}, ('weight', 'bias'), 'could not convert'),
        ({'text_encoder': 'toy'}, ('bias', 'weight', 'extra'), 'a translator holds'),
    ],
)
def test_files_that_are_no_translators_are_refused(tmp_path, config, names, message):
    state = {name: torch.zeros(3, 5) if name == 'weight' else torch.zeros(3) for name in names}
    torch.save({'config': config, 'state_dict': state}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=message):
        Translator.load(tmp_path / 'a.pth')
