import io
import struct
from array import array

import numpy as np
import pytest
import torch
from PIL import Image

from concerto_ros.errors import FrameError
from concerto_ros.io.images import (
    decode_color,
    decode_compressed_color,
    decode_compressed_depth,
    decode_depth,
    decode_png16,
)

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
MILLIMETRES = np.array([[0, 1, 1000], [2500, 65535, 40]], dtype=np.uint16)
METRES = np.array([[0, 0.001, 1.0], [2.5, 65.535, 0.04]], dtype=np.float32)


def padded(rows: np.ndarray, step: int) -> bytes:
    flat = np.ascontiguousarray(rows).reshape(rows.shape[0], -1).view(np.uint8)
    return np.pad(flat, ((0, 0), (0, step - flat.shape[1])), constant_values=99).tobytes()


def encode(pixels: np.ndarray, format: str, **options) -> bytes:  # noqa: A002
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=format, **options)
    return buffer.getvalue()


ALPHA = np.full((2, 3, 1), 200, dtype=np.uint8)


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize(
    ('encoding', 'memory'),
    [
        ('rgb8', RGB),
        ('bgr8', RGB[..., ::-1]),
        ('rgba8', np.concatenate([RGB, ALPHA], axis=2)),
        ('bgra8', np.concatenate([RGB[..., ::-1], ALPHA], axis=2)),
    ],
)
def test_color_encodings_become_rgb(encoding, memory, padding):
    step = 3 * memory.shape[2] + padding
    color = decode_color(encoding, 2, 3, step, False, padded(memory, step))
    np.testing.assert_array_equal(color, RGB)
    assert color.dtype == np.uint8


def test_mono_becomes_gray():
    color = decode_color('mono8', 2, 3, 4, False, padded(RGB[..., 0], 4))
    np.testing.assert_array_equal(color, np.repeat(RGB[..., :1], 3, axis=2))


@pytest.mark.parametrize('wrap', [bytes, bytearray, memoryview, lambda b: array('B', b)])
def test_any_buffer_is_taken_and_rgb_is_not_copied(wrap):
    data = wrap(RGB.tobytes())
    color = decode_color('rgb8', 2, 3, 9, False, data)
    np.testing.assert_array_equal(color, RGB)
    assert np.shares_memory(color, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize('encoding', ['16UC1', 'mono16'])
@pytest.mark.parametrize('is_bigendian', [False, True])
@pytest.mark.parametrize('padding', [0, 2, 3])
def test_millimetres_become_metres(encoding, is_bigendian, padding):
    memory = MILLIMETRES.astype('>u2' if is_bigendian else '<u2')
    step = 6 + padding
    depth = decode_depth(encoding, 2, 3, step, is_bigendian, padded(memory, step))
    np.testing.assert_allclose(depth, METRES, rtol=1e-6)
    assert depth.dtype == np.float32


@pytest.mark.parametrize('is_bigendian', [False, True])
def test_float_depth_keeps_its_missing_values(is_bigendian):
    values = np.array([[1.5, np.nan, np.inf], [0.0, -1.0, 2.0]], dtype=np.float32)
    memory = values.astype('>f4' if is_bigendian else '<f4')
    depth = decode_depth('32FC1', 2, 3, 16, is_bigendian, padded(memory, 16))
    np.testing.assert_array_equal(depth, values)
    assert depth.dtype == np.dtype(np.float32)


@pytest.mark.parametrize('padding', [1, 2, 3])
@pytest.mark.parametrize('wrap', [bytes, bytearray])
def test_float_depth_with_odd_rows_suits_torch(wrap, padding):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    depth = decode_depth('32FC1', 2, 3, 12 + padding, False, wrap(padded(values, 12 + padding)))
    assert depth.flags.writeable  # a copy: torch takes only strides of whole values
    np.testing.assert_array_equal(torch.from_numpy(depth).numpy(), values)


def test_float_depth_with_whole_rows_is_not_copied():
    data = bytearray(2 * 16)
    depth = decode_depth('32FC1', 2, 3, 16, False, data)
    assert np.shares_memory(depth, np.frombuffer(data, np.uint8))
    assert torch.from_numpy(depth).shape == (2, 3)


def test_unknown_encodings_name_the_cure():
    with pytest.raises(FrameError, match=r'rgb8, bgr8.*bayer_rggb8.*debayered'):
        decode_color('bayer_rggb8', 2, 3, 3, False, bytes(6))
    with pytest.raises(FrameError, match=r"found '16UC1'.*exchanged"):
        decode_color('16UC1', 2, 3, 6, False, bytes(12))
    with pytest.raises(FrameError, match=r"16UC1, mono16, 32FC1.*'rgb8'.*exchanged"):
        decode_depth('rgb8', 2, 3, 9, False, bytes(18))
    with pytest.raises(FrameError, match='have the driver publish'):
        decode_depth('64FC1', 2, 3, 24, False, bytes(48))


def test_data_that_does_not_fit_is_refused():
    with pytest.raises(FrameError, match='expected 18 bytes for 3x2, found 17'):
        decode_color('rgb8', 2, 3, 9, False, bytes(17))
    with pytest.raises(FrameError, match='expected 12 bytes for 3x2, found 0'):
        decode_depth('16UC1', 2, 3, 6, False, b'')
    with pytest.raises(FrameError, match='at least 6 bytes, found 3x2 with a step of 4'):
        decode_depth('16UC1', 2, 3, 4, False, bytes(99))
    with pytest.raises(FrameError, match='found 3x0'):
        decode_color('rgb8', 0, 3, 9, False, b'')


@pytest.mark.parametrize('format', ['png', 'rgb8; png compressed bgr8'])
def test_compressed_png_color(format):  # noqa: A002
    np.testing.assert_array_equal(decode_compressed_color(format, encode(RGB, 'PNG')), RGB)


def test_compressed_jpeg_color():
    flat = np.full((16, 16, 3), (200, 30, 60), dtype=np.uint8)
    for pixels in (flat, flat[..., 0]):
        data = array('B', encode(pixels, 'JPEG', quality=95))
        color = decode_compressed_color('rgb8; jpeg compressed bgr8', data)
        expected = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
        assert np.abs(color.astype(int) - expected).max() <= 3


@pytest.mark.parametrize('format', ['16UC1; compressedDepth', '16UC1; compressedDepth png'])
def test_compressed_depth_of_millimetres(format):  # noqa: A002
    depth = decode_compressed_depth(format, bytes(12) + encode(MILLIMETRES, 'PNG'))
    np.testing.assert_allclose(depth, METRES, rtol=1e-6)
    assert depth.dtype == np.float32


@pytest.mark.parametrize('format', ['png', '16UC1; png compressed '])
def test_plain_png_depth(format):  # noqa: A002
    depth = decode_compressed_depth(format, encode(MILLIMETRES, 'PNG'))
    np.testing.assert_allclose(depth, METRES, rtol=1e-6)


def test_compressed_depth_of_quantised_inverse():
    a, b = 1000.0, 5.0
    metres = np.array([[0.5, 1.0], [2.0, 4.0]])
    values = np.rint(a / metres + b).astype(np.uint16)
    values[0, 0] = 0
    data = struct.pack('<iff', 0, a, b) + encode(values, 'PNG')
    depth = decode_compressed_depth('32FC1; compressedDepth png', data)
    assert np.isnan(depth[0, 0])
    np.testing.assert_allclose(depth.ravel()[1:], metres.ravel()[1:], rtol=5e-3)  # quantisation
    assert depth.dtype == np.float32


def test_compressed_problems_are_named():
    png = encode(MILLIMETRES, 'PNG')
    with pytest.raises(FrameError, match=r"format '16UC1; compressedDepth rvl'.*'png'"):
        decode_compressed_depth('16UC1; compressedDepth rvl', bytes(40))
    with pytest.raises(FrameError, match='with 0 bytes'):
        decode_compressed_depth('16UC1; compressedDepth png', b'')
    with pytest.raises(FrameError, match='damaged'):
        decode_compressed_depth('png', png[:-25])
    with pytest.raises(FrameError, match='depth topic given as the color topic'):
        decode_compressed_color('png', png)
    with pytest.raises(FrameError, match="mode 'RGB'"):
        decode_png16(encode(RGB, 'PNG'), 'depth')
    with pytest.raises(FrameError, match='JPEG or PNG'):
        decode_compressed_color('jpeg', b'')
    jpeg = encode(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8), 'JPEG')
    with pytest.raises(FrameError, match='damaged or cut off'):
        decode_compressed_color('jpeg', jpeg[: len(jpeg) // 2])
