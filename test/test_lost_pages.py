"""A page that is gone or damaged costs its part of the map, and nothing else."""

import pytest

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.errors import ConfigError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.map_saver import MapSaver
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.storage import MapFolder

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)


@pytest.fixture(scope='module')
def frame():
    return next(iter(SyntheticRoom(3).frames(6, camera=CAMERA)))


@pytest.fixture
def bare(frame):
    """Map without a network of which half of the chunks lie on the disk."""
    values = {'map.device': 'cpu', 'semantics.checkpoint': ''}
    pipeline = PerceptionPipeline(build(ConcertoConfig, values))
    pipeline.integrate(frame)
    for key in pipeline._map.chunks().key[::2].tolist():
        pipeline._paging.put(key)
    yield pipeline
    pipeline.close()


def save(pipeline, path):
    with MapSaver(path) as saver:
        saver.save(pipeline, 'map')


@pytest.mark.parametrize('first', ['a frame', 'a cloud', 'a save'])
def test_a_damaged_page_is_told_once_and_the_rest_goes_on(frame, bare, caplog, tmp_path, first):
    whole, key = bare.num_voxels, sorted(bare._paging.keys)[0]
    (page,) = bare._paging._files._folder.glob(f'{key:016x}.*')
    page.write_bytes(page.read_bytes()[:100])
    doings = {
        'a frame': lambda: bare._paging.bring([key], bare.config.semantics),
        'a cloud': bare.cloud,
        'a save': lambda: save(bare, tmp_path / 'map'),
    }
    doings[first]()
    for doing in doings.values():
        doing()
    assert 0 < len(bare.cloud()) == bare.num_voxels < whole
    (record,) = caplog.records
    assert record.message.startswith(f'{page} is missing or damaged')
    assert record.message.endswith(
        'its part of the map is lost; it is mapped again when it is seen'
    )
    assert bare._paging.num_lost == 1
    assert key not in MapFolder.open(tmp_path / 'map').chunks
    bare.integrate(frame)
    bare._paging.put(key)
    bare._paging.bring([key], bare.config.semantics)
    assert bare.num_voxels >= whole
    save(bare, tmp_path / 'map')
    assert key in MapFolder.open(tmp_path / 'map').chunks


def test_a_chunk_that_is_not_there_is_no_chunk(bare):
    key = bare._map.chunks().key[0].item()
    bare._map.remove(bare._map.rows_of_chunks(bare._map.chunks().key[:1]))
    bare._paging.put(key)
    bare._paging.bring([key], bare.config.semantics)
    size = bare.paged_bytes
    with pytest.raises(KeyError):
        bare.record(key)
    with pytest.raises(KeyError):
        bare._paging.put(key)
    assert bare.paged_bytes == size


def test_no_memory_is_that_large():
    with pytest.raises(ConfigError, match=r'max_bytes.*<= 17592186044416'):
        build(ConcertoConfig, {'map.max_bytes': 1 << 45})
