"""However a process that maps and saves is killed, its folder holds a whole and recent map."""

import multiprocessing
import random
import time
from contextlib import suppress

import numpy as np
import pytest

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import build
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.map_saver import MapSaver
from concerto_ros.pipeline import PerceptionPipeline
from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.storage import MapFolder

CAMERA = PinholeCamera(width=64, height=48, fx=58.0, fy=58.0, cx=31.5, cy=23.5)
CONFIG = build(
    ConcertoConfig, {'map.device': 'cpu', 'semantics.checkpoint': '', 'map.max_misses': 0}
)
NUM_FRAMES = 24


@pytest.fixture(scope='module')
def frames():
    return room()


def room():
    return list(SyntheticRoom(3).frames(NUM_FRAMES, camera=CAMERA))


def map_and_save(path, tell):
    """Map what is not in the map of the folder yet; save after each frame, and tell so."""
    frames = room()
    pipeline = PerceptionPipeline(CONFIG)
    begin = 0
    if (path / 'manifest.json').exists():
        pipeline.load(path)
        begin = next(i for i, f in enumerate(frames) if f.stamp_ns == pipeline.newest_stamp_ns) + 1
    with MapSaver(path) as saver:
        for number in range(begin, len(frames)):
            pipeline.integrate(frames[number])
            saver.save(pipeline, 'map')
            tell.send(number)


def number_of(frames, path):
    """Return the newest frame of the map in a folder, every file of which must be whole."""
    folder = MapFolder.open(path)
    folder.verify()
    pipeline = PerceptionPipeline(CONFIG)
    pipeline.load(path)
    assert np.isfinite(pipeline.cloud().coord).all()
    assert pipeline.num_voxels == sum(chunk.num_voxels for chunk in folder.chunks.values())
    pipeline.close()
    return next(i for i, f in enumerate(frames) if f.stamp_ns == folder.info.last_seen_ns)


def test_a_kill_loses_one_save_at_most(frames, tmp_path):
    # Not a fork of this process, whose threads compute: their locks would never be opened.
    processes = multiprocessing.get_context('forkserver')
    processes.set_forkserver_preload(['concerto_ros.pipeline', 'concerto_ros.map_saver'])
    path, rng = tmp_path / 'map', random.Random(0)
    saved = -1
    for _ in range(6):
        told, tell = processes.Pipe(duplex=False)
        child = processes.Process(target=map_and_save, args=(path, tell))
        child.start()
        tell.close()
        saved = told.recv()  # so that it is at work
        time.sleep(rng.uniform(0, 0.1))
        child.kill()
        child.join()
        with suppress(EOFError):
            while True:
                saved = told.recv()
        newest = number_of(frames, path)
        assert newest in (saved, saved + 1)
        if newest + 2 >= NUM_FRAMES:
            break
    assert newest >= 5
