"""A translator is loaded with the backbone and the text encoder it was trained for, or not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import BackendUnavailable, CheckpointError, SearchError
from concerto_ros.model import load_checkpoint, weights_digest
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.semantic_map.labeler import Labeler
from concerto_ros.semantic_map.trained_weights import TrainedWeights
from concerto_ros.semantics import ClassHead, Translator
from concerto_ros.semantics.text_encoder import sentence

CPU = torch.device('cpu')


def loaded(values):
    return Labeler(TrainedWeights.load(build(ConcertoConfig, values).semantics, CPU), CPU)


@pytest.fixture
def load(tiny_weights, tmp_path):
    """Return a function that loads the tiny weights with the translator changed."""

    def load_with(settings=None, **changes):
        weights = tiny_weights()
        path = tmp_path / 'translator.safetensors'
        replace(Translator.load(weights['semantics.translator']), **changes).save(path)
        values = {**weights, 'semantics.translator': str(path), **(settings or {})}
        return loaded(values)

    return load_with


def test_the_backbone_it_was_trained_on_is_accepted(load, tiny_weights):
    backbone, _ = load_checkpoint(tiny_weights()['semantics.checkpoint'])
    labeler = load(backbone=weights_digest(backbone))
    assert not any('translator' in notice for notice in labeler.notices)


def test_another_backbone_is_refused_with_the_cure(load):
    message = r'trained on the backbone of weights 0123, .* has \w{16}: load .* training.translate'
    with pytest.raises(CheckpointError, match=message):
        load(backbone='0123')


def test_a_file_that_does_not_tell_its_backbone_is_accepted_with_a_notice(load):
    assert 'does not say which backbone it was trained on' in load().notices[-1]


def test_another_text_encoder_is_refused_without_any_vocabulary(load, tmp_path):
    path = tmp_path / 'other.npz'
    np.savez(path, names=['wall'], embedding=np.eye(8)[:1], text_encoder='other space')
    settings = {
        'semantics.text_encoder': f'vocabulary:{path}', 'semantics.vocabulary': '',
        'semantics.head': '',
    }  # fmt: skip
    with pytest.raises(CheckpointError, match='trained for the text encoder test space'):
        load(settings)


def test_names_it_was_trained_with_are_the_vocabulary_unless_another_is_configured(load):
    trained = {'names': ('chair', 'lamp')}
    assert load({'semantics.vocabulary': ''}, **trained).language_labels.names[1:] == (
        'chair',
        'lamp',
    )
    assert load({'semantics.vocabulary': 'wall'}, **trained).language_labels.names[1:] == ('wall',)


def test_without_the_language_of_the_box_there_are_labels_and_the_cure_is_told(monkeypatch):
    absent = sentence._PACKAGES['all-MiniLM-L6-v2']._replace(module='no_such_package')
    monkeypatch.setitem(sentence._PACKAGES, 'all-MiniLM-L6-v2', absent)
    labeler = loaded({})
    assert len(labeler.labels.names) == 21
    assert 'pip install' in labeler.notices[-1]
    with pytest.raises(SearchError, match=r'no language model is loaded: .*pip install'):
        labeler.scores('chair')
    named = {'semantics.text_encoder': 'sentence:all-MiniLM-L6-v2'}
    with pytest.raises(BackendUnavailable, match='pip install'):
        loaded(named)


def test_a_head_of_another_backbone_is_refused_with_the_cure(tiny_weights, tmp_path):
    weights = tiny_weights()
    head = ClassHead.load(weights['semantics.head'])
    backbone, _ = load_checkpoint(weights['semantics.checkpoint'])
    path = tmp_path / 'head.safetensors'
    values = {**weights, 'semantics.head': str(path)}
    replace(head, backbone=weights_digest(backbone)).save(path)
    loaded(values)
    replace(head, backbone='0123').save(path)
    with pytest.raises(CheckpointError, match=r'backbone of weights 0123, .*training\.probe'):
        loaded(values)


def test_a_small_vocabulary_makes_no_answer_more_certain(tiny_weights, tmp_path):
    """What a query competes with are the names of the training, too."""
    weights = tiny_weights()
    path = tmp_path / 'translator.safetensors'
    translator = Translator.load(weights['semantics.translator'])
    replace(translator, names=('wall', 'chair', 'lamp')).save(path)
    values = {**weights, 'semantics.translator': str(path)}
    found = []
    for vocabulary in ('wall,chair,lamp', 'chair'):
        config = build(ConcertoConfig, {**values, 'semantics.vocabulary': vocabulary})
        pipeline = PerceptionPipeline(config)
        pipeline.integrate(next(iter(SyntheticRoom(3).frames(1))))
        pipeline.update_semantics()
        found.append(pipeline._labeler.scores('lamp'))
    torch.testing.assert_close(*found)
