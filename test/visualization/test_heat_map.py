import dataclasses

import numpy as np
import pytest
from PIL import Image

from concerto_ros.errors import MapFileError
from concerto_ros.structures import Box, ObjectHit, SearchResult
from concerto_ros.visualization.heat_map import HeatScene, heat_colors, heat_picture

HIT = ObjectHit(
    id='cup_1', label='cup', score=0.87, center=np.array([0.5, 0.5, 0.1]), num_points=5,
    box=Box(center=np.array([0.5, 0.5, 0.1]), size=np.full(3, 0.2), yaw=0.3),
    num_views=1, first_seen_ns=0, last_seen_ns=1,
)  # fmt: skip
FOUND = SearchResult(
    verdict='found', objects=(HIT,), observed_share=0.75, calibrated=True, text_encoder='a space'
)
ABSENT = SearchResult(verdict='absent', observed_share=1.0)


def scene(region=None, n=20):
    """A black floor of 1 m, 5 cm voxels."""
    x, y = (v.ravel() for v in np.meshgrid(np.arange(0, 1, 0.05)[:n], np.arange(0, 1, 0.05)[:n]))
    return HeatScene(
        coord=np.stack([x, y, 0 * x], 1).astype(np.float32),
        color=np.zeros((len(x), 3), np.uint8),
        normal=np.repeat(np.array([[0, 0, 1.0]], np.float32), len(x), axis=0),
        voxel_size=0.05,
        min_score=0.5,
        region=region,
    )


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_colours_grow_darker_and_redder_with_probability():
    white = np.full((11, 3), 255, np.uint8)
    color = heat_colors(np.linspace(0, 1, 11), white).astype(int)
    np.testing.assert_array_equal(color[0], (206, 209, 213))
    np.testing.assert_array_equal(color[-1], (112, 8, 60))
    brightness = color @ (0.299, 0.587, 0.114)
    assert (np.diff(brightness[2:]) < 0).all()
    unknown = heat_colors(np.array([np.nan]), white[:1])[0].astype(int)
    assert (np.abs(color - unknown).max(axis=1) > 20).all()


def test_dark_things_stay_recognisable_where_they_are_cold():
    color = np.array([[0, 0, 0], [255, 255, 255]] * 2, np.uint8)
    dark_cold, cold, dark_hot, hot = heat_colors(np.array([0, 0, 1, 1.0]), color).astype(int)
    assert (cold - dark_cold).max() > 80
    assert (hot - dark_hot).max() < 30


def test_pictures_show_where_and_differ_between_queries(tmp_path, texts):
    where = scene()
    left = np.where(where.coord[:, 0] < 0.5, 0.75, 0.0)
    for name, probability in (('a', left), ('b', 0.75 - left)):
        heat_picture(tmp_path / f'{name}.png', where, probability, 'cup', ABSENT)
    a, b = (pixels(tmp_path / f'{name}.png') for name in 'ab')
    assert a.shape == (800, 1600, 3)
    red = (a[84:776, 24:1196, 0] - a[84:776, 24:1196, 1]) > 80
    assert 0.1 < red.mean() < 0.6
    assert (a != b).any(axis=2).mean() > 0.2
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.png', 'b.png']


def test_the_title_says_query_and_verdict_and_the_bar_its_scale(tmp_path, texts):
    probability = np.full(400, 0.2)
    probability[:100] = np.nan
    heat_picture(tmp_path / 'a.png', scene(), probability, 'blue cup', FOUND)
    assert {'“blue cup”', 'FOUND', '75% of the map observed, read by a space'} <= set(texts)
    assert {'probability', 'objects from 0.5', '0', '0.25', '0.5', '0.75', '1'} <= set(texts)
    assert {'not looked at yet  25%', '1  cup', 'cup  0.87'} <= set(texts)
    assert 'at (0.50, 0.50, 0.10), 0.20 x 0.20 x 0.20 m' in texts


def test_what_was_not_fitted_is_called_a_score_and_nothing_is_said_to_be_found(tmp_path, texts):
    heat_picture(tmp_path / 'a.png', scene(), np.zeros(400), 'cup', ABSENT)
    assert {'score', 'ABSENT', 'nothing found'} <= set(texts)
    assert not {'probability'} & set(texts)
    assert not any(t.startswith('not looked') for t in texts)


def test_a_region_is_outlined_where_it_lies_in_the_map(tmp_path, texts):
    step = scene().coord.copy()
    step[:, 2] = 0.4 * (step[:, 0] > 0.5)

    def drawn(region):
        where = dataclasses.replace(scene(region), coord=step)
        heat_picture(tmp_path / 'a.png', where, np.zeros(400), 'cup', ABSENT)
        return pixels(tmp_path / 'a.png')[84:776, 24:1196]

    everywhere = drawn(None)
    inner = drawn((np.array([0.2, 0.2, -1e12]), np.array([0.6, 0.6, 1e12])))
    assert 0.002 < (inner != everywhere).any(axis=2).mean() < 0.05
    assert '100% of the region observed, read by ' in texts
    assert (drawn((np.full(3, 100.0), np.full(3, 101.0))) == everywhere).all()


def test_an_empty_map_and_many_objects(tmp_path, texts):
    many = SearchResult(verdict='found', objects=(HIT,) * 500)
    heat_picture(tmp_path / 'a.png', scene(n=0), np.zeros(0), 'cup ' * 100, many)
    assert 'the map is empty' in texts
    assert 'and 490 more' in texts
    assert any(t.startswith('“cup cup') and t.endswith('…') for t in texts)


def test_another_extension_is_refused(tmp_path):
    with pytest.raises(MapFileError, match=r'ending in \.png'):
        heat_picture(tmp_path / 'a.jpg', scene(), np.zeros(400), 'cup', ABSENT)
