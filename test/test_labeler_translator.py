"""A translator is loaded with the backbone and the text encoder it was trained for, or not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import CheckpointError
from concerto_ros.labeler import Labeler
from concerto_ros.model import load_checkpoint, weights_digest
from concerto_ros.semantics import Translator


@pytest.fixture
def load(tiny_weights, tmp_path):
    """Return a function that loads the tiny weights with the translator changed."""

    def load_with(settings=None, **changes):
        weights = tiny_weights()
        path = tmp_path / 'translator.safetensors'
        replace(Translator.load(weights['semantics.translator']), **changes).save(path)
        values = {**weights, 'semantics.translator': str(path), **(settings or {})}
        return Labeler(build(ConcertoConfig, values).semantics, torch.device('cpu'))

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
