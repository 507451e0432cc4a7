"""Whether the reserved rooms are still those of earlier measurements.

Figures of two models compare only if the rooms are the same, so a change of the generator must
not reach them unseen. `reserved_rooms.json` holds a digest of each.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import ConfigError
from concerto_ros.rooms.cloud import RoomCloud
from concerto_ros.rooms.frames import RoomFrames
from concerto_ros.rooms.room import DEFAULT_CAMERA, SyntheticRoom

RESERVED = range(900_000, 900_050)  # for the last word: nothing is ever trained or tuned on them
_EXPECTED = Path(__file__).with_name('reserved_rooms.json')
_CAMERA = DEFAULT_CAMERA.scaled(320, 240)
_NUM_FRAMES, _FRAME = 40, 20
_SPACING = 0.25  # of the surface points [m]
_BLOCK = 40  # pixels of an image whose mean colour counts
_SHIFT = 0.318309886  # of a step: values made by round numbers lie between steps, not on them


def check_reserved(seeds: Iterable[int]) -> None:
    """Refuse to measure on rooms that are no longer what they were.

    Args:
        seeds: Those that are not reserved are not looked at.

    Raises:
        ConfigError: A reserved room differs.
    """
    expected = json.loads(_EXPECTED.read_text())
    changed = [s for s in seeds if s in RESERVED and room_digest(s) != expected[str(s)]]
    if changed:
        raise ConfigError(
            f'{len(changed)} reserved rooms, {changed[0]} first, are no longer those that earlier '
            'figures are of, because concerto_ros/rooms has changed: let the change leave '
            f'families="test" alone, or measure all models anew and write {_EXPECTED.name} again'
        )


def room_digest(seed: int) -> str:
    """Return 16 hexadecimal digits of a test room and its frames.

    In it are all objects with their boxes, a coarse cloud of the whole surface, the walk, and in
    one frame exact and noisy depth and the colours. Steps are so coarse that rounding, which
    differs between versions of numpy and processors, does not matter.
    """
    room = SyntheticRoom(seed, families='test')
    digest = hashlib.blake2b(digest_size=8)
    for instance in room.instances:
        facts = (instance.id, instance.class_name, instance.family, instance.color_name)
        box = instance.box
        digest.update(repr(facts).encode())
        digest.update(steps(np.array([*box.center, *box.size, box.yaw]), 1e-3))
    _add_cloud(digest, room.cloud(_SPACING))
    _add_frames(digest, room.frames(_NUM_FRAMES, _CAMERA))
    return digest.hexdigest()


def steps(values: NDArray, step: float) -> bytes:
    """Return values as whole numbers of steps, the same for all that differ by rounding."""
    whole = np.floor(np.asarray(values, dtype=np.float64) / step + _SHIFT)
    return whole.astype('<i8').tobytes()


def _add_cloud(digest: 'hashlib.blake2b', cloud: RoomCloud) -> None:
    digest.update(steps(cloud.coord, 1e-2))
    digest.update(cloud.instance.astype('<u2').tobytes())
    digest.update(steps(cloud.color.mean(axis=0), 1.0))


def _add_frames(digest: 'hashlib.blake2b', walk: RoomFrames) -> None:
    digest.update(steps(walk.poses, 1e-3))
    frame, truth = walk[_FRAME], walk.frame_truth(_FRAME)
    digest.update(steps(truth.depth[::4, ::4], 1e-3))
    digest.update(truth.instance[::4, ::4].astype('<u2').tobytes())
    digest.update(steps(frame.depth[::4, ::4], 1e-3))
    height, width, _ = frame.color.shape
    blocks = frame.color.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK, 3)
    digest.update(steps(blocks.mean(axis=(1, 3)), 1.0))


def write_reserved() -> None:
    """Write reserved_rooms.json; after that, figures of before compare with none of after."""
    digests = {str(seed): room_digest(seed) for seed in RESERVED}
    _EXPECTED.write_text(json.dumps(digests, indent=0) + '\n')
