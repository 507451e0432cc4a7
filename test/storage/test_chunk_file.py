"""A file of arrays comes back as it was written, without memory, and damage is named."""

import errno
import mmap
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from concerto_ros.errors import MapFileError
from concerto_ros.storage.chunk_file import (
    StoredFile,
    link,
    not_written,
    read_arrays,
    write_arrays,
)

ARRAYS = {
    'key': np.arange(5, dtype=np.int64),
    'color': np.arange(15, dtype=np.uint8).reshape(5, 3),
    'feat': torch.arange(20).reshape(4, 5).T.to(torch.float16),  # not contiguous
    'none': np.empty((0, 3), dtype=np.float32),
    'scale': np.float32(0.5),
}


def anonymous_bytes():
    """Return the memory of this process that no file stands behind."""
    found = re.search(r'RssAnon:\s+(\d+) kB', Path('/proc/self/status').read_text())
    return int(found[1]) * 1024


def test_arrays_come_back_as_they_were_written(tmp_path):
    file = write_arrays(tmp_path / 'a.safetensors', ARRAYS)
    found = read_arrays(file)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        expected = np.asarray(array)
        assert (found[name].numpy().dtype, found[name].shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found[name].numpy(), expected)


def test_a_file_describes_itself_as_its_writer_did(tmp_path):
    file = write_arrays(tmp_path / 'a.safetensors', ARRAYS)
    assert StoredFile.of(file.path) == file
    data = file.path.read_bytes()
    assert (file.size, file.checksum) == (len(data), f'{zlib.crc32(data):08x}')


def test_reading_takes_no_anonymous_memory(tmp_path):
    size = 64 * 2**20
    file = write_arrays(tmp_path / 'a.safetensors', {'a': np.ones(size, dtype=np.uint8)})
    before = anonymous_bytes()
    array = read_arrays(file)['a']
    assert array.numpy().max() == array.numpy().min() == 1  # touches all of it
    assert anonymous_bytes() - before < size / 8
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # new memory, not what is left over
    copy = mmap.mmap(-1, size, flags=private)
    copy.write(array.numpy())
    assert anonymous_bytes() - before > size / 2, 'the measure itself'


def test_writing_into_an_array_leaves_the_file(tmp_path):
    file = write_arrays(tmp_path / 'a.safetensors', ARRAYS)
    read_arrays(file)['key'][:] = -1
    assert read_arrays(file)['key'].tolist() == [0, 1, 2, 3, 4]


def test_arrays_outlive_their_file(tmp_path):
    file = write_arrays(tmp_path / 'a.safetensors', ARRAYS)
    arrays = read_arrays(file)
    file.path.unlink()
    assert arrays['key'].tolist() == [0, 1, 2, 3, 4]


def test_every_flipped_byte_is_named(tmp_path):
    file = write_arrays(tmp_path / 'a.safetensors', ARRAYS)
    data = file.path.read_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        file.path.write_bytes(flipped)
        with pytest.raises(MapFileError, match=rf'{file.path} is .*damaged \(wrong checksum\)'):
            read_arrays(file)


@pytest.mark.parametrize('length', [0, 1, 100, -1])
def test_a_truncated_file_is_named(tmp_path, length):
    file = write_arrays(tmp_path / 'a.safetensors', ARRAYS)
    file.path.write_bytes(file.path.read_bytes()[:length])
    with pytest.raises(MapFileError, match=rf'{file.path} .* instead of {file.size}.*restore'):
        read_arrays(file)


def test_a_missing_file_is_named(tmp_path):
    file = write_arrays(tmp_path / 'a.safetensors', ARRAYS)
    file.path.unlink()
    for verify in (True, False):
        with pytest.raises(MapFileError, match=rf'{file.path} is missing'):
            read_arrays(file, verify=verify)


def test_what_was_never_a_chunk_is_named(tmp_path):
    path = tmp_path / 'a.safetensors'
    path.write_text('something else, with a checksum that is right')
    with pytest.raises(MapFileError, match=f'{path} is .*damaged'):
        read_arrays(StoredFile.of(path))


def test_a_file_is_never_written_over(tmp_path):
    file = write_arrays(tmp_path / 'a.safetensors', ARRAYS)
    with pytest.raises(FileExistsError):
        write_arrays(file.path, {'a': np.zeros(3)})
    assert read_arrays(file).keys() == ARRAYS.keys()


def test_a_link_is_the_same_file(tmp_path):
    file = write_arrays(tmp_path / 'a.safetensors', ARRAYS)
    linked = link(file, tmp_path / 'b.safetensors')
    assert os.path.samefile(file.path, linked.path)
    linked.verify()


def test_a_file_is_copied_to_another_disk(tmp_path):
    other = Path('/dev/shm')
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip('there is no second disk')
    file = write_arrays(tmp_path / 'a.safetensors', ARRAYS)
    path = other / f'{os.getpid()}.safetensors'
    try:
        link(file, path).verify()
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ('code', 'cause'),
    [
        (errno.ENOSPC, 'the disk is full, so free space'),
        (errno.EROFS, 'not permitted, so change the permissions'),
        (errno.EIO, r'cannot be written \(.*error\), so choose another folder'),
    ],
)
def test_a_disk_that_refuses_is_told_with_its_cure(code, cause):
    error = not_written(Path('/map'), OSError(code, os.strerror(code)))
    assert re.search(f'/map: .*{cause}', str(error))


def test_a_missing_file_is_told_as_such(tmp_path):
    file = write_arrays(tmp_path / 'a.safetensors', {'a': np.zeros(3)})
    file.path.unlink()
    with pytest.raises(MapFileError, match=r'damaged \(there is no such file\)'):
        read_arrays(file, verify=False)
