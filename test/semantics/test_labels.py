import numpy as np

from concerto_ros.semantics import SCANNET20, make_labels, palette


def test_scannet_has_twenty_classes_after_unknown():
    assert len(SCANNET20.names) == 21
    assert SCANNET20.names[0] == 'unknown'
    assert SCANNET20.names[1] == 'wall'
    assert SCANNET20.names[20] == 'otherfurniture'
    assert SCANNET20.colors.shape == (21, 3)
    assert SCANNET20.colors.dtype == np.uint8
    assert SCANNET20.colors[5].tolist() == [188, 189, 34]
    assert SCANNET20.vocabulary == 'scannet20'


def test_color_depends_on_the_name_alone():
    first, second = palette(['mug', 'chair']), palette(['lamp', 'mug'])
    assert first[0].tolist() == second[1].tolist() == [58, 100, 241]
    assert first[0].tolist() != first[1].tolist()
    assert len(np.unique(palette([f'thing {i}' for i in range(100)]), axis=0)) == 100


def test_no_names_have_no_colors():
    assert palette([]).shape == (0, 3)
    labels = make_labels('nothing', [])
    assert labels.names == ('unknown',)
    assert labels.colors.tolist() == [[128, 128, 128]]


def test_unknown_comes_before_the_names():
    labels = make_labels('mine', ['mug'])
    assert labels.names == ('unknown', 'mug')
    assert labels.colors[1].tolist() == palette(['mug'])[0].tolist()
