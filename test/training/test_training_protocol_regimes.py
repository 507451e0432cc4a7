"""Which scenes and which of their labels there are to learn from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from concerto_ros.errors import ConfigError
from training.protocol.config import RegimesSection
from training.protocol.regimes import Regime, Regimes

ROOMS = [f'data/s3dis/Area_{area}/{room}' for area in (1, 2) for room in ('office', 'hall')]
ROOMS.append('data/s3dis/Area_2/lobby')
SEGMENT = np.zeros(100, np.int64)


def regimes(seed=0, **changes):
    return Regimes(RegimesSection(**changes), ROOMS, seed)


def test_rooms_of_the_same_name_are_told_apart_by_their_area():
    found = regimes(scene_shares='1.0', points_per_scene='3')
    for number in range(5):
        found.keep(SEGMENT, 3, number)
    names = ['Area_1/office', 'Area_1/hall', 'Area_2/office', 'Area_2/hall', 'lobby']
    assert found.lists()['scenes']['1'] == names
    points = found.lists()['points']['3']
    assert list(points) == names
    assert points['Area_1/office'] != points['Area_2/office']


def test_lists_name_scenes_as_far_as_they_are_told_apart(tmp_path):
    (tmp_path / '40.txt').write_text('Area_2/office\nlobby\ns3dis/Area_1/hall\n')
    pattern = str(tmp_path / '{percent}.txt')
    found = regimes(scene_shares='0.4', scene_list=pattern)
    assert found.scenes(Regime(0.4, 0)) == [1, 2, 4]
    (tmp_path / '40.txt').write_text('lobby\noffice\n')
    with pytest.raises(ConfigError, match='named office: list them as Area_1/office, Area_2/of'):
        regimes(scene_shares='0.4', scene_list=pattern)
    torch.save({'hall': np.array([1])}, tmp_path / 'points')
    with pytest.raises(ConfigError, match='several scenes are named hall'):
        regimes(points_per_scene='1', point_list=str(tmp_path / 'points'))


def test_points_of_a_list_are_those_of_the_room(tmp_path):
    points = {room: np.array([n], np.int32) for n, room in enumerate(ROOMS, start=6)}
    torch.save(points, tmp_path / 'points')
    found = regimes(points_per_scene='1', point_list=str(tmp_path / 'points'))
    kept = [np.flatnonzero(found.keep(SEGMENT, 1, number) >= 0).tolist() for number in (1, 3)]
    assert kept == [[7], [9]]


@pytest.mark.parametrize(('listed', 'sentence'), [
    ('lobby\nelsewhere\nnowhere\n', '1 of 3 listed scenes are in data.train: elsewhere is not, '),
    ('', '0 of 0 listed scenes are in data.train: choose the list that was made for its scenes'),
])  # fmt: skip
def test_a_list_of_other_scenes_is_refused(tmp_path, listed, sentence):
    (tmp_path / '40.txt').write_text(listed)
    with pytest.raises(ConfigError, match=sentence):
        regimes(scene_shares='0.4', scene_list=str(tmp_path / '{percent}.txt'))


def test_a_list_of_another_number_of_points_is_refused(tmp_path):
    path = str(tmp_path / 'points')
    torch.save({room: np.arange(20 - n) for n, room in enumerate(ROOMS)}, path)
    regimes(points_per_scene='20', point_list=path)  # some scenes may have fewer
    with pytest.raises(ConfigError, match=r'has 20 points of a scene, and .* names 21: choose'):
        regimes(points_per_scene='21', point_list=path)
    torch.save({room: np.arange(20) for room in ROOMS[:3]}, path)
    with pytest.raises(ConfigError, match=r'no points of 2 of 5 scenes in data.train, such'):
        regimes(points_per_scene='20', point_list=path)


@pytest.mark.parametrize('content', [b'', b'<html>not found</html>', b'PK\x03\x04cut off'])
def test_what_is_no_list_of_points_is_told_in_a_sentence(tmp_path, content):
    (tmp_path / 'points').write_bytes(content)
    with pytest.raises(ConfigError, match=r'benchmark gives it: download it again$'):
        regimes(points_per_scene='20', point_list=str(tmp_path / 'points'))


def test_a_list_of_points_is_never_run(tmp_path):
    torch.save({'lobby': Path('x')}, tmp_path / 'points')  # an object of a foreign class
    with pytest.raises(ConfigError, match=r'download it again$'):
        regimes(points_per_scene='20', point_list=str(tmp_path / 'points'))


def test_another_seed_draws_other_scenes_and_points():
    first, other = (regimes(seed, scene_shares='0.4', points_per_scene='5') for seed in (0, 1))
    assert first.scenes(Regime(0.4, 0)) != other.scenes(Regime(0.4, 0))
    assert first.keep(SEGMENT, 5, 0).tolist() != other.keep(SEGMENT, 5, 0).tolist()
