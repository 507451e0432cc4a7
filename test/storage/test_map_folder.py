"""A map is saved chunk by chunk, and comes back whole or not at all."""

import json
import os
import shutil

import numpy as np
import pytest
import torch

from concerto_ros.errors import MapFileError
from concerto_ros.storage.chunk_file import checksum
from concerto_ros.storage.manifest import Manifest, MapInfo
from concerto_ros.storage.map_folder import MapFolder, is_single_file
from concerto_ros.storage.map_writer import Chunk, Content, MapWriter, WeightsFile
from concerto_ros.storage.page_files import PageFiles
from concerto_ros.weights_file import read_weights, write_weights

T = np.array([[0, -1, 0, 1.5], [1, 0, 0, -2], [0, 0, 1, 0.25], [0, 0, 0, 1]])
INFO = MapInfo(
    frame_id='map',
    voxel_size=0.02,
    settings={
        'map.voxel_size': 0.02,
        'map.device': 'cpu',
        'depth.stride': 2,
        'semantics.on': True,
    },
    backbone='0123',
    text_encoder='vocabulary:möbel.npz',
    label_tables={'names': ('unknown', 'chair')},
    vocabulary=('lamp',),
    submaps={0: np.eye(4), 12: T},
    first_seen_ns=1_700_000_000_123_456_789,
    last_seen_ns=1_700_000_000_223_456_789,
    header={'scales': [1.0, 0.5]},
)


def chunks(revisions):
    """Return chunks that hold their key and revision."""
    return {
        key: Chunk(revision, lambda key=key, revision=revision: Content(3, content(key, revision)))
        for key, revision in revisions.items()
    }


def content(key, revision):
    return {'key': np.full(3, key), 'revision': np.full((3, 2), revision, dtype=np.int32)}


def stored(folder):
    """Return the revision in the file of each chunk."""
    return {key: int(folder.read(key)['revision'][0, 0]) for key in folder.chunks}


def files(path):
    return sorted(p.name for p in path.glob('*/*.safetensors'))


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'map'


@pytest.fixture
def saved(path):
    with MapWriter(path) as writer:
        writer.save(INFO, chunks({0: 4, 2**62 + 3: 1}), {'translator': WeightsFile('d', weights)})
    return path


def weights(file):
    write_weights(file, {'dim': 2}, {'weight': torch.eye(2)})


def test_a_map_comes_back_as_it_was_saved(saved):
    folder = MapFolder.open(saved)
    for name in MapInfo.__dataclass_fields__:
        if name != 'submaps':
            assert getattr(folder.info, name) == getattr(INFO, name), name
    assert folder.info.submaps.keys() == INFO.submaps.keys()
    np.testing.assert_array_equal(folder.info.submaps[12], T)
    assert stored(folder) == {0: 4, 2**62 + 3: 1}
    assert folder.chunks[0].num_voxels == 3
    config, tensors = read_weights(folder.weights('translator'))
    assert (config, tensors['weight'].tolist()) == ({'dim': 2}, [[1, 0], [0, 1]])
    folder.verify()


def test_a_map_of_nothing_comes_back(path):
    with MapWriter(path) as writer:
        assert writer.save(MapInfo(frame_id='', voxel_size=1), {}) == (0, 0)
    assert not MapFolder.open(path).chunks


def test_only_changed_chunks_are_written(path):
    with MapWriter(path) as writer:
        writer.save(INFO, chunks({1: 1, 2: 1, 3: 1}))
        before = {name: (path / 'chunks' / name).stat().st_ino for name in files(path)}
        refused = Chunk(1, lambda: pytest.fail('an unchanged chunk was asked for'))
        written = writer.save(INFO, {1: refused, **chunks({2: 2, 4: 1})})
    folder = MapFolder.open(path)
    assert stored(folder) == {1: 1, 2: 2, 4: 1}
    size = sum(folder.chunks[key].size for key in (2, 4))
    assert written == (2, size)
    assert len(files(path)) == 3
    kept = before.keys() & set(files(path))
    assert [before[name] for name in kept] == [(path / 'chunks' / n).stat().st_ino for n in kept]
    assert len(kept) == 1


def test_weights_are_written_when_their_digest_changes(path):
    asked = []
    write = {'translator': lambda file: asked.append(file) or weights(file)}
    with MapWriter(path) as writer:
        for digest in ('a', 'a', 'b'):
            writer.save(INFO, {}, {name: WeightsFile(digest, w) for name, w in write.items()})
        assert len(asked) == 2
        assert len(files(path)) == 1
        writer.save(INFO, {})
    assert not files(path)


def test_another_map_replaces_all(saved):
    with MapWriter(saved) as writer:
        assert stored(MapFolder.open(saved)) == {0: 4, 2**62 + 3: 1}, 'until the first save'
        assert writer.save(INFO, chunks({0: 4, 5: 1})).num_chunks == 2, (
            'the revision means nothing'
        )
    assert stored(MapFolder.open(saved)) == {0: 4, 5: 1}
    assert len(files(saved)) == 2


def test_a_map_that_goes_on_is_not_written_again(saved):
    loaded = MapFolder.open(saved)
    with MapWriter(saved, continues=loaded) as writer:
        assert writer.save(INFO, chunks({0: 5, 2**62 + 3: 1})).num_chunks == 1
    with MapWriter(saved, continues=loaded) as writer:  # is not that map any more
        assert writer.save(INFO, chunks({0: 5, 2**62 + 3: 1})).num_chunks == 2
    assert stored(MapFolder.open(saved)) == {0: 5, 2**62 + 3: 1}


def test_a_loaded_map_pages_from_its_links_while_it_is_saved_anew(saved, tmp_path):
    folder, pages = MapFolder.open(saved), PageFiles(tmp_path)
    for key, entry in folder.chunks.items():
        pages.adopt(key, entry.at(saved))
    with MapWriter(saved) as writer:
        writer.save(INFO, {0: Chunk(4, lambda: Content(3, pages.get(0)))})
    assert int(pages.get(2**62 + 3)['revision'][0, 0]) == 1
    pages.close()
    assert stored(MapFolder.open(saved)) == {0: 4}


def test_one_writer_at_a_time(path):
    with MapWriter(path), pytest.raises(MapFileError, match='being written by another process'):
        MapWriter(path)
    MapWriter(path).close()


def test_another_process_may_not_write_at_the_same_time(path):
    told, tell = os.pipe()
    writer = MapWriter(path)
    child = os.fork()
    if not child:
        try:
            MapWriter(path)
        except MapFileError as err:
            os.write(tell, str(err).encode())
        os._exit(0)
    os.waitpid(child, 0)
    writer.close()
    assert os.read(told, 1000).decode().startswith(f'{path} is being written by another process')
    os.close(told)
    os.close(tell)


def test_a_closed_folder_is_free_while_a_fork_lives(path):
    end, hold = os.pipe()
    writer = MapWriter(path)
    child = os.fork()
    if not child:
        os.close(hold)
        os.read(end, 1)
        os._exit(0)
    writer.close()
    MapWriter(path).close()
    os.close(hold)
    os.waitpid(child, 0)
    os.close(end)


def test_a_reader_is_told_when_the_map_was_saved_anew(saved):
    folder, gone = MapFolder.open(saved), 2**62 + 3
    folder.read(0)
    with MapWriter(saved) as writer:
        writer.save(INFO, chunks({0: 9}))
    with pytest.raises(MapFileError, match='saved anew while it was read: open it again'):
        folder.read(gone)


def test_what_a_killed_save_left_is_deleted(saved):
    left = ['chunks/0000000000000000.00000002.safetensors', 'manifest.json.tmp']
    left += ['weights/translator.00000002.safetensors.tmp']
    others = ['notes.txt', 'chunks/notes.txt', 'weights/model.safetensors']
    for name in [*left, *others]:
        (saved / name).write_text('')
    MapWriter(saved).close()
    assert [name for name in left if (saved / name).exists()] == []
    assert [name for name in others if (saved / name).exists()] == others
    MapFolder.open(saved).verify()


def test_files_of_a_map_without_manifest_stay_until_a_map_is_saved(saved):
    (saved / 'manifest.json').rename(saved / 'manifest.json.bak')
    before = files(saved)
    with MapWriter(saved) as writer:
        assert files(saved) == before
        writer.save(INFO, chunks({0: 4}))
    assert len(files(saved)) == 1
    assert stored(MapFolder.open(saved)) == {0: 4}


@pytest.mark.parametrize('name', ['chunks/*', 'weights/*'])
def test_damage_of_a_file_is_named(saved, name):
    (path, *_) = sorted(saved.glob(name))
    data = path.read_bytes()
    for damaged in (data[:-1], data[:-1] + b'~', None):
        path.write_bytes(damaged) if damaged else path.unlink()
        with pytest.raises(MapFileError, match=f'{path} is missing or damaged.*restore'):
            MapFolder.open(saved).verify()


def test_a_whole_chunk_is_verified_once(saved):
    folder = MapFolder.open(saved)
    folder.read(0)
    path = saved / folder.chunks[0].file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    folder.read(0)
    with pytest.raises(MapFileError, match='wrong checksum'):
        MapFolder.open(saved).read(0)


def test_a_flipped_bit_of_the_manifest_is_told(saved):
    path = saved / 'manifest.json'
    data = path.read_bytes()
    for place in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(MapFileError, match=str(path)):
            Manifest.read(saved)


def test_a_truncated_manifest_is_told(saved):
    path = saved / 'manifest.json'
    data = path.read_bytes()
    for length in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(MapFileError, match=f'{path} is missing or damaged'):
            MapFolder.open(saved)


def change(folder, changes):
    """Write values into a manifest, as an attacker would: with a checksum that is right."""
    path = folder / 'manifest.json'
    manifest = json.loads(path.read_text())
    for name, value in changes.items():
        *above, last = name.split('/')
        place = manifest
        for step in above:
            place = place[step]
        place[last] = value
    rest = {k: v for k, v in manifest.items() if k not in ('format', 'version', 'checksum')}
    summed = json.dumps(rest, sort_keys=True, separators=(',', ':'))
    path.write_text(json.dumps({**manifest, 'checksum': checksum(summed.encode())}))


CHUNK = 'chunks/0000000000000000'
ENTRY = {'file': f'{CHUNK}.00000001.safetensors', 'size': 1, 'checksum': '0' * 8}


@pytest.mark.parametrize(
    'changes',
    [
        {f'{CHUNK}/file': '../../etc/passwd'},
        {f'{CHUNK}/file': '/etc/passwd'},
        {f'{CHUNK}/file': f'{CHUNK}.00000001.safetensors/../../../x.00000001.safetensors'},
        {f'{CHUNK}/file': 'chunks/0000000000000001.00000001.safetensors'},
        {f'{CHUNK}/file': 'weights/translator.00000001.safetensors'},
        {f'{CHUNK}/file': f'{CHUNK}.00000001.safetensors\n'},
        {f'{CHUNK}/file': 3},
        {f'{CHUNK}/size': -1},
        {f'{CHUNK}/size': 2**70},
        {f'{CHUNK}/size': True},
        {f'{CHUNK}/checksum': 'x'},
        {f'{CHUNK}/revision': 1.5},
        {f'{CHUNK}/num_voxels': None},
        {CHUNK: []},
        {'chunks': []},
        {'chunks': {'../x': {**ENTRY, 'revision': 1, 'num_voxels': 1}}},
        {'chunks': {'f' * 16: {**ENTRY, 'revision': 1, 'num_voxels': 1}}},
        {'weights/translator/file': 'weights/../translator.00000001.safetensors'},
        {'weights': {'../x': {**ENTRY, 'digest': ''}}},
        {'weights/translator/digest': 5},
        {'number': 0},
        {'frame_id': ['map']},
        {'voxel_size': '0.02'},
        {'voxel_size': 0},
        {'settings': {'a': [1]}},
        {'label_tables': {'names': 'unknown'}},
        {'vocabulary': [1]},
        {'submaps': {'0': [[1, 0], [0, 1]]}},
        {'submaps': {'0': (2 * np.eye(4)).tolist()}},
        {'submaps': {'0': np.diag([1, 1, -1, 1]).tolist()}},
        {'submaps': {'-1': np.eye(4).tolist()}},
        {'submaps': {'a': np.eye(4).tolist()}},
        {'submaps': {'0': None}},
        {'last_seen_ns': 1e18},
        {'header': []},
        {'version': '3'},
        {'version': 2},
        {'version': True},
    ],
    ids=str,
)
def test_a_manifest_is_not_believed(saved, changes):
    change(saved, {})
    MapFolder.open(saved).verify()
    change(saved, changes)
    with pytest.raises(MapFileError, match=r'manifest.json is missing or damaged \(.+\): restore'):
        MapFolder.open(saved)


def test_no_number_of_a_manifest_is_infinite(saved):
    path = saved / 'manifest.json'
    for number in ('NaN', 'Infinity', '1e999', '9' * 5000):
        path.write_text(path.read_text().replace('0.02', number))
        with pytest.raises(MapFileError, match='missing or damaged'):
            MapFolder.open(saved)
    path.write_text('[' * 100_000)
    with pytest.raises(MapFileError, match='missing or damaged'):
        MapFolder.open(saved)


def test_a_newer_map_is_refused_and_kept(saved):
    change(saved, {'version': 4})
    told = 'of version 4, and this concerto_ros reads maps up to version 3: update concerto_ros'
    with pytest.raises(MapFileError, match=told):
        MapFolder.open(saved)
    before = files(saved)
    with pytest.raises(MapFileError, match=f'choose another folder: .*{told}'):
        MapWriter(saved)
    assert files(saved) == before


def test_a_damaged_map_is_not_saved_over(saved):
    (saved / 'manifest.json').write_text('{}')
    before = files(saved)
    for _ in range(2):  # also the second time: the lock is given back
        with pytest.raises(MapFileError, match='nothing is saved over a map that cannot be read'):
            MapWriter(saved)
    assert files(saved) == before


def test_a_map_of_version_2_is_recognised(saved, tmp_path):
    file = tmp_path / 'old' / 'map.safetensors'
    file.parent.mkdir()
    file.write_bytes(b'')
    assert is_single_file(file)
    assert is_single_file(file.parent)
    for path in (file, file.parent):
        with pytest.raises(MapFileError, match=r'of version 2, one file, .* map the place again'):
            MapFolder.open(path)
    shutil.copy(file, saved)
    assert not is_single_file(saved), 'the newer map counts'
    assert not is_single_file(tmp_path / 'missing.safetensors')


def test_what_is_no_map_is_told(tmp_path):
    (tmp_path / 'manifest.json').write_text('{"name": "web app"}')
    with pytest.raises(MapFileError, match='is not that of a map'):
        MapFolder.open(tmp_path)
    with pytest.raises(MapFileError, match='there is no such map'):
        MapFolder.open(tmp_path / 'missing')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(MapFileError, match=r'holds a manifest\.json'):
        MapFolder.open(tmp_path / 'empty')


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / 'map').write_text('')
    with pytest.raises(MapFileError, match='map is a file, and a map is a folder: choose another'):
        MapWriter(tmp_path / 'map')
    with pytest.raises(MapFileError, match='cannot be written'):
        MapWriter(tmp_path / 'map' / 'below')


@pytest.fixture
def nobody(tmp_path):
    """Be a user who may read, but not write."""
    tmp_path.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)
    tmp_path.chmod(0o755)


@pytest.mark.parametrize('name', ['map', 'map/below', '.'])
def test_a_folder_without_permission_is_told(tmp_path, nobody, name):
    with pytest.raises(MapFileError, match='writing is not permitted, so change the permissions'):
        MapWriter(tmp_path / name)


@pytest.mark.parametrize('name', ['.', 'manifest.json'])
def test_a_map_that_may_not_be_read_is_told(saved, request, name):
    (saved / name).chmod(0)
    request.getfixturevalue('nobody')
    with pytest.raises(MapFileError, match=rf'{saved}.*Permission denied'):
        MapFolder.open(saved)


def test_a_full_disk_leaves_the_map_that_was_saved_before(path):
    with MapWriter(path) as writer:
        writer.save(INFO, chunks({1: 1, 2: 1}))
        before = files(path)
        (path / 'manifest.json.tmp').symlink_to('/dev/full')
        with pytest.raises(MapFileError, match=f'{path}: the disk is full, so free space'):
            writer.save(INFO, chunks({1: 2, 2: 1}))
        assert stored(MapFolder.open(path)) == {1: 1, 2: 1}
        assert files(path) == before
        (path / 'manifest.json.tmp').unlink()
        assert writer.save(INFO, chunks({1: 2, 2: 1})).num_chunks == 1
    assert stored(MapFolder.open(path)) == {1: 2, 2: 1}


def test_a_save_that_ends_when_the_manifest_is_replaced_keeps_the_new_map(path, monkeypatch):
    replace = os.replace

    def interrupted(source, target):
        replace(source, target)
        raise KeyboardInterrupt

    with MapWriter(path) as writer:
        writer.save(INFO, chunks({1: 1, 2: 1}))
        with monkeypatch.context() as patch:
            patch.setattr('os.replace', interrupted)
            with pytest.raises(KeyboardInterrupt):
                writer.save(INFO, chunks({1: 2, 2: 1}))
        assert stored(MapFolder.open(path)) == {1: 2, 2: 1}
        writer.save(INFO, chunks({1: 3, 2: 1}))
    assert stored(MapFolder.open(path)) == {1: 3, 2: 1}
    assert len(files(path)) == 2


def test_a_chunk_that_cannot_be_had_leaves_the_map_that_was_saved_before(path):
    def fail():
        raise KeyError('gone')

    with MapWriter(path) as writer:
        writer.save(INFO, chunks({1: 1}))
        with pytest.raises(KeyError, match='gone'):
            writer.save(INFO, {**chunks({1: 2}), 2: Chunk(1, fail)})
        with pytest.raises(ValueError, match='no name of a chunk'):
            writer.save(INFO, chunks({1: 2, -1: 1}))
        with pytest.raises(ValueError, match='no name of a chunk or of weights'):
            writer.save(INFO, {}, {'../x': WeightsFile('', weights)})
        assert stored(MapFolder.open(path)) == {1: 1}
        assert len(files(path)) == 1
