"""Scenes in tar shards give the samples that they give as files."""

import json
import tarfile

import numpy as np
import pytest
import wids

from concerto_ros.errors import SourceError
from training.config import DataConfig
from training.datasets.layout import SceneWriter, read_split, write_split
from training.datasets.open_scenes import open_scenes
from training.datasets.patch_grid import PatchGrid
from training.datasets.samples import SceneDataset
from training.datasets.shard_writer import main, write_shards
from training.datasets.shards import read_shards
from training.image_encoders.file_digests import FileDigests

GRID = PatchGrid(image_size=8, patch_size=4)


@pytest.fixture
def split(tmp_path):
    """Return the split of three scenes with 5, 1 and no images: four samples."""
    rng = np.random.default_rng(0)
    root = tmp_path / 'rooms'
    for number, num_images in enumerate((5, 1, 0)):
        with SceneWriter(root, 'train', f'Room.{number}') as writer:
            coord, label = rng.normal(size=(9, 3)), np.arange(9)
            writer.write_cloud(coord, 20 * np.abs(coord), coord, {'segment20': label})
            for image in range(num_images):
                picture = rng.integers(0, 255, (12, 8, 3)).astype(np.uint8)
                rows = np.stack([np.arange(8), np.arange(8), np.arange(8)], axis=1)
                writer.write_image(f'{image}.5', picture, rows, np.eye(3), np.eye(4))
    return write_split(root, 'train', [f'Room.{number}' for number in range(3)])


def assert_same_samples(one, two):
    assert len(one) == len(two) == 4
    for index in (3, 0, 2, 1, 0):
        a, b = (d.read(index, np.random.default_rng(index)) for d in (one, two))
        assert a.name == b.name
        for name in ('coord', 'color', 'normal', 'images'):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        for name in ('point', 'image', 'patch'):
            np.testing.assert_array_equal(getattr(a.links, name), getattr(b.links, name))


@pytest.mark.parametrize('scenes_per_shard', [1, 2, 9])
def test_shards_give_the_samples_of_the_files(split, tmp_path, scenes_per_shard):
    out = tmp_path / 'shards/rooms-train'
    write_shards(split, out, scenes_per_shard)
    files = SceneDataset(read_split(split), GRID, max_images=3)
    data = DataConfig(splits=f'{out}-*.tar', max_images=3)
    assert_same_samples(files, open_scenes(data, GRID))
    assert len(list(out.parent.glob('*.tar'))) == -(-3 // scenes_per_shard)


def test_an_image_in_a_shard_is_known_by_its_bytes_too(split, tmp_path):
    write_shards(split, tmp_path / 'rooms', 2)
    digests = FileDigests(tmp_path / 'digests')
    packed, files = read_shards(f'{tmp_path}/rooms-*.tar'), read_split(split)
    found = [[digests.of(file) for file in samples[0].images] for samples in (packed, files)]
    assert found[0] == found[1]
    (tmp_path / 'rooms-000000.tar').unlink()
    with pytest.raises(SourceError, match=r'rooms-000000\.tar/.* cannot be read'):
        digests.of(packed[0].images[0])


def test_the_library_reads_them_too(split, tmp_path):
    index = write_shards(split, tmp_path / 'all', 2)
    scenes = wids.ShardListDataset(str(index), cache_dir=str(tmp_path), transformations=[])
    assert len(scenes) == 3
    assert np.load(scenes[2]['.segment20.npy']).tolist() == list(range(9))
    assert '.image000004.jpg' in scenes[0]


def test_the_same_split_gives_the_same_bytes(split, tmp_path):
    for name in ('a', 'b'):
        write_shards(split, tmp_path / name, 9)
    assert (tmp_path / 'a-000000.tar').read_bytes() == (tmp_path / 'b-000000.tar').read_bytes()


def inodes(folder):
    return {path.name: path.stat().st_ino for path in folder.glob('*.tar')}


def test_packing_goes_on_where_it_stopped(split, tmp_path):
    out = tmp_path / 'shards/rooms'
    image = read_split(split)[2].images[0]  # of the second scene
    away = image.rename(tmp_path / 'away.jpg')
    with pytest.raises(FileNotFoundError):
        write_shards(split, out, 1)
    before = inodes(out.parent)
    assert before.keys() == {'rooms-000000.tar'}
    with pytest.raises(SourceError, match='no index of shards'):
        read_shards(f'{out}-*.tar')
    away.rename(image)
    write_shards(split, out, 1)
    after = inodes(out.parent)
    assert len(after) == 3
    assert before.items() <= after.items()
    assert_same_samples(
        SceneDataset(read_split(split), GRID, 3),
        SceneDataset(read_shards(f'{out}-*.tar'), GRID, 3),
    )


def test_only_shards_whose_scenes_changed_are_packed_anew(split, tmp_path):
    out = tmp_path / 'shards/rooms'
    index = write_shards(split, out, 1)
    before, content = inodes(out.parent), index.read_bytes()
    assert write_shards(split, out, 1).read_bytes() == content
    assert inodes(out.parent) == before
    np.save(read_split(split)[2].cloud / 'segment200.npy', np.arange(9))
    shard = tmp_path / 'shards/rooms-000002.tar'
    shard.write_bytes(shard.read_bytes()[:600])
    write_shards(split, out, 1)
    after = inodes(out.parent)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {'rooms-000001.tar', 'rooms-000002.tar'}
    with tarfile.open(tmp_path / 'shards/rooms-000001.tar') as tar:
        assert '000000.segment200.npy' in tar.getnames()


def test_what_an_earlier_packing_left_is_removed(split, tmp_path):
    write_shards(split, tmp_path / 'x', 1)
    (tmp_path / 'x-000000.tar.ab.unfinished').touch()
    for other in ('x-y-000005.tar', 'x-000005.tar.txt', 'xx-000005.tar'):
        (tmp_path / other).touch()
    write_shards(split, tmp_path / 'x', 2)
    assert {path.name for path in tmp_path.glob('x*')} == {
        'x-000000.tar', 'x-000001.tar', 'x-index.json', 'x-y-000005.tar', 'x-000005.tar.txt',
        'xx-000005.tar',
    }  # fmt: skip


def test_scenes_may_share_images(split, tmp_path):
    samples = json.loads(split.read_text())
    for kind in ('images', 'correspondences'):
        samples['Room.1_0'][kind] += samples['Room.0_0'][kind][1:3]
    split.write_text(json.dumps(samples))
    write_shards(split, tmp_path / 'x', 2)
    files = SceneDataset(read_split(split), GRID, 4)
    assert_same_samples(files, SceneDataset(read_shards(f'{tmp_path}/x-*.tar'), GRID, 4))


def test_shards_are_copied_once_to_a_cache(split, tmp_path):
    out = tmp_path / 'far/rooms'
    write_shards(split, out, 1)
    cache = tmp_path / 'near'
    near = SceneDataset(read_shards(f'file://{out}-*.tar', str(cache)), GRID, 3)
    assert len(list(cache.iterdir())) == 1  # the index
    files = SceneDataset(read_split(split), GRID, 3)
    near.read(0, np.random.default_rng(0))
    assert len(list(cache.iterdir())) == 2  # and the shard that was needed
    assert_same_samples(files, near)
    for path in out.parent.iterdir():
        path.unlink()
    again = SceneDataset(read_shards(f'file://{out}-*.tar', str(cache)), GRID, 3)
    assert_same_samples(files, again)
    with pytest.raises(SourceError, match=r'gone-index\.json cannot be copied to'):
        read_shards(f'file://{tmp_path}/gone-*.tar', str(cache))


def test_missing_and_damaged_shards_are_told(split, tmp_path):
    with pytest.raises(SourceError, match=r'none-index\.json is no index.*shard_writer'):
        read_shards(str(tmp_path / 'none-*.tar'))
    out = tmp_path / 'rooms'
    index = write_shards(split, out, 1)
    for number, content in enumerate([None, b'', b'x' * 700]):
        shard = tmp_path / f'rooms-{number:06d}.tar'
        shard.unlink() if content is None else shard.write_bytes(content)
    damaged = SceneDataset(read_shards(f'{out}-*.tar'), GRID, 3)
    for sample, number in ((0, 0), (2, 1), (3, 2)):
        with pytest.raises(SourceError, match=f'rooms-00000{number}.tar.*no shard'):
            damaged.read(sample, np.random.default_rng(0))
    index.write_text(json.dumps({'shardlist': [], 'samples': [{'shard': 0}]}))
    with pytest.raises(SourceError, match='no index of shards'):
        read_shards(f'{out}-*.tar')


def test_a_shard_that_was_cut_off_is_told(split, tmp_path):
    out = tmp_path / 'rooms'
    write_shards(split, out, 9)
    shard = tmp_path / 'rooms-000000.tar'
    with tarfile.open(shard) as tar:
        end = tar.getmember('000000.image000001.jpg').offset_data + 40
    shard.write_bytes(shard.read_bytes()[:end])
    with pytest.raises(SourceError, match=r'000000\.image000001\.jpg is no image'):
        SceneDataset(read_shards(f'{out}-*.tar'), GRID, 4).read(0, np.random.default_rng(0))


def test_the_command_packs_a_split(split, tmp_path, capsys):
    assert main([str(split), str(tmp_path / 'x'), '--scenes-per-shard', '2']) == 0
    said = capsys.readouterr()
    assert said.out == f"2 shards of 3 scenes; name them 'data.splits={tmp_path}/x-*.tar'\n"
    assert said.err == ''  # the bar is for terminals
    assert {path.name for path in tmp_path.glob('x-*')} == {
        'x-000000.tar',
        'x-000001.tar',
        'x-index.json',
    }
    with pytest.raises(SystemExit, match='2'):
        main([str(tmp_path / 'no.json'), str(tmp_path / 'y')])
    assert 'no list of samples' in capsys.readouterr().err
    with pytest.raises(SystemExit, match='2'):
        main([str(split), str(tmp_path / 'y'), '--scenes-per-shard', '0'])
    assert 'expected a number of at least 1, got 0' in capsys.readouterr().err
