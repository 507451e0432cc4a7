"""What an encoder may not give."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from concerto_ros.errors import ConcertoError, ConfigError
from training.protocol.hierarchy import Hierarchy, Level
from training.protocol.hierarchy_check import check_encoder, check_hierarchy

CELLS = torch.tensor([[0, 0, 0], [1, 0, 2]])
MINE = {'name': 'mine', 'num_channels': (4, 4), 'last': 1, 'facts': {'parameters': 3}}


def encoder(**changes):
    return SimpleNamespace(**{**MINE, **changes})


def hierarchy(**changes):
    """Return cells and places; changes are those of the level of cells."""
    values = {'name': 'a', 'feat': torch.zeros(2, 4), 'coord': CELLS, 'stride': 2.5, **changes}
    places = Level(name='b', feat=torch.zeros(2, 4), coord=torch.rand(2, 3) - 9, stride=None)
    origin = torch.zeros(3, dtype=torch.float64)
    return Hierarchy(levels=(Level(**values), places), voxel_size=0.02, origin=origin)


def test_cells_and_places_are_accepted():
    check_hierarchy(hierarchy(), encoder(), 'scene')
    check_hierarchy(hierarchy(feat=torch.zeros(2, 4).half(), stride=1), encoder(), 'scene')
    check_hierarchy(hierarchy(feat=torch.zeros(0, 4), coord=CELLS[:0]), encoder(), 'scene')
    check_encoder(encoder(), 'python:mine:make')


@pytest.mark.parametrize(('changes', 'sentence'), [
    ({'feat': torch.zeros(2)}, r'feat must be \(M, C\) float, found \(2,\) of torch.float32'),
    ({'feat': torch.zeros(2, 4).long()}, r'feat must be \(M, C\) float'),
    ({'feat': torch.zeros(3, 4)}, r'coord must be \(3, 3\), a row for each of feat, found \(2, 3'),
    ({'coord': CELLS.float()}, r'coord must be int64 cells, found \(2, 3\) of torch.float32'),
    ({'coord': CELLS.int()}, r'coord must be int64 cells, .*: convert them by .long'),
    ({'coord': CELLS - 1}, 'the least cell is -1: count cells from 0 on'),
    ({'stride': 0.5}, 'stride must be base voxels per cell, from 1 on, or None, found 0.5'),
    ({'stride': None}, 'coord must be places .*: cells of a lattice need a stride'),
])  # fmt: skip
def test_levels_that_cannot_be_read_are_refused(changes, sentence):
    with pytest.raises(ConcertoError, match=f'mine, scene: level "a": {sentence}'):
        check_hierarchy(hierarchy(**changes), encoder(), 'scene')


@pytest.mark.parametrize(('changes', 'sentence'), [
    ({'origin': [0.0, 0.0, 0.0]}, r'origin must be a \(3,\) float64 tensor \[m\], found list'),
    ({'origin': torch.zeros(3)}, r'origin must be .* found \(3,\) of torch.float32'),
    ({'voxel_size': 0.0}, 'voxel_size must be the edge of a base voxel'),
])  # fmt: skip
def test_frames_that_cannot_be_used_are_refused(changes, sentence):
    with pytest.raises(ConcertoError, match=f'mine, scene: {sentence}'):
        check_hierarchy(replace(hierarchy(), **changes), encoder(), 'scene')


def test_levels_are_those_that_the_encoder_tells_of():
    with pytest.raises(ConcertoError, match=r'gave levels of \(4, 4\) channels, but says \(4,\)'):
        check_hierarchy(hierarchy(), encoder(num_channels=(4,)), 'scene')
    with pytest.raises(ConcertoError, match='give each a name of its own'):
        check_hierarchy(hierarchy(name='b'), encoder(), 'scene')


@pytest.mark.parametrize(('changes', 'sentence'), [
    ({'last': 2}, 'last is 2, but num_channels tells of 2 levels'),
    ({'last': -1}, 'last is -1'),
    ({'facts': {'file': Path('x')}}, 'its facts cannot be written as JSON .*: give texts'),
    ({'facts': {'mean': torch.zeros(1)}}, 'its facts cannot be written as JSON'),
])  # fmt: skip
def test_encoders_that_cannot_be_judged_are_refused(changes, sentence):
    with pytest.raises(ConfigError, match=f'python:mine:make: {sentence}'):
        check_encoder(encoder(**changes), 'python:mine:make')


def test_members_that_are_missing_are_named():
    mine = encoder()
    del mine.facts, mine.last
    with pytest.raises(ConfigError, match='the encoder has no last and no facts: give it'):
        check_encoder(mine, 'python:mine:make')
