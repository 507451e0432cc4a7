"""Loops tell how far they are, on a terminal and elsewhere."""

import io

import pytest

from training.protocol import progress
from training.protocol.progress import followed


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self):
        return True


@pytest.fixture
def told(caplog):
    """Return a function that goes through items and returns the lines of the log."""

    def run(items):
        caplog.clear()
        with caplog.at_level('INFO'):
            assert list(followed(items, 'scenes')) == list(items)
        return [record.message for record in caplog.records]

    return run


@pytest.mark.parametrize(('total', 'done'), [
    (0, []), (3, [1, 2, 3]), (10, range(1, 11)), (40, range(4, 41, 4)),
    (25, [3, 5, 8, 10, 13, 15, 18, 20, 23, 25]),
])  # fmt: skip
def test_a_batch_job_has_a_line_after_each_tenth(told, total, done):
    assert told(range(total)) == [f'scenes: {n} of {total}' for n in done]


def test_a_terminal_has_a_bar_and_no_lines(told, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, 'stderr', terminal)
    assert told(range(20)) == []
    assert '20/20' in terminal.getvalue()
