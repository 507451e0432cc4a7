"""Texts that name classes: the file of ours, files of others, and what an encoder knows."""

import pytest
import torch

from concerto_ros.errors import ConfigError
from concerto_ros.rooms.classes import SCANNET20_OF
from concerto_ros.semantics.text_encoder import VocabularyEncoder
from training.evaluation.class_lists import CLASS_LISTS
from training.translation.class_texts import ClassTexts, embed_texts, read_class_texts
from training.translation.zero_shot import HELD_OUT, NAMES, TRAINED, vocabularies

WORDS = ('chair', 'seat', 'armchair', 'door', 'gate')
ENCODER = VocabularyEncoder('words', WORDS, torch.eye(5))
LISTS = {**CLASS_LISTS, 'rooms': tuple(SCANNET20_OF)}


@pytest.mark.parametrize('names', [LISTS['scannet20'], LISTS['rooms']])
def test_ours_say_enough_of_all_classes(names):
    for name, texts in zip(names, read_class_texts('', names), strict=True):
        assert texts.trained[0] == name
        assert len(texts.trained) >= 3, name  # few are left where names of others are left out
        assert len(texts.held_out) >= 1, name
        assert all(len(text.split()) <= 2 for text in texts.held_out), name  # no descriptions
        assert all(len(text.split()) > 2 for text in texts.described), name


def test_synonyms_and_descriptions_are_told_apart_and_both_measured(tmp_path):
    path = tmp_path / 'texts.yaml'
    path.write_text('chair: {held_out: seat, described: "gate, armchair"}\n')
    (chair,) = read_class_texts(str(path), ['chair'])
    assert chair == ClassTexts(('chair',), ('seat',), ('gate', 'armchair'))
    assert embed_texts(ENCODER, [chair]).held_out[0].argmax(1).tolist() == [1, 4, 2]


@pytest.mark.parametrize('names', LISTS.values(), ids=LISTS)
def test_no_text_of_ours_is_of_two_classes_or_trained_and_held_out(names):
    texts = [text for own in read_class_texts('', names) for part in own for text in part]
    assert len(set(texts)) == len(texts)


def test_names_of_other_classes_are_left_out(tmp_path):
    path = tmp_path / 'texts.yaml'
    path.write_text('chair: {texts: "seat, stool", held_out: "something to sit on, armchair"}\n')
    alone, *_ = read_class_texts(str(path), ['chair', 'door'])
    assert alone == ClassTexts(('chair', 'seat', 'stool'), ('something to sit on', 'armchair'))
    beside, stool, _ = read_class_texts(str(path), ['chair', 'stool', 'armchair'])
    assert beside == ClassTexts(('chair', 'seat'), ('something to sit on',))
    assert stool == ClassTexts(('stool',), ())


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('chair: {texts: seat}\ndoor: {held_out: seat}', 'text.classes gives seat more than once'),
        ('chair: {texts: seat, held_out: seat}', 'text.classes gives seat more than once'),
        ('chair: {synonyms: seat}', r'expected "texts", "held_out" .* found "chair.synonyms"'),
        ('- chair', 'must hold nested names'),
    ],
)
def test_files_that_would_spoil_the_measurement_are_refused(tmp_path, content, message):
    path = tmp_path / 'texts.yaml'
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_class_texts(str(path), ['chair', 'door'])


CHAIR = ClassTexts(('chair', 'seat', 'a thing to sit on'), ('armchair', 'stool'))
DOOR = ClassTexts(('door',), ())


def test_texts_that_the_encoder_does_not_know_are_left_out_and_told(caplog):
    caplog.set_level('INFO')
    texts = embed_texts(ENCODER, [CHAIR, DOOR])
    assert [own.argmax(1).tolist() for own in texts.trained] == [[0, 1], [3]]
    assert [own.argmax(1).tolist() for own in texts.held_out] == [[2], []]
    assert texts.left_out == ('a thing to sit on', 'stool')
    assert 'words does not know, so left out: a thing to sit on, stool' in caplog.text


def test_a_class_without_a_text_is_an_error():
    with pytest.raises(ConfigError, match='words knows no text of the class "roof": give it one'):
        embed_texts(ENCODER, [CHAIR, ClassTexts(('roof',), ('gate',))])


def test_in_each_round_a_class_goes_by_another_text():
    texts = embed_texts(ENCODER, [CHAIR, ClassTexts(('door', 'gate'), ())])
    found = {
        called: [names.argmax(1).tolist() for names in rounds]
        for called, rounds in vocabularies(texts).items()
    }
    assert found == {NAMES: [[0, 3]], TRAINED: [[1, 4]], HELD_OUT: [[2, 3]]}
