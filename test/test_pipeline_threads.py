"""What of a search other threads may do: reading its text before, finding objects after."""

import pytest

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import SearchError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.semantic_map import trained_weights
from concerto_ros.semantics import load_text_encoder
from concerto_ros.semantics.text_encoder.remembering import RememberingEncoder

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)


class Watched:
    """An encoder that notes what it was asked."""

    def __init__(self, encoder):
        self.name, self.dim, self.templates = encoder.name, encoder.dim, encoder.templates
        self.encoder, self.asked = encoder, []

    def encode(self, texts):
        self.asked += texts
        return self.encoder.encode(texts)


@pytest.fixture
def watched(tiny_weights, monkeypatch):
    """Return a labelled map of a room, and the encoder below its memory."""
    weights = tiny_weights()
    encoder = Watched(load_text_encoder(weights['semantics.text_encoder']))
    monkeypatch.setattr(
        trained_weights,
        'load_text_encoder',
        lambda _: RememberingEncoder(encoder),
    )
    pipeline = PerceptionPipeline(
        build(ConcertoConfig, {'map.device': 'cpu', 'depth.stride': 2, **weights})
    )
    for frame in SyntheticRoom(3).frames(3, camera=CAMERA):
        pipeline.integrate(frame)
    pipeline.update_semantics()
    return pipeline, encoder


def test_a_search_that_has_begun_needs_the_map_no_more(watched):
    pipeline, _ = watched
    expected = pipeline.search('lamp', min_score=0.01)
    search = pipeline.begin_search('lamp', min_score=0.01)
    pipeline.reset()
    result = search(min_score=0.01)
    assert result.objects
    assert [(o.num_points, o.score) for o in result.objects] == [
        (o.num_points, o.score) for o in expected.objects
    ]
    assert result.text_encoder == expected.text_encoder == 'test space'


def test_texts_that_were_read_are_not_read_again_by_a_search_or_a_new_vocabulary(watched):
    pipeline, encoder = watched
    pipeline.read(['blue chair', 'lamp'])
    read = len(encoder.asked)
    assert 'blue chair' in encoder.asked
    pipeline.search('blue chair')
    pipeline.relabel(['lamp', 'blue chair'])
    # what the model does not know cannot be remembered, such as most of the background here
    known = {'wall', 'chair', 'blue chair', 'lamp'}
    assert not known.intersection(encoder.asked[read:])


def test_what_cannot_be_read_is_told(watched):
    pipeline, _ = watched
    with pytest.raises(SearchError, match='teapot'):
        pipeline.read(['lamp', 'teapot'])
    with pytest.raises(SearchError, match='no language model'):
        PerceptionPipeline(build(ConcertoConfig, {'semantics.checkpoint': ''})).read(['lamp'])
