import os
import time

import pytest

from concerto_ros.ros.child_processes import ChildProcesses, ProcessDied

pytestmark = pytest.mark.ros


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Return start(code): children, of which one named child runs these lines of Python."""
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    children = ChildProcesses(tmp_path / 'log')

    def start(code):
        (tmp_path / 'child_module.py').write_text(code)
        children.start('child', 'child_module', [])
        return children

    yield start
    children.close()


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_good_end_is_told(start):
    children = start('')
    until(lambda: children.has_ended('child'))
    with pytest.raises(ProcessDied, match='child ended too early'):
        children.check_runs('child')


def test_a_bad_end_shows_the_last_lines(start):
    children = start('for i in range(100): print("line", i)\nraise SystemExit(3)')
    with pytest.raises(ProcessDied, match=r'(?s)ended with code 3.*child.log.*line 99') as info:
        until(lambda: children.has_ended('child'))
    assert 'line 80' not in str(info.value)


def test_what_still_runs_is_ended(start, tmp_path):
    children = start(
        f'import os, time; open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))\n'
        'time.sleep(100)'
    )
    until(lambda: (tmp_path / 'pid').exists() and (tmp_path / 'pid').read_text())
    children.check_runs('child')
    children.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / 'pid').read_text()), 0)
