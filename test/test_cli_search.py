"""`concerto search` on the map of a synthetic room, and on everything that can go wrong."""

import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from concerto_ros.cli import main
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.io.bag_writer import write_bag
from concerto_ros.model import StoredFeatures
from concerto_ros.model.stored_features import StoredLevel
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.search.object_search import SearchPoints
from concerto_ros.semantic_map.reader import MapReader
from concerto_ros.semantics import Translator
from concerto_ros.storage import MapFeatures, MapFolder, SavedMap
from concerto_ros.visualization.ply import read_ply

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


@pytest.fixture(scope='module')
def old_room(room, weights, tmp_path_factory):
    """Return a map of version 2, one point of which has features."""
    translator = Translator.load(weights['semantics.translator'])
    row = np.zeros(2, np.int64)
    points = SearchPoints(
        coord=np.float32([[0, 0, 0], [1, 1, 1]]), grid_coord=np.array([[0, 0, 0], [50, 50, 50]]),
        num_views=row, first_seen_ns=row, last_seen_ns=row, label=row.astype(np.uint16),
        names=('unknown', 'lamp'), voxel_size=0.02,
    )  # fmt: skip
    level = StoredLevel(torch.ones(1, 192).half(), 1.0, torch.empty(0, dtype=torch.int32))
    features = MapFeatures(
        stored=StoredFeatures.of_levels([level]), cell=np.int32([0, -1]), backbone='0' * 16,
        translator=translator, vocabulary=('lamp',),
    )  # fmt: skip
    path = tmp_path_factory.mktemp('old') / 'map.safetensors'
    SavedMap(
        points=points, color=np.zeros((2, 3), np.uint8), normal=np.zeros((2, 3), np.float16),
        frame_id='map', features=features,
        settings={'semantics.text_encoder': weights['semantics.text_encoder']},
    ).save(path)  # fmt: skip
    return path


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
    expected = MapReader.open(room / 'map').search('blue chair')
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
    for path in (room, room / 'map'):
        assert main(['search', str(path), 'lamp']) == 0
        (room / 'search.png').unlink()


def test_a_map_of_version_2_is_searched(old_room, capsys):
    for path in (old_room, old_room.parent):
        assert main(['search', str(path), 'lamp']) == 0
        assert '50% of the map observed' in capsys.readouterr().out
        (old_room.parent / 'search.png').unlink()


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
    assert_one_line(search('lamp', folder=tmp_path / 'empty'), 'empty is no map', 'manifest.json')
    assert main(['search', str(tmp_path / 'absent/map'), 'lamp']) == 2
    assert 'absent/map: there is no such map' in capsys.readouterr().err
    cut = shutil.copytree(room, tmp_path / 'cut')
    chunk = next((cut / 'map/chunks').iterdir())
    chunk.write_bytes(chunk.read_bytes()[:-100])
    assert_one_line(search('lamp', folder=cut), f'{chunk.name} is missing or damaged')


def test_an_old_map_that_cannot_be_read_ends_in_one_sentence(old_room, search, tmp_path):
    cut = tmp_path / 'cut.safetensors'
    cut.write_bytes(old_room.read_bytes()[:-10])
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


def test_inspect_tells_what_a_map_holds(room, capsys):
    assert main(['inspect', str(room / 'map')]) == 0
    out, manifest = capsys.readouterr().out, MapFolder.open(room / 'map').manifest
    assert main(['inspect', str(room)]) == 0
    assert capsys.readouterr().out == out
    assert 'kind        map of version 3 in frame map, save 1' in out
    num_voxels = sum(chunk.num_voxels for chunk in manifest.chunks.values())
    assert f'{num_voxels:,} voxels of 0.02 m in {len(manifest.chunks)} chunks' in out
    sizes = dict(re.findall(r'^([a-z_0-9]+) +([0-9.]+) MB', out, re.MULTILINE))
    levels = {f'features_{level}' for level in range(5)}
    assert {'voxels', 'cells', 'translator', 'headers'} | levels == set(sizes)
    total = sum((room / 'map' / entry.file).stat().st_size for entry in manifest.files())
    assert sum(map(float, sizes.values())) == pytest.approx(total / 1e6, abs=0.05)
    assert 'labels      unknown, wall, chair, lamp' in out
    assert f'backbone    {manifest.info.backbone}' in out
    assert 'encoder     vocabulary:' in out


def test_inspect_names_a_damaged_chunk(room, tmp_path, capsys):
    cut = shutil.copytree(room, tmp_path / 'cut')
    chunk = next((cut / 'map/chunks').iterdir())
    chunk.write_bytes(chunk.read_bytes()[:-100])
    assert main(['inspect', str(cut)]) == 2
    assert f'{chunk.name} is missing or damaged' in capsys.readouterr().err


def test_inspect_tells_what_an_old_map_holds(old_room, capsys):
    assert main(['inspect', str(old_room)]) == 0
    out = capsys.readouterr().out
    assert 'kind        map of 2 points in frame map' in out
    assert f'features    of 1 points, by the backbone of weights {"0" * 16}' in out
    assert 'logit_scale' not in out


def test_export_writes_the_points_of_a_map(room, tmp_path, capsys):
    assert main(['export', str(room), str(tmp_path / 'a.ply')]) == 0
    ours, mapped = read_ply(tmp_path / 'a.ply'), read_ply(room / 'map.ply')
    assert len(ours) == len(mapped)
    order, other = np.lexsort(ours.coord.T), np.lexsort(mapped.coord.T)
    np.testing.assert_array_equal(ours.coord[order], mapped.coord[other])
    np.testing.assert_array_equal(ours.language_label[order], mapped.language_label[other])
    assert f'{len(ours):,} points' in capsys.readouterr().out
    assert main(['export', str(room), str(tmp_path / 'a.xyz')]) == 2
    assert 'ending in .ply' in capsys.readouterr().err
