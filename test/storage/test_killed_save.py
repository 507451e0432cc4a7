"""Whenever a save is killed, the folder holds the last whole map or the one being saved."""

import os
import random
import signal
import sys
import time
import traceback

import numpy as np
import pytest

from concerto_ros.storage.manifest import MapInfo
from concerto_ros.storage.map_folder import MapFolder
from concerto_ros.storage.map_writer import Chunk, Content, MapWriter, WeightsFile
from concerto_ros.weights_file import write_weights

KEYS = range(6)
STEPS = ('open', 'os.rename', 'os.remove', 'os.mkdir', 'os.listdir', 'os.scandir')


def revision(key, state):
    """Return when a chunk last changed: chunk 0 at every save, chunk k at every (k + 1)th."""
    return state - state % (key + 1)


def save(writer, state):
    """Save the map of a state; its chunks hold their revision, its weights the state."""
    chunks = {
        key: Chunk(
            revision(key, state),
            lambda key=key: Content(4, {'a': np.full(4, revision(key, state))}),
        )
        for key in KEYS
    }
    weights = {'a': np.full(4, state)}
    write = WeightsFile(str(state), lambda file: write_weights(file, {}, tensors(weights)))
    info = MapInfo(frame_id='map', voxel_size=0.02, header={'state': state})
    writer.save(info, chunks, {'translator': write})


def tensors(arrays):
    import torch

    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def state_of(path):
    """Return the state of the map in a folder, every file of which must be of that state."""
    folder = MapFolder.open(path)
    folder.verify()
    state = folder.info.header['state']
    found = {key: folder.read(key)['a'].tolist() for key in folder.chunks}
    assert found == {key: [revision(key, state)] * 4 for key in KEYS}
    assert folder.manifest.weights['translator'].digest == str(state)
    return state


def in_a_child(work):
    """Run a function in a fork of this process; return its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def ended_by(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_kill_between_any_two_steps_loses_nothing(tmp_path):
    path = tmp_path / 'map'
    with MapWriter(path) as writer:
        save(writer, 1)

    def save_until(step):
        left = [step]

        def count(event, args):
            if event in STEPS:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)  # cannot be taken away, but goes with the child
        with MapWriter(path, continues=MapFolder.open(path)) as writer:
            save(writer, state_of(path) + 1)

    states = [1]
    for step in range(200):
        code = ended_by(in_a_child(lambda step=step: save_until(step)))
        states.append(state_of(path))
        assert states[-1] - states[-2] in (0, 1)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert code == 0
    assert step > 20
    assert states[-1] == states[-2] + 1
    assert len(list(path.glob('*/*.safetensors*'))) == len(KEYS) + 1, 'nothing else is left'


@pytest.mark.parametrize('seed', range(4))
def test_a_kill_at_any_time_loses_one_save_at_most(tmp_path, seed):
    path, rng = tmp_path / 'map', random.Random(seed)
    with MapWriter(path) as writer:
        save(writer, 1)
    state, told, tell = 1, *os.pipe()

    def save_for_ever():
        with MapWriter(path, continues=MapFolder.open(path)) as writer:
            for later in range(state + 1, 10**9):
                save(writer, later)
                os.write(tell, later.to_bytes(8, 'little'))

    for _ in range(5):
        child = in_a_child(save_for_ever)
        last = os.read(told, 8)  # so that it is at work
        time.sleep(rng.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert ended_by(child) == -signal.SIGKILL
        os.set_blocking(told, False)
        while more := read_if_any(told):
            last = more
        os.set_blocking(told, True)
        last, state = int.from_bytes(last, 'little'), state_of(path)
        assert state in (last, last + 1)
    os.close(told)
    os.close(tell)
    MapWriter(path).close()
    assert len(list(path.glob('*/*.safetensors*'))) == len(KEYS) + 1, 'nothing else is left'


def read_if_any(pipe):
    try:
        return os.read(pipe, 8)
    except BlockingIOError:
        return b''
