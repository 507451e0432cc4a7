"""Reads the official ScanNet .sens files, and of them only the frames that are wanted.

Source: the format (version 4) as published with ScanNet (Dai et al., CVPR 2017): a header, then
per frame the pose, two stamps, two sizes, the colour file and the compressed depth.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import CalibrationError, FrameError, SourceError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import is_rigid, nearest_rigid
from concerto_ros.io.images import decode_compressed_color

_VERSION = 4
_MATRIX = struct.Struct('<16f')
_LENGTH = struct.Struct('<Q')
_IMAGES = struct.Struct('<iiIIIIfQ')  # compression of colour and depth, sizes, shift, frames
_FRAME = struct.Struct('<16f4Q')  # camera to world; stamps [us]; bytes of colour and depth
_COLOR_KINDS = {1: 'png', 2: 'jpeg'}
_RAW_DEPTH, _ZLIB_DEPTH = 0, 1
_LOOSE = 1e-2  # poses are float32 and come from an optimisation


@dataclass(frozen=True, slots=True, kw_only=True)
class SensHeader:
    """What a file says of all its frames.

    Attributes:
        color_camera: Intrinsics of the colour images.
        depth_camera: Intrinsics of the depth images.
        color_kind: Codec of the colour images.
        is_depth_packed: Depth is compressed by zlib, else it is raw.
        depth_shift: Units of depth per metre.
        num_frames: In the file.
    """

    color_camera: PinholeCamera
    depth_camera: PinholeCamera
    color_kind: str
    is_depth_packed: bool
    depth_shift: float
    num_frames: int


class SensFile:
    """An open file; a context manager.

    Attributes:
        header: What holds for all frames.
        dropped: How often a reason, a sentence, left out a wanted frame.

    Args:
        path: The file.

    Raises:
        SourceError: It is missing, of another format, or is cut off within its header.
    """

    def __init__(self, path: Path) -> None:
        self.dropped: dict[str, int] = {}
        self._path = path
        try:
            self._file: BinaryIO = path.open('rb')
        except OSError as err:
            raise SourceError(f'{path} cannot be read: {err.strerror}') from err
        try:
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> 'SensFile':
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def frames(self, every: int) -> Iterator[tuple[int, RGBDFrame]]:
        """Yield the number and the frame of every n-th one; the others are skipped over.

        The colour camera is taken to stand where the depth camera does, as the published
        preprocessing takes it. Frames without a pose or with a damaged image are counted in
        `dropped`.

        Raises:
            SourceError: The file is cut off.
        """
        for number in range(self.header.num_frames):
            *values, stamp_us, _, color_size, depth_size = self._unpack(_FRAME)
            if number % every:
                self._file.seek(color_size + depth_size, 1)
                continue
            color, depth = self._read(color_size), self._read(depth_size)
            try:
                frame = self._frame(values, stamp_us, color, depth)
            except FrameError as err:
                self.dropped[str(err)] = self.dropped.get(str(err), 0) + 1
            else:
                yield number, frame

    def _read_header(self) -> SensHeader:
        (version,) = self._unpack(struct.Struct('<I'))
        if version != _VERSION:
            raise SourceError(
                f'expected a .sens file of version {_VERSION}, found {version} in {self._path}'
            )
        self._read(self._unpack(_LENGTH)[0])  # name of the sensor
        color_K, _, depth_K, _ = (self._unpack(_MATRIX) for _ in range(4))
        color_code, depth_code, wc, hc, wd, hd, shift, num_frames = self._unpack(_IMAGES)
        if color_code not in _COLOR_KINDS or depth_code not in (_RAW_DEPTH, _ZLIB_DEPTH):
            raise SourceError(
                f'expected colour as JPEG or PNG and depth raw or by zlib, found codes '
                f"{color_code} and {depth_code} in {self._path}; export it anew with ScanNet's "
                'tools'
            )
        return SensHeader(
            color_camera=self._camera(color_K, wc, hc), depth_camera=self._camera(depth_K, wd, hd),
            color_kind=_COLOR_KINDS[color_code], is_depth_packed=depth_code == _ZLIB_DEPTH,
            depth_shift=shift, num_frames=num_frames,
        )  # fmt: skip

    def _camera(self, K: tuple[float, ...], width: int, height: int) -> PinholeCamera:
        try:
            return PinholeCamera(width=width, height=height, fx=K[0], fy=K[5], cx=K[2], cy=K[6])
        except CalibrationError as err:
            raise SourceError(f'{self._path} has an unusable camera: {err}') from err

    def _frame(self, values: list[float], stamp_us: int, color: bytes, depth: bytes) -> RGBDFrame:
        T_world_camera = np.array(values, dtype=np.float64).reshape(4, 4)
        if not is_rigid(T_world_camera, _LOOSE):
            raise FrameError('the pose is not finite or not rigid')
        return RGBDFrame(
            stamp_ns=stamp_us * 1000,
            color=decode_compressed_color(self.header.color_kind, color),
            depth=self._depth(depth),
            color_camera=self.header.color_camera,
            depth_camera=self.header.depth_camera,
            T_map_depth=nearest_rigid(T_world_camera),
        )

    def _depth(self, data: bytes) -> NDArray[np.float32]:
        camera = self.header.depth_camera
        try:
            raw = zlib.decompress(data) if self.header.is_depth_packed else data
            values = np.frombuffer(raw, dtype='<u2').reshape(camera.height, camera.width)
        except (zlib.error, ValueError) as err:
            raise FrameError('the depth image is damaged') from err
        return values.astype(np.float32) / np.float32(self.header.depth_shift)

    def _unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self._read(layout.size))

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise SourceError(
                f'{self._path} is cut off: expected {size} more bytes, found {len(data)}; '
                'download it again'
            )
        return data
