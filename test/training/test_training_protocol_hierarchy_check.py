"""What an encoder may not give."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from concerto_ros.errors import ConcertoError, ConfigError
from training.protocol.hierarchy import Hierarchy, Level
from training.protocol.hierarchy_check import check_encoder, check_hierarchy

CELLS = torch.tensor([[0, 0, 0], [1, 0, 2]])
CPU = torch.device('cpu')
SCENE = SimpleNamespace(name='scene', coord=np.float32([[-9, -9, -9], [-4, -5, -6]]))
MINE = {'name': 'mine', 'num_channels': (4, 4), 'last': 1, 'facts': {'parameters': 3}}


class Encoder(SimpleNamespace):
    def __call__(self, scene):
        pass


def encoder(**changes):
    return Encoder(**{**MINE, **changes})


def level(name, **changes):
    values = {'feat': torch.zeros(2, 4), 'coord': CELLS, 'stride': 2.5, **changes}
    return Level(name=name, **values)


def of_levels(*levels):
    origin = torch.zeros(3, dtype=torch.float64)
    return Hierarchy(levels=levels, voxel_size=0.02, origin=origin)


def hierarchy(name='a', **changes):
    """Return cells and places; changes are those of the level of cells."""
    places = level('b', coord=torch.rand(2, 3) - 9, stride=None)
    return of_levels(level(name, **changes), places)


def test_cells_and_places_are_accepted():
    check_hierarchy(hierarchy(), encoder(), SCENE, CPU)
    check_hierarchy(hierarchy(feat=torch.zeros(2, 4).half(), stride=1), encoder(), SCENE, CPU)
    check_hierarchy(hierarchy(feat=torch.zeros(0, 4), coord=CELLS[:0]), encoder(), SCENE, CPU)
    check_encoder(encoder(), 'python:mine:make')


@pytest.mark.parametrize(('changes', 'sentence'), [
    ({'feat': torch.zeros(2)}, r'feat must be an \(M, C\) float tensor, found \(2,\) of torch.fl'),
    ({'feat': torch.zeros(2, 4).long()}, r'feat must be an \(M, C\) float tensor'),
    ({'feat': np.zeros((2, 4))}, r'feat must be an \(M, C\) float tensor, found ndarray'),
    ({'feat': torch.zeros(3, 4)}, r'coord must be a \(3, 3\) tensor, a row for .* found \(2, 3'),
    ({'feat': torch.zeros(2, 4, device='meta')}, 'feat lies on meta: put it on cpu'),
    ({'coord': CELLS.to('meta')}, 'coord lies on meta: put it on cpu'),
    ({'coord': CELLS.numpy()}, r'coord must be a \(2, 3\) tensor, .* found ndarray'),
    ({'feat': torch.tensor([[0.0], [math.nan]])}, 'feat is not finite in 1 of 2 rows: check the '
     'weights$'),
    ({'coord': CELLS.float()}, r'coord must be int64 cells, found \(2, 3\) of torch.float32'),
    ({'coord': CELLS.int()}, r'coord must be int64 cells, .*: convert them by .long'),
    ({'coord': CELLS - 1}, 'the least cell is -1: count cells from 0 on'),
    ({'stride': 0.5}, 'stride must be base voxels per cell, .* or None, found 0.5'),
    ({'stride': '2'}, "stride must be base voxels per cell, .* found '2'"),
    ({'stride': np.int64(2)}, 'stride must be base voxels per cell, an int or float'),
    ({'stride': None}, 'coord must be places .*: cells of a lattice need a stride'),
    ({'stride': None, 'coord': torch.full((2, 3), math.nan)}, 'coord has places that are not fin'),
])  # fmt: skip
def test_levels_that_cannot_be_read_are_refused(changes, sentence):
    with pytest.raises(ConcertoError, match=f'mine, scene: level "a": {sentence}'):
        check_hierarchy(hierarchy(**changes), encoder(), SCENE, CPU)


@pytest.mark.parametrize(('changes', 'sentence'), [
    ({'origin': [0.0, 0.0, 0.0]}, r'origin must be a \(3,\) finite float64 ten.* list'),
    ({'origin': torch.zeros(3)}, r'origin must be .* found \(3,\) of torch.float32'),
    ({'origin': torch.full((3,), math.nan).double()}, 'origin must be .* finite'),
    ({'voxel_size': 0.0}, 'voxel_size must be the edge of a base voxel'),
    ({'voxel_size': np.float32(0.02)}, r'voxel_size must be .*, a float, found .*0\.02'),
    ({'levels': ()}, r'gave levels of \(\) channels'),
    ({'levels': torch.zeros(2)}, r'must give a Hierarchy, whose levels .*, found \(2,\) of torch'),
    ({'levels': [(1, 2)]}, 'must give a Hierarchy, whose .* tuple of Level, found list of tuple'),
])  # fmt: skip
def test_frames_that_cannot_be_used_are_refused(changes, sentence):
    with pytest.raises(ConcertoError, match=f'mine, scene: {sentence}'):
        check_hierarchy(replace(hierarchy(), **changes), encoder(), SCENE, CPU)


def test_levels_are_those_that_the_encoder_tells_of():
    with pytest.raises(ConcertoError, match=r'gave levels of \(4, 4\) channels, but says \(4,\)'):
        check_hierarchy(hierarchy(), encoder(num_channels=(4,)), SCENE, CPU)
    with pytest.raises(ConcertoError, match='give each a name of its own'):
        check_hierarchy(hierarchy(name='b'), encoder(), SCENE, CPU)

    with pytest.raises(ConcertoError, match='give each a name of its own, a text'):
        check_hierarchy(hierarchy(name=1), encoder(), SCENE, CPU)


@pytest.mark.parametrize('given', [None, (torch.zeros(2, 4), CELLS)])
def test_what_is_no_hierarchy_is_named(given):
    told = 'NoneType' if given is None else 'tuple of Tensor, Tensor'
    with pytest.raises(ConcertoError, match=f'mine, scene: must give a Hierarchy, .* {told}: '):
        check_hierarchy(given, encoder(), SCENE, CPU)


def test_levels_are_finest_first_but_may_be_as_fine_as_the_one_before():
    fine, same, coarse = (level(name, stride=s) for name, s in (('a', 1), ('b', 1), ('c', 2.5)))
    places = level('d', coord=torch.zeros(2, 3) - 9, stride=None)
    of_four = encoder(num_channels=(4,) * 4)
    check_hierarchy(of_levels(fine, same, coarse, places), of_four, SCENE, CPU)
    check_hierarchy(of_levels(places, fine, same, coarse), of_four, SCENE, CPU)
    cause = 'level "b" of stride 1 comes after "c" of stride 2.5: give levels finest first'
    with pytest.raises(ConcertoError, match=cause):
        check_hierarchy(of_levels(fine, coarse, places, same), of_four, SCENE, CPU)


def test_places_lie_in_the_scene_or_close_to_it():
    def places(shift):
        return hierarchy(stride=None, coord=torch.tensor([[-9.0, -9, -9], [-5, -5, -5]]) + shift)

    for shift in (0.0, 4.0, -4.0, torch.tensor([5.5, 0, 0])):
        check_hierarchy(places(shift), encoder(), SCENE, CPU)
    cause = (
        r'level "a": its places, \(0.0, -9.0, -9.0\) to \(4.0, -5.0, -5.0\), lie beside the '
        r'scene, \(-9.0, -9.0, -9.0\) to \(-4.0, -5.0, -6.0\): give them in the frame of the scene'
    )
    with pytest.raises(ConcertoError, match=cause):
        check_hierarchy(places(torch.tensor([9.0, 0, 0])), encoder(), SCENE, CPU)


def test_precision_is_blamed_where_it_is_lowered():
    broken = hierarchy(feat=torch.full((2, 4), math.inf))
    with pytest.raises(ConcertoError, match=r'2 of 2 rows: check the weights, and try run.prec'):
        check_hierarchy(broken, encoder(number_format='bf16'), SCENE, CPU)
    with pytest.raises(ConcertoError, match=r'2 of 2 rows: check the weights$'):
        check_hierarchy(broken, encoder(number_format='fp32'), SCENE, CPU)


@pytest.mark.parametrize(('changes', 'sentence'), [
    ({'name': None}, 'name must be a text, found NoneType'),
    ({'num_channels': 4}, 'num_channels must be a tuple of int, .* found 4'),
    ({'num_channels': ()}, r'num_channels must be a tuple of int, .* found \(\)'),
    ({'num_channels': (4, 0)}, 'num_channels must be a tuple of int'),
    ({'num_channels': (4, np.int64(4))}, 'num_channels must be a tuple of int'),
    ({'last': None}, 'last is None'),
    ({'facts': None}, 'its facts cannot be written as JSON'),
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
    with pytest.raises(ConfigError, match='the encoder, Encoder, has no last and no facts: give'):
        check_encoder(mine, 'python:mine:make')
    with pytest.raises(ConfigError, match='SimpleNamespace, has no __call__: give it'):
        check_encoder(SimpleNamespace(**MINE), 'python:mine:make')
    with pytest.raises(ConfigError, match='the encoder, NoneType, has no name and no num_ch'):
        check_encoder(None, 'python:mine:make')
