import pytest
import torch

from concerto_ros.errors import CheckpointError
from concerto_ros.model import StoredFeatures, stored_features
from concerto_ros.model.stored_features import StoredLevel
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
@pytest.mark.parametrize('largest', [1.0, 1e7])
def test_lengths_are_those_of_the_rows_of_the_map(tiny_model, random_points, monkeypatch, largest):
    pyramid = pyramid_of(tiny_model, random_points)
    pyramid.levels[0].feat.mul_(largest)
    pyramid.levels[2].feat.mul_(largest)
    stored = StoredFeatures(pyramid)
    weight, bias = torch.randn(32, pyramid.num_channels), torch.randn(32)
    expected = stored.linear(weight, bias).norm(dim=1)
    torch.testing.assert_close(stored.lengths(weight, bias), expected, rtol=1e-4, atol=0)
    monkeypatch.setattr(stored_features, '_MAX_NUMBERS', 64)  # a few rows at a time
    torch.testing.assert_close(stored.lengths(weight, bias), expected, rtol=1e-4, atol=0)
    alone = StoredFeatures.of_levels(stored.levels[:1])
    weight = weight[:, : alone.levels[0].feat.shape[1]]
    expected = alone.linear(weight, bias).norm(dim=1)
    torch.testing.assert_close(alone.lengths(weight, bias), expected, rtol=1e-4, atol=0)


@torch.inference_mode()
def test_a_translator_takes_the_short_way_to_norms(tiny_model, random_points, monkeypatch):
    stored = StoredFeatures(pyramid_of(tiny_model, random_points))
    channels = sum(level.feat.shape[1] for level in stored.levels)
    widest = max(level.feat.shape[1] for level in stored.levels)
    weight, bias = torch.randn(4 * widest, channels), torch.randn(4 * widest)
    expected = stored.linear(weight, bias).norm(dim=1)
    product, rows = StoredLevel.product, []
    monkeypatch.setattr(
        StoredLevel, 'product', lambda level, part: rows.append(len(part)) or product(level, part)
    )
    found = Translator(weight=weight, bias=bias, text_encoder='toy').norms(stored)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)
    assert max(rows) <= widest  # no vector of the text space


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
    with pytest.raises(CheckpointError, match='expected a linear map from'):
        stored.lengths(torch.zeros(1, 3), torch.zeros(1))


@torch.inference_mode()
@pytest.mark.parametrize('largest', [1.0, 1e7])
def test_taken_and_joined_features_are_those_of_their_points(tiny_model, random_points, largest):
    first = StoredFeatures(pyramid_of(tiny_model, random_points))
    pyramid = pyramid_of(tiny_model, random_points)
    pyramid.levels[1].feat.mul_(largest)
    second = StoredFeatures(pyramid)
    rows = torch.randperm(340)[:100]
    weight, bias = (
        torch.randn(3, sum(level.feat.shape[1] for level in first.levels)),
        torch.ones(3),
    )
    taken = first.take(rows)
    assert taken.num_bytes < first.num_bytes
    torch.testing.assert_close(taken.linear(weight, bias), first.linear(weight, bias)[rows])
    found = taken.joined(second).linear(weight, bias)
    if largest == 1.0:
        torch.testing.assert_close(found[:100], first.linear(weight, bias)[rows])
    torch.testing.assert_close(found[100:], second.linear(weight, bias))
