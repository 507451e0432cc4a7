import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros

CHECKOUT = Path(__file__).resolve().parents[2]


def run_demo(*arguments):
    return subprocess.run(
        [sys.executable, '-m', 'concerto_ros.ros.demo', *map(str, arguments)],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def test_the_demo_maps_asks_and_saves(tmp_path):
    result = run_demo('--frames', 3, '--out', tmp_path, 'a wall', 'an elephant')
    assert result.returncode == 0, result.stdout + result.stderr
    assert '3 frames mapped' in result.stdout
    assert re.search(r'a wall +found +0\.\d\d|a wall +found +1\.00', result.stdout)
    assert re.search(r'an elephant +not there', result.stdout)
    assert str(tmp_path / 'map.png') in result.stdout
    assert (tmp_path / 'map.png').stat().st_size > 10_000
    assert (tmp_path / 'map.ply').stat().st_size > 10_000


def test_a_process_that_fails_ends_the_demo_with_its_words(tmp_path):
    result = run_demo('--source', tmp_path / 'nothing', '--out', tmp_path)
    assert result.returncode == 1
    assert 'replay_node ended with code 2' in result.stderr
    assert 'no recording that is understood' in result.stderr
