"""Pages come back, are gone afterwards, and a full disk loses none."""

import gc
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from concerto_ros.errors import MapFileError
from concerto_ros.storage.chunk_file import write_arrays
from concerto_ros.storage.page_files import PageFiles, is_in_memory

KEY = 3 << 30 | 5


def arrays(value, size=10):
    return {'a': np.full(size, value, dtype=np.int32)}


@pytest.fixture
def pages(tmp_path):
    pages = PageFiles(tmp_path)
    yield pages
    pages.close()


@contextmanager
def files_no_larger_than(size):
    """Let the system refuse to write more than `size` bytes into a file."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_page_comes_back(pages, tmp_path):
    pages.put(KEY, arrays(1))
    pages.put(0, arrays(2))
    assert pages.get(KEY)['a'].tolist() == [1] * 10
    assert sorted(pages.keys) == [0, KEY]
    assert pages.num_bytes == sum(path.stat().st_size for path in tmp_path.glob('*/*.safetensors'))


def test_a_page_is_replaced_while_the_old_one_is_in_use(pages, tmp_path):
    pages.put(KEY, arrays(1))
    old = pages.get(KEY)['a']
    pages.put(KEY, arrays(2))
    assert (old.tolist(), pages.get(KEY)['a'].tolist()) == ([1] * 10, [2] * 10)
    assert len(list(tmp_path.glob('*/*.safetensors'))) == 1


def test_a_dropped_page_is_gone(pages, tmp_path):
    pages.put(KEY, arrays(1))
    pages.drop(KEY)
    assert (len(pages.keys), pages.num_bytes) == (0, 0)
    assert not list(tmp_path.glob('*/*.safetensors'))
    for ask in (pages.get, pages.drop):
        with pytest.raises(KeyError):
            ask(KEY)


def test_nothing_is_left_after_close(tmp_path):
    pages = PageFiles(tmp_path)
    pages.put(KEY, arrays(1))
    pages.close()
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_when_nobody_holds_the_pages(tmp_path):
    pages = PageFiles(tmp_path)
    pages.put(KEY, arrays(1))
    del pages
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_after_the_process(tmp_path):
    code = (
        'import sys, numpy\n'
        'from concerto_ros.storage.page_files import PageFiles\n'
        'pages = PageFiles(sys.argv[1])\n'
        'pages.put(1, {"a": numpy.zeros(3)})\n'
    )
    subprocess.run([sys.executable, '-c', code, str(tmp_path)], check=True)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_deleted_by_the_next(tmp_path):
    pages = PageFiles(tmp_path)  # in use for long
    (used,) = tmp_path.iterdir()
    left, recent = tmp_path / 'concerto_pages_left', tmp_path / 'concerto_pages_recent'
    for folder in (left, recent):
        folder.mkdir()
        (folder / 'page.safetensors').write_bytes(b'')
    for folder in (left, used):
        os.utime(folder, (0, 0))
    other = PageFiles(tmp_path)
    assert (left.exists(), recent.exists(), used.exists()) == (False, True, True)
    pages.close()
    other.close()


def test_a_full_disk_loses_nothing(pages, tmp_path):
    pages.put(KEY, arrays(1))
    with (
        files_no_larger_than(100_000),
        pytest.raises(MapFileError, match=f'{tmp_path}.*the disk is full, so free space'),
    ):
        pages.put(KEY, arrays(2, size=100_000))
    assert pages.get(KEY)['a'].tolist() == [1] * 10
    assert len(list(tmp_path.glob('*/*.safetensors'))) == 1
    pages.put(KEY, arrays(2, size=100_000))
    assert len(pages.get(KEY)['a']) == 100_000


def test_an_adopted_file_outlives_its_map(pages, tmp_path):
    file = write_arrays(tmp_path / 'saved.safetensors', arrays(7))
    pages.adopt(KEY, file)
    (page,) = tmp_path.glob('*/*.safetensors')
    assert page.samefile(file.path)
    file.path.unlink()
    assert pages.get(KEY)['a'].tolist() == [7] * 10


def test_an_adopted_file_is_verified(pages, tmp_path):
    file = write_arrays(tmp_path / 'saved.safetensors', arrays(7))
    file.path.write_bytes(file.path.read_bytes()[:-1] + b'x')
    pages.adopt(KEY, file)
    with pytest.raises(MapFileError, match='wrong checksum'):
        pages.get(KEY)
    pages.put(KEY, arrays(1))
    assert pages.get(KEY)['a'].tolist() == [1] * 10


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(MapFileError, match=r'file.*cannot be written'):
        PageFiles(tmp_path / 'file')


@pytest.mark.parametrize('folder', ['/dev/shm', '/dev/shm/missing'])
def test_a_folder_in_memory_is_known(folder):
    if not os.path.ismount('/dev/shm'):
        pytest.skip('there is no /dev/shm')
    assert is_in_memory(Path(folder))


def test_pages_are_on_a_disk_where_there_is_one(monkeypatch):
    if not os.path.ismount('/dev/shm') or is_in_memory(Path('/var/tmp')):
        pytest.skip('there is no memory disk, or no other')
    monkeypatch.setattr('tempfile.tempdir', '/dev/shm')
    pages = PageFiles()
    pages.put(KEY, arrays(1))
    assert pages._files[KEY].path.is_relative_to('/var/tmp')
    pages.close()
