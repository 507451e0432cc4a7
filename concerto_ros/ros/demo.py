"""The demo: a synthetic room is mapped by real nodes and searched for objects.

python -m concerto_ros.ros.demo --source rooms:5014 --out out/demo

Three processes: a replay node that plays the room as a camera would, the perception node, and
this one, a client that watches, asks, and saves the map.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclpy.executors import ExternalShutdownException
from tqdm import tqdm

from concerto_msgs.srv import FindObjects
from concerto_ros.errors import ConcertoError
from concerto_ros.ros.child_processes import ChildProcesses
from concerto_ros.ros.demo_client import DemoClient, object_hit
from concerto_ros.structures import Labels
from concerto_ros.visualization.picture import map_picture
from concerto_ros.visualization.ply import read_ply

SOURCE = 'rooms:5014'  # a kitchen; the model in the box was trained on others
NUM_FRAMES = 60
QUERIES = (
    'a refrigerator',
    'a chair',
    'the table',
    'microwave',
    'an oven',  # nothing was trained with this name of a stove
    'something to sit on',
    'a bathtub',
    'an elephant',
)

_START_TIME = 60.0  # seconds; importing torch from a slow disk takes long
_FUSION_TIME = 60.0  # seconds without any progress
_LABEL_TIME = 10.0  # seconds without any progress
_LOOKED_AT = 0.99  # share of the map
_SHM_PROFILE = Path(__file__).resolve().parents[2] / 'config' / 'fastdds_shm.xml'


def main(args: Sequence[str] | None = None) -> int:
    """Run the demo; return 0, or 1 if anything went wrong."""
    options = _options(args)
    _isolate(options.out)
    for ending in (signal.SIGHUP, signal.SIGTERM):  # these, too, shall end the other processes
        signal.signal(ending, _interrupt)
    try:
        with ChildProcesses(options.out / 'log') as children:
            _run(options, children)
    except ConcertoError as err:
        sys.stderr.write(f'\nThe demo failed: {err}\n')
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        sys.stderr.write('\nThe demo was interrupted.\n')
        return 1
    return 0


def _options(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Map a room with real nodes and search it.')
    parser.add_argument('--source', default=SOURCE, help='rooms:SEED, a bag or a folder of frames')
    parser.add_argument('--frames', type=int, default=NUM_FRAMES, help='how many; 0: all')
    parser.add_argument('--out', type=Path, default=Path('out/demo'), help='folder for the map')
    parser.add_argument('queries', nargs='*', default=QUERIES, help='what to look for')
    return parser.parse_args(args)


def _isolate(out: Path) -> None:
    """Keep this demo apart from other ones and from robots; must run before rclpy starts."""
    os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 101))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ.setdefault('ROS_LOG_DIR', str(out / 'log'))
    if _SHM_PROFILE.is_file():
        os.environ.setdefault('FASTRTPS_DEFAULT_PROFILES_FILE', str(_SHM_PROFILE))


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _run(options: argparse.Namespace, children: ChildProcesses) -> None:
    started = time.monotonic()
    _say(
        f'Three processes over ROS 2, domain {os.environ["ROS_DOMAIN_ID"]}:',
        f'  replay_node      plays {options.source} as a camera with /tf',
        '  perception_node  builds the map',
        '  this client      watches, asks, and has the map saved',
        '',
    )
    children.start('perception_node', 'concerto_ros.ros.perception_node', [])
    with DemoClient(check=lambda: children.check_runs('perception_node')) as client:
        # only then, so that no frame is fused unheard; the labels are the last thing to be heard
        client.until(lambda: client.labels is not None, _START_TIME, 'the perception node')
        children.start('replay_node', 'concerto_ros.ros.replay_node', _replay_arguments(options))
        _watch(client, children, started, options.frames or None)
        _await_labels(client)
        answers = {text: client.find(text) for text in options.queries}
        _say('', *_table(answers), '')
        saved = client.save(options.out / 'map.ply')
    assert client.labels is not None
    picture = options.out / 'map.png'
    _draw(picture, options.out / 'map.ply', client.labels, answers)
    _say(
        f'{options.out / "map.ply"}   the map, {saved.num_points} points '
        '(opens in CloudCompare, MeshLab, Blender)',
        f'{picture}   the map by label beside the map by colour',
        '',
        f'Done in {time.monotonic() - started:.0f} s.',
    )


def _replay_arguments(options: argparse.Namespace) -> list[str]:
    values = {
        'source': options.source,
        'num_frames': options.frames,
        'rate': 0.0,
        'lock_step': 'true',
    }
    return ['--ros-args', *(a for n, v in values.items() for a in ('-p', f'{n}:={v}'))]


def _watch(
    client: DemoClient, children: ChildProcesses, started: float, num_frames: int | None
) -> None:
    """Show progress until the replay has ended."""
    with tqdm(total=num_frames, desc='mapping', unit='frame', disable=None) as progress:
        while not children.has_ended('replay_node'):

            def has_news() -> bool:
                return client.num_fused > progress.n or children.has_ended('replay_node')

            client.until(has_news, _FUSION_TIME, 'the next frame')
            progress.update(client.num_fused - progress.n)
        client.take_what_came()  # the end may overtake the news of the last frames
        progress.update(client.num_fused - progress.n)
    seconds = time.monotonic() - started
    _say(f'{client.num_fused} frames mapped in {seconds:.0f} s, the start of the nodes included.')


def _await_labels(client: DemoClient) -> None:
    """Wait until the network has looked at all of the map, or as much as it can at once."""
    share, deadline = -1.0, 0.0
    while share < _LOOKED_AT:
        answer = client.find('a thing')
        if answer.observed_share > share:
            share, deadline = answer.observed_share, time.monotonic() + _LABEL_TIME
        if not answer.success or time.monotonic() > deadline:
            return
        client.take_what_came()


def _table(answers: dict[str, FindObjects.Response]) -> list[str]:
    """Return what was asked, found and where, as lines of text."""
    width = max(len(text) for text in (*answers, 'asked for')) + 2
    lines = [f'{"asked for":{width}}{"answer":14}{"score":>6}  where x, y, z [m]']
    lines.append('-' * (width + 42))
    for text, answer in answers.items():
        name = _VERDICTS[answer.verdict]
        where = ''
        if answer.objects:
            best = object_hit(answer.objects[0])
            x, y, z = best.center
            where = f'{best.score:6.2f}  {x:.2f}, {y:.2f}, {z:.2f}'
        lines.append(f'{text:{width}}{name:14}{where}'.rstrip())
    failures = dict.fromkeys(a.message for a in answers.values() if not a.success)
    return [*lines, *(f'({message})' for message in failures)]


_VERDICTS = {
    FindObjects.Response.NONE: 'no answer',
    FindObjects.Response.FOUND: 'found',
    FindObjects.Response.ABSENT: 'not there',
    FindObjects.Response.UNOBSERVED: 'not seen yet',
}


def _draw(path: Path, ply: Path, labels: Labels, found: dict[str, FindObjects.Response]) -> None:
    answers = {
        text: object_hit(a.objects[0]) if a.objects else _VERDICTS[a.verdict]
        for text, a in found.items()
    }
    map_picture(path, read_ply(ply), labels, answers=answers)


def _say(*lines: str) -> None:
    sys.stdout.write('\n'.join(lines) + '\n')
    sys.stdout.flush()


if __name__ == '__main__':
    sys.exit(main())
