import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros

BUSY_NODE = """
import sys, time
from rclpy.node import Node
from concerto_ros.ros.process import run_node
from concerto_ros.ros.worker import LatestWorker

class BusyNode(Node):
    def __init__(self):
        super().__init__('busy')
        self.worker = LatestWorker(self, time.sleep)
        self.worker.submit_frame(600.0)
        self.timer = self.create_timer(0.01, self.tell)

    def tell(self):
        self.timer.cancel()
        print('up', flush=True)

    def destroy_node(self):
        print(self.worker.close(0.1))
        super().destroy_node()

sys.exit(run_node(BusyNode))
"""


def test_a_worker_in_the_middle_of_something_long_does_not_hold_up_the_end():
    process = subprocess.Popen(
        [sys.executable, '-c', BUSY_NODE],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == 'up\n'
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert output == 'False\n'  # the thread had not ended, and nobody complained
    assert time.monotonic() - start < 15


SLOW_IMPORT = """
import time
print('importing', flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize('node', ['perception_node', 'replay_node'])
@pytest.mark.parametrize(
    'command',
    [
        ['-m', 'concerto_ros.ros.{node}'],
        ['-c', 'import sys, concerto_ros.ros.programs as p; sys.exit(p.{node}())'],  # as installed
    ],
)
def test_ctrl_c_while_modules_are_loaded_ends_quietly(tmp_path, node, command):
    (tmp_path / 'rclpy.py').write_text(SLOW_IMPORT)  # found before the real one
    process = subprocess.Popen(
        [sys.executable, *(part.format(node=node) for part in command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, 'PYTHONPATH': str(tmp_path)},
    )
    try:
        assert process.stdout.readline() == 'importing\n'
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert output == ''
