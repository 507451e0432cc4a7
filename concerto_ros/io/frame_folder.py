"""Recordings as folders of image files: numbered frames (7-Scenes-like) and the TUM layout."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import CalibrationError, FrameError, SourceError, TransformUnavailable
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import is_rigid, nearest_rigid
from concerto_ros.io.closing import Closing
from concerto_ros.io.images import decode_compressed_color, decode_png16
from concerto_ros.io.leveling import parse_leveling
from concerto_ros.io.pairing import ApproximatePairing
from concerto_ros.io.transform_history import TransformHistory

Matrix = NDArray[np.float64]

_TUM_FILES = ('rgb.txt', 'depth.txt', 'groundtruth.txt')
_TUM_DEPTH_UNIT = 1 / 5000  # metres
_TUM_SLOP = 0.02  # seconds between the images of a pair
_NUMBERED_FOLDERS = ('color', 'depth', 'pose')
_NUMBERED_DEPTH_UNIT = 1 / 1000
_NUMBERED_FPS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderCamera:
    """The camera of a folder; its depth images are registered to the colour images.

    Attributes:
        fx: Focal length along x [px].
        fy: Focal length along y [px].
        cx: Principal point along x [px].
        cy: Principal point along y [px].
        width: Width of the calibrated image [px]; 0 is that of the colour images.
        height: Height of the calibrated image [px]; 0 is that of the colour images.
        depth_unit: Metres per unit of the depth files.
        depth_invalid: Value of the depth files that is no measurement, besides 0.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int = 0
    height: int = 0
    depth_unit: float
    depth_invalid: int = 0

    def at(self, width: int, height: int) -> PinholeCamera:
        """Return the camera of an image of this size.

        Raises:
            CalibrationError: As `PinholeCamera` and its `scaled`.
        """
        camera = PinholeCamera(
            width=self.width or width, height=self.height or height,
            fx=self.fx, fy=self.fy, cx=self.cx, cy=self.cy,
        )  # fmt: skip
        return camera.scaled(width, height)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFrame:
    """Where the parts of one frame are; `problem` tells why it is unusable, else it is empty."""

    stamp_ns: int
    color: Path
    depth: Path
    T_world_camera: Matrix
    problem: str = ''


class FrameFolder(Closing):
    """Frames of a folder; made by `open_numbered_folder` and `open_tum_folder`."""

    frame_id = 'world'

    def __init__(
        self,
        frames: list[FolderFrame],
        camera: FolderCamera,
        T_level_world: Matrix,
        description: str,
        keep: Callable[[int], bool] | None = None,
    ) -> None:
        """Take the list of files; `keep` chooses by index in it."""
        self.dropped: Counter[str] = Counter()
        self.description = description
        self._frames = [f for i, f in enumerate(frames) if keep is None or keep(i)]
        self._camera = camera
        self._T_level_world = T_level_world

    @property
    def num_frames_hint(self) -> int | None:
        """Upper limit of the number of frames."""
        return len(self._frames)

    @property
    def T_map_fusion(self) -> Matrix:
        """The identity: a folder has one world frame."""
        return np.eye(4)

    def __iter__(self) -> Iterator[RGBDFrame]:
        """Yield the frames from the beginning; what is left out is counted in `dropped`."""
        self.dropped.clear()
        for entry in self._frames:
            if entry.problem:
                self.dropped[entry.problem] += 1
                continue
            try:
                frame = self._load(entry)
            except (FrameError, CalibrationError) as err:
                self.dropped[str(err)] += 1
            else:
                yield frame

    def _load(self, entry: FolderFrame) -> RGBDFrame:
        color = decode_compressed_color('the color files', _read(entry.color, 'color'))
        depth = self._depth(decode_png16(_read(entry.depth, 'depth'), 'the depth files'))
        color_camera = self._camera.at(color.shape[1], color.shape[0])
        return RGBDFrame(
            stamp_ns=entry.stamp_ns,
            color=color,
            depth=depth,
            color_camera=color_camera,
            depth_camera=color_camera.scaled(depth.shape[1], depth.shape[0]),
            T_map_depth=nearest_rigid(self._T_level_world @ entry.T_world_camera),
        )

    def _depth(self, values: NDArray[np.uint16]) -> NDArray[np.float32]:
        depth = values.astype(np.float32)
        depth /= np.float32(1 / self._camera.depth_unit)  # 1000 is exact, 0.001 is not
        if self._camera.depth_invalid:
            depth[values == self._camera.depth_invalid] = 0.0
        return depth


def open_numbered_folder(
    path: Path,
    *,
    up: str = 'auto',
    keep: Callable[[int], bool] | None = None,
) -> FrameFolder:
    """Open a folder with color/N.jpg (or png), depth/N.png, pose/N.txt and camera.json.

    Poses are 4x4 T_world_camera of the colour camera's optical frame; frames follow their number,
    and their stamps are (number + 1) / fps: to tf2, zero would mean "the newest".

    Args:
        path: The folder.
        up: See `parse_leveling`; 'auto' is `T_zup_from_world` of camera.json where it is there.
        keep: Which frames to deliver, by index in the order of numbers; None is all.

    Raises:
        SourceError: camera.json is unusable, or there are no frames.
        ConfigError: `up` is malformed.
    """
    settings = _read_settings(path / 'camera.json')
    fps = float(settings.get('nominal_fps_original', _NUMBERED_FPS))
    parts = [_numbered(path / name) for name in _NUMBERED_FOLDERS]
    numbers = sorted(set().union(*parts))
    if not numbers:
        raise SourceError(f'{path} has no numbered files in color/, depth/ and pose/')
    return FrameFolder(
        [_numbered_frame(number, fps, parts) for number in numbers],
        _folder_camera(settings, _NUMBERED_DEPTH_UNIT, str(path / 'camera.json')),
        parse_leveling(up, settings.get('T_zup_from_world')),
        f'folder {path} ({len(numbers)} numbered frames)',
        keep,
    )


def open_tum_folder(
    path: Path,
    *,
    up: str = 'auto',
    keep: Callable[[int], bool] | None = None,
    intrinsics: str = '',
) -> FrameFolder:
    """Open a folder with rgb.txt, depth.txt, groundtruth.txt and the images they name.

    Images are paired as those of a bag; the pose is interpolated at the stamp of the depth image.

    Args:
        path: The folder.
        up: See `parse_leveling`; 'auto' is none.
        keep: Which frames to deliver, by index of the pair; None is all.
        intrinsics: 'fx,fy,cx,cy' [px], or a JSON file with these keys and if need be width,
            height and depth_unit_m; empty is camera.json in the folder.

    Raises:
        SourceError: There are no intrinsics, a list cannot be read, or nothing is paired.
        ConfigError: `up` is malformed.
    """
    settings, origin = _tum_settings(path, intrinsics)
    color, depth, poses = (_read_list(path / name) for name in _TUM_FILES)
    history = TransformHistory()
    for stamp_ns, fields in poses:
        values = _numbers(fields[:7], path / _TUM_FILES[2], 7)
        history.insert('world', 'camera', stamp_ns, values[:3], values[3:])
    frames = [
        _tum_frame(stamp_ns, path / color_name, path / depth_name, history)
        for stamp_ns, color_name, depth_name in _tum_pairs(color, depth)
    ]
    if not frames:
        raise SourceError(f'{path} has no color and depth images within {_TUM_SLOP} s')
    return FrameFolder(
        frames,
        _folder_camera(settings, _TUM_DEPTH_UNIT, origin),
        parse_leveling(up, settings.get('T_zup_from_world')),
        f'TUM folder {path} ({len(frames)} pairs of images)',
        keep,
    )


def is_numbered_folder(path: Path) -> bool:
    """Tell whether a folder has the layout of `open_numbered_folder`."""
    return all((path / name).is_dir() for name in ('color', 'depth'))


def is_tum_folder(path: Path) -> bool:
    """Tell whether a folder has the layout of `open_tum_folder`."""
    return all((path / name).is_file() for name in ('rgb.txt', 'depth.txt'))


def _numbered(folder: Path) -> dict[int, Path]:
    """Return the files of a folder by the number that is their name."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {int(file.stem): file for file in files if file.stem.isdecimal()}


def _numbered_frame(number: int, fps: float, parts: list[dict[int, Path]]) -> FolderFrame:
    missing = [
        name for name, part in zip(_NUMBERED_FOLDERS, parts, strict=True) if number not in part
    ]
    pose = np.eye(4) if 'pose' in missing else _read_pose(parts[2][number])
    problem = f'no {" and ".join(missing)} file' if missing else ''
    if not problem and not is_rigid(pose):
        problem = 'the pose is not finite or not rigid'
    color, depth = (part.get(number, Path()) for part in parts[:2])
    return FolderFrame(
        stamp_ns=round((number + 1) * 1e9 / fps), color=color, depth=depth, T_world_camera=pose,
        problem=problem,
    )  # fmt: skip


def _read_pose(file: Path) -> Matrix:
    """Return the 4x4 matrix in a file; NaN if there is none."""
    try:
        values = np.array(file.read_text(encoding='utf-8').split(), dtype=np.float64)
    except (OSError, ValueError):
        values = np.empty(0)
    return values.reshape(4, 4) if values.size == 16 else np.full((4, 4), np.nan)


def _tum_pairs(
    color: list[tuple[int, list[str]]], depth: list[tuple[int, list[str]]]
) -> Iterator[tuple[int, str, str]]:
    """Yield the stamp of depth, and the names of both files, of each pair."""
    events = [
        (stamp_ns, i, fields) for i, part in enumerate((color, depth)) for stamp_ns, fields in part
    ]
    pairing = ApproximatePairing(2, queue_size=10, slop=_TUM_SLOP)
    for stamp_ns, i, fields in sorted(events):
        pair = pairing.add(i, stamp_ns, (stamp_ns, fields[0]))
        if pair is not None:
            (_, color_name), (depth_ns, depth_name) = pair
            yield depth_ns, color_name, depth_name


def _tum_frame(stamp_ns: int, color: Path, depth: Path, history: TransformHistory) -> FolderFrame:
    pose, problem = np.eye(4), ''
    try:
        pose = history.lookup('world', 'camera', stamp_ns)
    except TransformUnavailable:
        problem = f'{_TUM_FILES[2]} has no pose at the stamp of the depth image'
    return FolderFrame(
        stamp_ns=stamp_ns, color=color, depth=depth, T_world_camera=pose, problem=problem
    )


def _tum_settings(path: Path, intrinsics: str) -> tuple[dict[str, Any], str]:
    """Return what is known of the camera, and where that was written."""
    if ',' in intrinsics:
        values = _numbers(intrinsics.split(','), 'the option intrinsics', 4)
        return dict(zip(('fx', 'fy', 'cx', 'cy'), values, strict=True)), 'the option intrinsics'
    file = Path(intrinsics) if intrinsics else path / 'camera.json'
    if not file.is_file():
        raise SourceError(
            f'the camera of {path} is unknown: there is no {file}; write it as '
            '{"fx": ..., "fy": ..., "cx": ..., "cy": ...}, or give intrinsics as fx,fy,cx,cy'
        )
    return _read_settings(file), str(file)


def _read_list(file: Path) -> list[tuple[int, list[str]]]:
    """Return stamp [ns] and fields of each line of a TUM list."""
    if not file.is_file():
        raise SourceError(f'{file} is missing; the TUM layout needs {", ".join(_TUM_FILES)}')
    entries = []
    for line in file.read_text(encoding='utf-8').splitlines():
        stamp, *fields = line.split() or ['#']
        if not stamp.startswith('#') and fields:
            entries.append((_stamp_ns(stamp, file), fields))
    return entries


def _stamp_ns(text: str, file: Path) -> int:
    """Return a stamp in seconds as ns, exactly: a float would lose the last hundred."""
    seconds, _, fraction = text.partition('.')
    try:
        return int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, '0'))
    except ValueError as err:
        raise SourceError(f'expected a stamp in seconds in {file}, found {text!r}') from err


def _numbers(texts: list[str], where: Path | str, count: int) -> list[float]:
    try:
        values = [float(text) for text in texts]
    except ValueError as err:
        raise SourceError(f'expected numbers in {where}, found {" ".join(texts)!r}') from err
    if len(values) != count:
        raise SourceError(f'expected {count} numbers in {where}, found {len(values)}')
    return values


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError) as err:
        raise SourceError(f'{file} cannot be read: {err}') from err
    if not isinstance(settings, dict):
        raise SourceError(f'{file} must hold an object with fx, fy, cx and cy')
    return settings


def _folder_camera(settings: dict[str, Any], depth_unit: float, origin: str) -> FolderCamera:
    try:
        camera = FolderCamera(
            fx=float(settings['fx']), fy=float(settings['fy']),
            cx=float(settings['cx']), cy=float(settings['cy']),
            width=int(settings.get('width', 0)), height=int(settings.get('height', 0)),
            depth_unit=float(settings.get('depth_unit_m', depth_unit)),
            depth_invalid=int(settings.get('depth_invalid', 0)),
        )  # fmt: skip
        camera.at(camera.width or 1, camera.height or 1)
    except (KeyError, TypeError, ValueError, CalibrationError) as err:
        raise SourceError(
            f'{origin} is no calibration: expected numbers fx, fy, cx and cy; {err!r}'
        ) from err
    return camera


def _read(file: Path, kind: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as err:
        raise FrameError(f'a {kind} file is missing or cannot be read') from err
