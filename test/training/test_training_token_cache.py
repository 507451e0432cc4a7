"""TokenCache: what is put comes back, for the same image, encoder and size only."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from concerto_ros.errors import ConfigError, SourceError
from training.image_encoders import ImageEncoder, PixelStatistics, TokenCache, fill_cache


def make_encoder(scale=1.0, name='vit:folder/mean.pth', architecture='mean'):
    pool = nn.AvgPool2d(4)
    return ImageEncoder(
        name, pool, lambda x: pool(x).flatten(2).mT, 4, 3,
        architecture=architecture, pixels=PixelStatistics((0.0,) * 3, (scale,) * 3),
    )  # fmt: skip


class Watched:
    """A file that counts how often it is opened."""

    def __init__(self, path):
        self.path, self.opened = path, 0

    def open(self, mode):
        self.opened += 1
        return self.path.open(mode)

    def stat(self):
        return self.path.stat()

    def __str__(self):
        return str(self.path)


@pytest.fixture
def a_while_later(monkeypatch):
    """Let all files be some seconds old."""
    later = time.time_ns() + 10**10
    monkeypatch.setattr(time, 'time_ns', lambda: later)


def write_image(path, seed=0, size=(16, 8)):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


TOKENS = np.arange(12, dtype=np.float32).reshape(4, 3) / 3


def test_tokens_come_back_in_half_precision(tmp_path):
    cache = TokenCache(tmp_path / 'cache', make_encoder(), 8)
    file = write_image(tmp_path / 'a.png')
    assert cache.get(file) is None
    assert file not in cache
    cache.put(file, TOKENS)
    assert file in cache
    found = cache.get(file)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, TOKENS.astype(np.float16))
    assert [path for path in (tmp_path / 'cache').rglob('*') if path.suffix == '.npy'] == [
        path for path in (tmp_path / 'cache').rglob('*') if path.is_file()
    ]  # nothing unfinished is left


def test_an_image_is_known_by_its_bytes(tmp_path):
    cache = TokenCache(tmp_path / 'cache', make_encoder(), 8)
    file = write_image(tmp_path / 'a.png')
    cache.put(file, TOKENS)
    moved = file.rename(tmp_path / 'b.png')
    assert cache.get(moved) is not None
    write_image(moved, seed=1)
    assert cache.get(moved) is None


def test_other_weights_architectures_and_sizes_have_their_own_tokens(tmp_path):
    file = write_image(tmp_path / 'a.png')
    TokenCache(tmp_path, make_encoder(), 8).put(file, TOKENS)
    assert TokenCache(tmp_path, make_encoder(), 8).get(file) is not None
    assert TokenCache(tmp_path, make_encoder(), 16).get(file) is None
    assert TokenCache(tmp_path, make_encoder(scale=2.0), 8).get(file) is None
    assert TokenCache(tmp_path, make_encoder(architecture='median'), 8).get(file) is None


def test_weights_may_move(tmp_path):
    file = write_image(tmp_path / 'a.png')
    TokenCache(tmp_path, make_encoder(), 8).put(file, TOKENS)
    assert TokenCache(tmp_path, make_encoder(name='vit:other/best.pth'), 8).get(file) is not None


def test_the_umask_says_who_may_read(tmp_path, a_while_later):
    cache = TokenCache(tmp_path / 'cache', make_encoder(), 8)
    file = write_image(tmp_path / 'a.png')
    before = os.umask(0o027)
    try:
        cache.put(file, TOKENS)
    finally:
        os.umask(before)
    found = [path for path in (tmp_path / 'cache').rglob('*') if path.is_file()]
    assert [path.stat().st_mode & 0o777 for path in found] == [0o640, 0o640]


def test_images_that_did_not_change_are_not_read_again(tmp_path, a_while_later):
    encoder = make_encoder()
    files = [Watched(write_image(tmp_path / f'{i}.png', seed=i)) for i in range(3)]
    fill_cache(TokenCache(tmp_path / 'cache', encoder, 8), files, encoder, 8, batch_size=2)
    opened = [file.opened for file in files]
    cache = TokenCache(tmp_path / 'cache', encoder, 8)
    assert fill_cache(cache, files, encoder, 8, batch_size=2) == []
    assert all(cache.get(file) is not None for file in files)
    assert [file.opened for file in files] == opened


def test_an_image_that_changed_is_noticed_though_a_tool_set_its_time_back(tmp_path, a_while_later):
    cache = TokenCache(tmp_path / 'cache', make_encoder(), 8)
    file = write_image(tmp_path / 'a.png')
    cache.put(file, TOKENS)
    assert cache.get(file) is not None
    before, content = file.stat(), write_image(tmp_path / 'b.png', seed=1).read_bytes()
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # times have some milliseconds
        file.write_bytes(content)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert cache.get(file) is None


def test_images_of_right_now_are_read_again(tmp_path):
    cache = TokenCache(tmp_path / 'cache', make_encoder(), 8)
    file = Watched(write_image(tmp_path / 'a.png'))
    assert [cache.get(file), cache.get(file)] == [None, None]
    assert file.opened == 2


def test_a_damaged_digest_is_made_anew(tmp_path, a_while_later):
    cache = TokenCache(tmp_path / 'cache', make_encoder(), 8)
    file = write_image(tmp_path / 'a.png')
    cache.put(file, TOKENS)
    [digest] = [path for path in (tmp_path / 'cache' / 'digests').rglob('*') if path.is_file()]
    digest.write_bytes(bytes(32))
    assert cache.get(file) is not None


@pytest.mark.parametrize(
    'damage',
    [lambda data: data[:40], lambda data: b'PK\x03\x04' + data[4:]],
    ids=['cut', 'archive'],
)
def test_damaged_tokens_are_made_anew(tmp_path, damage):
    cache = TokenCache(tmp_path / 'cache', make_encoder(), 8)
    file = write_image(tmp_path / 'a.png')
    cache.put(file, TOKENS)
    [kept] = (tmp_path / 'cache').rglob('*.npy')
    kept.write_bytes(damage(kept.read_bytes()))
    assert cache.get(file) is None
    assert file not in cache
    cache.put(file, TOKENS)
    assert cache.get(file) is not None


def test_many_may_write_the_same_tokens_at_once(tmp_path):
    cache = TokenCache(tmp_path / 'cache', make_encoder(), 8)
    file = write_image(tmp_path / 'a.png')
    threads = [threading.Thread(target=cache.put, args=(file, TOKENS)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(cache.get(file), TOKENS.astype(np.float16))
    assert len([path for path in (tmp_path / 'cache').rglob('*') if path.is_file()]) == 1


def test_filling_encodes_the_middle_square_of_every_image_once(tmp_path, monkeypatch, capsys):
    encoder = make_encoder()
    cache = TokenCache(tmp_path / 'cache', encoder, 8)
    files = [write_image(tmp_path / f'{i}.png', seed=i) for i in range(3)]
    assert fill_cache(cache, files, encoder, 8, batch_size=2) == []
    pixels = np.asarray(Image.open(files[2]))[:, 4:12] / 255
    expected = pixels.reshape(2, 4, 2, 4, 3).mean(axis=(1, 3)).reshape(4, 3)
    np.testing.assert_allclose(cache.get(files[2]), expected, atol=1e-3)
    monkeypatch.setattr(cache, 'put', lambda *_: pytest.fail('encoded again'))
    assert fill_cache(cache, files, encoder, 8, batch_size=2) == []
    assert fill_cache(cache, [], encoder, 8, batch_size=2) == []
    assert capsys.readouterr().err == ''  # the bar is for terminals


def test_broken_images_are_told_and_the_others_are_filled(tmp_path):
    encoder = make_encoder()
    cache = TokenCache(tmp_path / 'cache', encoder, 8)
    broken, absent = tmp_path / 'broken.png', tmp_path / 'absent.png'
    broken.write_bytes(b'no image')
    good = write_image(tmp_path / 'good.png')
    failed = fill_cache(cache, [broken, absent, good], encoder, 8, batch_size=4)
    assert [str(path) in text for path, text in zip([broken, absent], failed, strict=True)] == [
        True,
        True,
    ]
    assert cache.get(good).shape == (4, 3)


def test_an_absent_image_and_a_folder_that_cannot_be_written_are_named(tmp_path, a_while_later):
    file = write_image(tmp_path / 'a.png')
    cache = TokenCache(file / 'no_folder', make_encoder(), 8)
    assert cache.get(file) is None  # to read, nothing need be written
    with pytest.raises(ConfigError, match=r'"cross_modal\.token_cache" .*no_folder.*choose'):
        cache.put(file, TOKENS)
    with pytest.raises(SourceError, match=r'absent\.png cannot be read'):
        cache.get(Path(tmp_path / 'absent.png'))


def test_the_encoder_may_be_on_any_device(tmp_path, device):
    encoder = make_encoder().to(device)
    file = write_image(tmp_path / 'a.png')
    cache = TokenCache(tmp_path / 'cache', encoder, 8)
    assert fill_cache(cache, [file], encoder, 8, batch_size=2) == []
    assert torch.from_numpy(cache.get(file)).isfinite().all()
