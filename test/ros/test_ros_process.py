import signal
import subprocess
import sys
import time

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
