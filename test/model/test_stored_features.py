import pytest
import torch

from concerto_ros.errors import CheckpointError
from concerto_ros.model import StoredFeatures, stored_features
from concerto_ros.semantics import QueryScores, Rivals, Translator


def pyramid_of(tiny_model, random_points):
    return tiny_model()(random_points((300, 40)))


@torch.inference_mode()
def test_a_linear_map_is_that_of_the_pyramid(tiny_model, random_points, monkeypatch):
    pyramid = pyramid_of(tiny_model, random_points)
    weight, bias = torch.randn(6, pyramid.num_channels), torch.randn(6)
    expected = pyramid.linear(weight, bias)
    stored = StoredFeatures(pyramid)
    assert stored.num_points == 340
    scale = expected.norm(dim=1).max()
    torch.testing.assert_close(stored.linear(weight, bias), expected, atol=3e-4 * scale, rtol=0)
    at_once = stored.linear(weight, bias)
    monkeypatch.setattr(stored_features, '_MAX_NUMBERS', 64)  # a few rows at a time
    torch.testing.assert_close(stored.linear(weight, bias), at_once)


@torch.inference_mode()
def test_a_cosine_by_pulling_the_text_back_is_exact_to_1e_3(tiny_model, random_points):
    pyramid = pyramid_of(tiny_model, random_points)
    translator = Translator(
        weight=torch.randn(32, pyramid.num_channels), bias=torch.randn(32), text_encoder='toy'
    )
    vectors = pyramid.upcast().double() @ translator.weight.double().t() + translator.bias
    text = torch.randn(5, 32)
    expected = torch.cosine_similarity(vectors[:, None], text.double()[None], dim=2)
    features = StoredFeatures(pyramid)
    found = translator.scores(features, text, translator.norms(features))
    assert (found - expected).abs().max() < 1e-3
    query, nothing = text[:1], Rivals(names=(), text_embedding=torch.zeros(0, 32))
    probability = QueryScores(translator, features).probability('x', query, nothing)
    assert (2 * probability - 1 - expected[:, 0]).abs().max() < 1e-3


@torch.inference_mode()
def test_numbers_beyond_float16_are_scaled(tiny_model, random_points):
    pyramid = pyramid_of(tiny_model, random_points)
    pyramid.levels[2].feat.mul_(1e7)
    weight, bias = torch.randn(3, pyramid.num_channels), torch.zeros(3)
    expected = pyramid.linear(weight, bias)
    found = StoredFeatures(pyramid).linear(weight, bias)
    torch.testing.assert_close(found, expected, atol=1e-3 * float(expected.abs().max()), rtol=0)


@torch.inference_mode()
def test_it_takes_two_bytes_a_number_and_four_a_link(tiny_model, random_points):
    pyramid = pyramid_of(tiny_model, random_points)
    numbers = sum(level.feat.numel() for level in pyramid.levels)
    links = sum(len(level.inverse) for level in pyramid.levels[1:])
    assert StoredFeatures(pyramid).num_bytes == 2 * numbers + 4 * links


def test_maps_of_another_width_are_refused(tiny_model, random_points):
    stored = StoredFeatures(pyramid_of(tiny_model, random_points))
    with pytest.raises(CheckpointError, match='expected a linear map from'):
        stored.linear(torch.zeros(1, 3), torch.zeros(1))
