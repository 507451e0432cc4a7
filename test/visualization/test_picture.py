import numpy as np
import pytest
from PIL import Image

from concerto_ros.errors import MapFileError
from concerto_ros.structures import Box, Labels, MapCloud, ObjectHit
from concerto_ros.visualization.boxes import box_corners
from concerto_ros.visualization.picture import map_picture

LABELS = Labels(
    vocabulary='two things',
    names=('unknown', 'floor', 'wall'),
    colors=np.array([[128, 128, 128], [0, 200, 0], [0, 0, 200]], np.uint8),
)
NONE = Labels(vocabulary='', names=('unknown',), colors=np.array([[128, 128, 128]], np.uint8))


def corner(label=(1, 2)):
    """A floor and a wall of 1 m, 5 cm voxels; the floor is red."""
    a, b = (v.ravel() for v in np.meshgrid(np.arange(0, 1, 0.05), np.arange(0, 1, 0.05)))
    coord = np.concatenate([np.stack([a, b, 0 * a], 1), np.stack([a, 0 * a, b], 1)])
    n = len(coord)
    return MapCloud(
        coord=coord.astype(np.float32),
        color=np.repeat([[200, 0, 0], [90, 90, 90]], n // 2, axis=0).astype(np.uint8),
        normal=np.repeat([[0, 0, 1], [0, 1, 0]], n // 2, axis=0).astype(np.float32),
        label=np.repeat(label, n // 2).astype(np.uint16),
        confidence=np.ones(n, np.float32),
        language_label=np.zeros(n, np.uint16),
        language_confidence=np.zeros(n, np.float32),
    )


def empty():
    c = corner()
    return MapCloud(**{f: getattr(c, f)[:0] for f in MapCloud.__dataclass_fields__})


def hit(number, size=0.2):
    box = Box(center=np.array([0.5, 0.3, 0.2]), size=np.full(3, size), yaw=0.3)
    return ObjectHit(
        id=f'cup_{number}', label='a very long name of a cup that does not fit', score=0.9,
        center=box.center, box=box, num_points=5, num_views=1, first_seen_ns=0, last_seen_ns=1,
    )  # fmt: skip


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_labels_are_left_and_colours_right(tmp_path):
    map_picture(tmp_path / 'a.png', corner(), LABELS, voxel_size=0.05)
    image = pixels(tmp_path / 'a.png')
    assert image.shape == (800, 1600, 3)
    panel = image[90:640]
    green = (panel[..., 1] > 100) & (panel[..., 0] < 40) & (panel[..., 2] < 40)
    red = (panel[..., 0] > 100) & (panel[..., 1] < 40) & (panel[..., 2] < 40)
    assert green[:, :800].mean() > 0.05
    assert red[:, 800:].mean() > 0.05
    assert not green[:, 800:].any()
    assert not red[:, :800].any()
    assert [p.name for p in tmp_path.iterdir()] == ['a.png']


def test_the_title_and_the_legend_say_what_is_shown(tmp_path, texts):
    map_picture(tmp_path / 'a.png', corner(), LABELS, voxel_size=0.05)
    assert 'labels: two things' in texts
    assert {'floor  50%', 'wall  50%'} <= set(texts)
    assert any(t.startswith('Map: 800 points, 0.9 x 0.9 x 0.9 m') for t in texts)


def test_missing_weights_are_said_in_plain_words(tmp_path, texts):
    map_picture(tmp_path / 'a.png', corner(label=(0, 0)), NONE, voxel_size=0.05)
    assert 'labels: unknown (no trained weights loaded)' in texts
    assert 'unknown  100%' in texts


def test_a_label_without_a_name_is_shown_by_its_number(tmp_path, texts):
    map_picture(tmp_path / 'a.png', corner(label=(1, 9)), LABELS, voxel_size=0.05)
    assert 'label 9  50%' in texts


def test_an_empty_map_gives_a_picture_that_says_so(tmp_path, texts):
    map_picture(tmp_path / 'a.png', empty(), LABELS, answers={'cup': hit(1)})
    assert 'the map is empty' in texts
    assert pixels(tmp_path / 'a.png').shape == (800, 1600, 3)


def test_objects_are_outlined_numbered_and_listed(tmp_path, texts):
    map_picture(tmp_path / 'a.png', corner(), LABELS, voxel_size=0.05)
    plain = pixels(tmp_path / 'a.png')
    texts.clear()
    answers = {f'{i} a very long name of a thing to look for': hit(i) for i in range(12)}
    map_picture(tmp_path / 'a.png', corner(), LABELS, answers=answers, voxel_size=0.05)
    changed = (pixels(tmp_path / 'a.png') != plain).any(axis=2)
    assert changed[90:640, :800].any()
    assert changed[90:640, 800:].any()
    assert any(t.startswith('1  0 a very') and t.endswith('…') for t in texts)
    assert sum('0.90  at (0.50, 0.30, 0.20) m' in t for t in texts) == 7
    assert 'and 5 more' in texts


def test_an_object_outside_of_the_picture_is_only_listed(tmp_path, texts):
    answers = {'cup': hit(0, size=50.0)}
    map_picture(tmp_path / 'a.png', corner(), LABELS, answers=answers, voxel_size=0.05)
    assert not any(t.startswith('1  cup') for t in texts)
    assert any('at (0.50' in t for t in texts)


def test_what_is_not_there_is_listed_in_words(tmp_path, texts):
    answers = {'cup': hit(0), 'an elephant': 'not there', 'a lamp': hit(1)}
    map_picture(tmp_path / 'a.png', corner(), LABELS, answers=answers, voxel_size=0.05)
    assert 'an elephant  not there' in texts
    numbers = [text for text in texts if text in {'1', '2', '3'}]
    assert numbers == ['1', '2']


def test_many_labels_end_in_a_count_of_the_rest(tmp_path, texts):
    c = corner()
    many = MapCloud(**{f: getattr(c, f) for f in MapCloud.__dataclass_fields__ if f != 'label'},
                    label=(np.arange(len(c)) % 40).astype(np.uint16))  # fmt: skip
    map_picture(tmp_path / 'a.png', many, LABELS, voxel_size=0.05)
    assert 'and 25 more' in texts


def test_other_extension_and_missing_folder_are_refused(tmp_path):
    with pytest.raises(MapFileError, match=r'ending in \.png'):
        map_picture(tmp_path / 'a.jpg', empty(), NONE)
    with pytest.raises(MapFileError, match='no folder'):
        map_picture(tmp_path / 'no' / 'a.png', empty(), NONE)


def test_corners_of_a_turned_box():
    box = Box(center=np.array([1.0, 0, 0]), size=np.array([2.0, 1, 4]), yaw=np.pi / 2)
    corners = box_corners(box)
    np.testing.assert_allclose(corners.min(axis=0), (0.5, -1, -2), atol=1e-12)
    np.testing.assert_allclose(corners.max(axis=0), (1.5, 1, 2), atol=1e-12)
    np.testing.assert_allclose(corners[0], (1.5, -1, -2), atol=1e-12)
