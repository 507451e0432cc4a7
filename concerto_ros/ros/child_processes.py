"""Nodes as processes of their own: started together, watched, and always ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from concerto_ros.errors import ConcertoError

_TAIL_LINES = 15
_PATIENCE = 6.0  # seconds from Ctrl-C to SIGKILL


class ProcessDied(ConcertoError):  # noqa: N818 - names what happened
    """A process ended that should have gone on; the message ends with its last log lines."""


class ChildProcesses:
    """Python modules run as processes; a context manager that ends those that still run.

    Args:
        log_folder: Where each process writes NAME.log; it is made.
    """

    def __init__(self, log_folder: Path) -> None:
        log_folder.mkdir(parents=True, exist_ok=True)
        self._log_folder = log_folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> 'ChildProcesses':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, name: str, module: str, arguments: Sequence[str]) -> None:
        """Run `python -m module arguments` in the environment of this process."""
        with self._log_file(name).open('wb') as log:
            self._children[name] = subprocess.Popen(
                [sys.executable, '-m', module, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=os.environ.copy(),
                start_new_session=True,  # Ctrl-C is passed on by us, in order
            )

    def has_ended(self, name: str) -> bool:
        """Tell whether a process ended well.

        Raises:
            ProcessDied: It ended with an error.
        """
        code = self._children[name].poll()
        if code:
            raise ProcessDied(f'{name} ended with code {code}; {self._tail(name)}')
        return code is not None

    def check_runs(self, name: str) -> None:
        """Make sure that a process still runs.

        Raises:
            ProcessDied: It does not.
        """
        if self.has_ended(name):
            raise ProcessDied(f'{name} ended too early; {self._tail(name)}')

    def close(self) -> None:
        """End all that still run: gently, then by force."""
        for child in self._children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
        for child in self._children.values():
            try:
                child.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _log_file(self, name: str) -> Path:
        return self._log_folder / f'{name}.log'

    def _tail(self, name: str) -> str:
        lines = self._log_file(name).read_text(errors='replace').splitlines()[-_TAIL_LINES:]
        return '\n  '.join([f'the end of {self._log_file(name)}:', *(lines or ['(empty)'])])
