"""Image messages, given as plain values, to arrays: colour to RGB, depth to metres."""

import io
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from concerto_ros.errors import FrameError

# Channels in memory, and which of them are red, green and blue.
_COLOR_LAYOUTS = {
    'rgb8': (3, (0, 1, 2)),
    'bgr8': (3, (2, 1, 0)),
    'rgba8': (4, (0, 1, 2)),
    'bgra8': (4, (2, 1, 0)),
    'mono8': (1, (0, 0, 0)),
}
_DEPTH_DTYPES = {'16UC1': 'u2', 'mono16': 'u2', '32FC1': 'f4'}

_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_COMPRESSED_DEPTH_HEADER = struct.Struct('<iff')  # kind, quantisation a, quantisation b
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


def decode_color(
    encoding: str, height: int, width: int, step: int, is_bigendian: bool, data: Any
) -> NDArray[np.uint8]:
    """Turn the fields of a colour image message into RGB.

    Args:
        encoding: rgb8, bgr8, rgba8, bgra8 or mono8.
        height: Rows.
        width: Columns.
        step: Bytes from one row to the next, with padding.
        is_bigendian: Without effect on channels of one byte.
        data: Any buffer of at least `height * step` bytes.

    Returns:
        (H, W, 3) uint8 RGB; rgb8 shares the memory of `data` and is read-only if that is.

    Raises:
        FrameError: The encoding is another, or sizes and data do not fit together.
    """
    if encoding not in _COLOR_LAYOUTS:
        raise FrameError(_wrong_encoding('color', encoding, _COLOR_LAYOUTS))
    channels, (red, green, blue) = _COLOR_LAYOUTS[encoding]
    pixels = _view(height, width, step, np.dtype('u1'), channels, data)
    if encoding == 'rgb8':
        return pixels
    color = np.empty((height, width, 3), dtype=np.uint8)
    color[..., 0] = pixels[..., red]
    color[..., 1] = pixels[..., green]
    color[..., 2] = pixels[..., blue]
    return color


def decode_depth(
    encoding: str, height: int, width: int, step: int, is_bigendian: bool, data: Any
) -> NDArray[np.float32]:
    """Turn the fields of a depth image message into metres.

    Args:
        encoding: 16UC1 or mono16 [mm], 0 is no measurement; 32FC1 [m], NaN, infinite or <= 0 is
            no measurement.
        height: Rows.
        width: Columns.
        step: Bytes from one row to the next, with padding.
        is_bigendian: Byte order of the values.
        data: Any buffer of at least `height * step` bytes.

    Returns:
        (H, W) float32 [m], aligned; not finite or <= 0 is no measurement. 32FC1 in the byte order
        of this machine shares the memory of `data`, and is read-only if that is, unless `step` is
        no multiple of 4.

    Raises:
        FrameError: The encoding is another, or sizes and data do not fit together.
    """
    if encoding not in _DEPTH_DTYPES:
        raise FrameError(_wrong_encoding('depth', encoding, _DEPTH_DTYPES))
    dtype = np.dtype(('>' if is_bigendian else '<') + _DEPTH_DTYPES[encoding])
    values = _view(height, width, step, dtype, 1, data)[..., 0]
    return np.require(values, np.float32, 'A') if dtype.kind == 'f' else _metres(values)


def decode_compressed_color(format: str, data: Any) -> NDArray[np.uint8]:  # noqa: A002
    """Turn a compressed colour image into (H, W, 3) uint8 RGB.

    Args:
        format: As in sensor_msgs/CompressedImage, such as 'jpeg' or 'rgb8; jpeg compressed bgr8';
            the bytes tell the codec, this only helps to word errors.
        data: Any buffer with a JPEG or PNG file of 8 bits per channel.

    Raises:
        FrameError: The data is no such image or is damaged, or it is depth.
    """
    image = _open_image(format, np.frombuffer(data, dtype=np.uint8).tobytes())
    if image.mode.startswith(('I', 'F')):
        raise FrameError(
            f'expected a color image, found 16-bit values in format {format!r}; '
            'is the depth topic given as the color topic?'
        )
    _load(format, image)
    return np.asarray(image.convert('RGB'))


def decode_compressed_depth(format: str, data: Any) -> NDArray[np.float32]:  # noqa: A002
    """Turn a compressed depth image into (H, W) float32 [m]; NaN or 0 is no measurement.

    Args:
        format: As in sensor_msgs/CompressedImage: '16UC1; compressedDepth png' [mm],
            '32FC1; compressedDepth png' (quantised inverse depth), or 'png' and the like for a
            plain 16-bit PNG [mm].
        data: Any buffer with the file, for compressedDepth after a header of 12 bytes.

    Raises:
        FrameError: Another format, such as RVL, or damaged data.
    """
    content = np.frombuffer(data, dtype=np.uint8).tobytes()
    start = content.find(_PNG_SIGNATURE, 0, _COMPRESSED_DEPTH_HEADER.size + len(_PNG_SIGNATURE))
    if start not in (0, _COMPRESSED_DEPTH_HEADER.size):
        raise FrameError(
            f'expected depth as a 16-bit PNG, found format {format!r} with {len(content)} bytes '
            "of something else; set the publisher's compressedDepth format to 'png', or use the "
            'raw depth topic'
        )
    values = decode_png16(content[start:], format)
    if not (start and format.startswith('32FC1')):
        return _metres(values)
    _, a, b = _COMPRESSED_DEPTH_HEADER.unpack_from(content)
    with np.errstate(divide='ignore'):
        inverse = np.where(values > 0, values.astype(np.float32) - np.float32(b), np.nan)
        return (np.float32(a) / inverse).astype(np.float32, copy=False)


def decode_png16(data: bytes, name: str) -> NDArray[np.uint16]:
    """Return the (H, W) uint16 values of a 16-bit grey PNG file; `name` is for errors only.

    Raises:
        FrameError: It is no such file or is damaged.
    """
    image = _open_image(name, data)
    if not image.mode.startswith('I'):
        raise FrameError(
            f'expected 16-bit grey values of depth, found an image of mode {image.mode!r} '
            f'in {name!r}; is the color image given as depth?'
        )
    _load(name, image)
    return np.asarray(image, dtype=np.uint16)


def _view(
    height: int, width: int, step: int, dtype: np.dtype, channels: int, data: Any
) -> NDArray:
    """Return `data` as (H, W, channels) without a copy, after checking that it holds them."""
    row = width * channels * dtype.itemsize
    if height <= 0 or width <= 0 or step < row:
        raise FrameError(
            f'expected an image with rows of at least {row} bytes, found {width}x{height} with a '
            f'step of {step}; the publisher fills the message wrongly'
        )
    buffer = np.frombuffer(data, dtype=np.uint8)
    if buffer.nbytes < height * step:
        raise FrameError(
            f'expected {height * step} bytes for {width}x{height}, found {buffer.nbytes}: the '
            'image is cut off'
        )
    strides = (step, channels * dtype.itemsize, dtype.itemsize)
    return np.ndarray((height, width, channels), dtype, buffer, strides=strides)


def _metres(millimetres: NDArray[np.uint16]) -> NDArray[np.float32]:
    metres = millimetres.astype(np.float32)
    metres /= np.float32(1000)  # not times 0.001, which rounds twice
    return metres


def _wrong_encoding(kind: str, encoding: str, supported: Mapping[str, object]) -> str:
    if encoding in _COLOR_LAYOUTS or encoding in _DEPTH_DTYPES:
        cure = 'the color and depth topics look exchanged'
    elif encoding.startswith('bayer'):
        cure = "use the topic of the driver's debayered image (image_color, image_rect_color)"
    else:
        cure = f'have the driver publish one of these on the {kind} topic'
    return f'expected {kind} as {", ".join(supported)}, found {encoding!r}; {cure}'


def _open_image(name: str, data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=('JPEG', 'PNG'))
    except _PILLOW_ERRORS as err:
        raise FrameError(
            f'expected a JPEG or PNG image, found something else or a damaged file in {name!r}'
        ) from err


def _load(name: str, image: Image.Image) -> None:
    """Decode the pixels, which Pillow else does later, where numpy may hide its errors."""
    try:
        image.load()
    except _PILLOW_ERRORS as err:
        raise FrameError(f'the compressed image in {name!r} is damaged or cut off') from err
