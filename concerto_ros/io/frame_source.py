"""FrameSource: what a recording is to the rest of the code, and how to open one."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import ConfigError, SourceError
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.io.frame_folder import (
    is_numbered_folder,
    is_tum_folder,
    open_numbered_folder,
    open_tum_folder,
)

_BAG_SUFFIXES = ('.mcap', '.db3', '.bag')


class FrameSource(Protocol):
    """A recording as frames; a context manager that closes its files.

    Iterating starts at the beginning and yields `RGBDFrame` in order of time. A problem of one
    frame (no transform, a damaged image) never raises, it is counted in `dropped`.

    Attributes:
        dropped: How often a reason, a sentence, left out a frame of the newest iteration.
        frame_id: Name of the frame of `T_map_depth`, in which to fuse.
        description: What is read, for people.
    """

    dropped: Counter[str]
    frame_id: str
    description: str

    @property
    def num_frames_hint(self) -> int | None:
        """Upper limit of the number of frames, for progress bars; None if unknown."""

    @property
    def T_map_fusion(self) -> NDArray[np.float64]:
        """Newest transform (4, 4) from `frame_id` to the map frame, to apply on output."""

    def __enter__(self) -> 'FrameSource': ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def __iter__(self) -> Iterator[RGBDFrame]: ...

    def close(self) -> None:
        """Close all files."""


def open_source(path: Path | str, **options: Any) -> FrameSource:
    """Open a recording of any kind that is understood.

    Args:
        path: A rosbag2 folder, an .mcap, .db3 or ROS 1 .bag file, a folder in the TUM layout or
            one of numbered frames.
        options: Those of the kind: `up` and `keep` for all; `topics`, `frames` and `pairing`
            for bags, see `BagReader`; `intrinsics` for TUM folders, see `open_tum_folder`.

    Raises:
        SourceError: There is no such file, it is of no kind that is understood, or unusable.
        ConfigError: An option is malformed or does not belong to this kind.
    """
    path = Path(path)
    kind, opener = _detect(path)
    known = [
        p.name for p in inspect.signature(opener).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(
            f'{path} is a {kind}, which has no option {", ".join(unknown)}; it has '
            f'{", ".join(known)}'
        )
    return opener(path, **options)


def _detect(path: Path) -> tuple[str, Callable[..., FrameSource]]:
    if path.is_dir():
        if is_tum_folder(path):
            return 'TUM folder', open_tum_folder
        if is_numbered_folder(path):
            return 'folder of numbered frames', open_numbered_folder
        if (path / 'metadata.yaml').exists() or _has_bag_file(path):
            return 'bag', _bag_reader()
    elif path.suffix in _BAG_SUFFIXES and path.is_file():
        return 'bag', _bag_reader()
    raise SourceError(
        f'{path} is no recording that is understood: found {_describe(path)}; expected a rosbag2 '
        'folder, an .mcap, .db3 or .bag file, a TUM folder (rgb.txt, depth.txt, groundtruth.txt), '
        'or a folder with color/, depth/, pose/ and camera.json'
    )


def _bag_reader() -> Callable[..., FrameSource]:
    from concerto_ros.io.bag_reader import BagReader  # only bags need rosbags

    return BagReader


def _has_bag_file(path: Path) -> bool:
    return any(file.suffix in ('.mcap', '.db3') for file in path.iterdir())


def _describe(path: Path) -> str:
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir())
        more = f' and {len(names) - 8} more' if len(names) > 8 else ''
        return f'a folder with {", ".join(names[:8]) or "nothing"}{more}'
    return 'another kind of file' if path.exists() else 'nothing of that name'
