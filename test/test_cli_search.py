"""`concerto search` on the map of a synthetic room, and on everything that can go wrong."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from concerto_ros.cli import main
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.io.bag_writer import write_bag
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.semantics import Translator
from concerto_ros.storage import MapSearch, SavedMap

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)


@pytest.fixture(scope='module')
def weights(tiny_weights):
    return tiny_weights()


@pytest.fixture(scope='module')
def room(weights, tmp_path_factory):
    """Return the folder of a map that `concerto map` made."""
    folder = tmp_path_factory.mktemp('searched')
    write_bag(folder / 'bag', list(SyntheticRoom(3).frames(6, camera=CAMERA)))
    settings = {**weights, 'map.device': 'cpu', 'depth.stride': 2, 'search.min_size': 0.04}
    command = ['map', str(folder / 'bag'), '-o', str(folder / 'map')]
    assert main([*command, *(f'{name}={value}' for name, value in settings.items())]) == 0
    return folder / 'map'


@pytest.fixture
def search(room, tmp_path, capsys):
    """Return search(text, ...): run the command, return exit code, stdout and stderr."""

    def run(*texts, folder=room):
        capsys.readouterr()
        code = main(['search', str(folder), '-o', str(tmp_path / 'a.png'), *texts])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def assert_one_line(answer, *parts):
    code, _, err = answer
    assert code == 2
    assert len(err.splitlines()) == 1
    assert err.startswith('concerto: ')
    for part in parts:
        assert part in err


def test_the_table_lists_what_the_map_answers(room, search, tmp_path):
    code, out, err = search('the blue_chair\x1b')
    expected, _ = MapSearch(SavedMap.load(room)).search('blue chair')
    lines = out.splitlines()
    assert (code, err) == (0, '')
    assert lines[0] == '"blue chair"  FOUND  100% of the map observed'
    assert lines[1].split()[:3] == ['label', 'score', 'center']
    assert len(expected.objects) > 0
    for rank, (line, hit) in enumerate(zip(lines[2:], expected.objects, strict=False), start=1):
        assert line.split()[:3] == [str(rank), hit.label, f'{hit.score:.2f}']
        assert ' '.join(f'{v:6.2f}' for v in hit.center) in line
        assert ' x '.join(f'{v:.2f}' for v in hit.box.size) in line
        assert f' {hit.num_points:,} ' in line
    assert lines[2 + len(expected.objects) :] == [f'written  {tmp_path / "a.png"}', '']


def test_each_text_gets_a_picture_of_its_own(search, tmp_path):
    code, out, _ = search('lamp', 'wall')
    assert code == 0
    assert sorted(f.name for f in tmp_path.iterdir()) == ['a_1.png', 'a_2.png']
    first, second = (Image.open(tmp_path / name) for name in ('a_1.png', 'a_2.png'))
    assert first.size == second.size == (1600, 800)
    assert (np.asarray(first) != np.asarray(second)).any(axis=2).mean() > 0.02
    assert out.count('written') == 2


def test_a_text_that_is_given_twice_is_answered_once(search, tmp_path):
    code, out, _ = search('lamp', 'the lamp', ' lamp')
    assert (code, out.count('"lamp"')) == (0, 1)
    assert [f.name for f in tmp_path.iterdir()] == ['a.png']


def test_what_is_answered_is_shown_before_the_next_text_fails(search, tmp_path):
    code, out, err = search('lamp', 'sofa')
    assert code == 2
    assert "'sofa' is not among the 4 words" in err
    assert out.startswith('"lamp"  ')
    assert out.endswith(f'written  {tmp_path / "a_1.png"}\n\n')
    assert [f.name for f in tmp_path.iterdir()] == ['a_1.png']


def test_the_help_says_what_is_replaced_and_which_language_is_read(capsys):
    with pytest.raises(SystemExit, match='0'):
        main(['search', '--help'])
    text = ' '.join(capsys.readouterr().out.split())
    assert 'Pictures of an earlier search are replaced.' in text
    assert 'the default language model reads English' in text


def test_the_picture_lies_beside_the_map_unless_it_is_named(room):
    assert main(['search', str(room / 'map.safetensors'), 'lamp']) == 0
    assert (room / 'search.png').is_file()


def test_options_are_those_of_the_service(search):
    code, out, _ = search('lamp', '--max-results', '1', '--min-score', '0.01', 'wall')
    assert code == 0
    assert out.count('\n  1 ') == 2
    assert not re.search(r'^ +2  ', out, re.MULTILINE)
    code, out, _ = search('lamp', '--max-results', '500', '--min-score', '0.01')
    assert code == 0
    assert re.search(r'^ +2  ', out, re.MULTILINE)


def test_a_region_outside_of_the_map_is_unobserved(search):
    code, out, _ = search('lamp', '--region', '100,100,0,101,101,2')
    assert code == 0
    assert '"lamp"  UNOBSERVED  0% of the region observed\n  Nothing fits so far' in out


def test_what_is_nowhere_is_absent(search):
    code, out, _ = search('lamp', '--min-score', '1')
    assert code == 0
    assert '"lamp"  ABSENT  100% of the map observed\n  Nothing that has been' in out


@pytest.mark.parametrize(
    ('texts', 'parts'),
    [
        ([''], ['the query is empty']),
        (['\x00\x1b'], ["'\\x00\\x1b' has no word"]),
        (['x' * 10_000], ['has 10000 characters']),
        (['sofa'], ["'sofa' is not among the 4 words of test space"]),
        (['lamp', '--region', '1,2,3'], ['--region must be six numbers', "'1,2,3'"]),
        (['lamp', '--region', '1,1,1,0,0,0'], ['the region is empty']),
        (['lamp', '--region', '0,0,0,nan,1,1'], ['three finite numbers']),
        (['lamp', '--max-results=-1'], ['max_results of 0 (as configured) or more, got -1']),
        (['lamp', '--min-score', '7'], ['min_score between 0 and 1, got 7']),
        (['lamp', '--translator', 'absent.pth'], ['absent.pth', 'no such file']),
        (['lamp', '--text-encoder', 'clip'], ["'open_clip:MODEL/PRETRAINED'", "'clip'"]),
        (['sofa', '-o', 'a.jpg'], ['ending in .png', "'a.jpg'"]),  # said before the search
        (['sofa', '-o', 'absent/a.png'], ["no folder 'absent' to write 'a.png' to: create it"]),
    ],
)
def test_a_question_that_cannot_be_answered_ends_in_one_sentence(search, tmp_path, texts, parts):
    assert_one_line(search(*texts), *parts)
    assert list(tmp_path.iterdir()) == []


def test_a_translator_of_another_backbone_ends_in_one_sentence(weights, search, tmp_path):
    own = Translator.load(weights['semantics.translator'])
    other = Translator(
        weight=own.weight, bias=torch.ones(8), text_encoder=own.text_encoder, backbone='0' * 16
    )
    other.save(tmp_path / 'other.pth')
    assert_one_line(
        search('lamp', '--translator', str(tmp_path / 'other.pth')),
        'trained on the backbone of weights 0000000000000000',
    )


def test_a_map_that_cannot_be_read_ends_in_one_sentence(room, search, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    assert_one_line(search('lamp', folder=tmp_path / 'empty'), 'map.safetensors', 'no such map')
    assert main(['search', str(tmp_path / 'absent/map'), 'lamp']) == 2
    assert 'absent/map: there is no such map' in capsys.readouterr().err
    cut = tmp_path / 'cut.safetensors'
    cut.write_bytes((room / 'map.safetensors').read_bytes()[:-100])
    assert_one_line(search('lamp', folder=cut), 'cut.safetensors is damaged')


def test_a_map_without_weights_cannot_be_searched(room, search, tmp_path):
    bag = room.parent / 'bag'
    settings = ('map.voxel_size=0.1', 'semantics.checkpoint=')
    assert main(['map', str(bag), '-o', str(tmp_path / 'bare'), *settings]) == 0
    assert_one_line(search('lamp', folder=tmp_path / 'bare'), 'this map has no features')


def test_a_text_is_asked_for(room, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['search', str(room)])
    assert 'TEXT' in capsys.readouterr().err
    with pytest.raises(SystemExit, match='2'):
        main(['search', str(room), 'lamp', '--fast'])
    assert 'unknown option --fast' in capsys.readouterr().err


def test_inspect_tells_what_a_map_holds(room, weights, capsys):
    assert main(['inspect', str(room / 'map.safetensors')]) == 0
    out, points = capsys.readouterr().out, SavedMap.load(room).points
    assert main(['inspect', str(room)]) == 0
    assert capsys.readouterr().out == out
    assert f'kind        map of {len(points):,} points in frame map' in out
    assert 'labels      unknown, wall, chair, lamp' in out
    assert f'features    of {len(points):,} points, by the backbone of weights ' in out
    assert weights['semantics.translator'] in out.replace('\n' + ' ' * 12, '')
    assert 'encoder     test space' in out
    assert 'logit_scale' not in out
