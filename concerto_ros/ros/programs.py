"""The nodes as programs: Ctrl-C ends them quietly from the first moment on, imports included."""

import os
import signal
from importlib import import_module
from typing import Any

INTERRUPTED = 130  # exit code, as a shell gives it


def perception_node() -> int:
    """Run the perception node; return the exit code."""
    return _run('concerto_ros.ros.perception_node')


def replay_node() -> int:
    """Run the replay node; return the exit code."""
    return _run('concerto_ros.ros.replay_node')


def _run(module: str) -> int:
    """Import a module, which takes seconds, and call its `main`."""
    before = signal.getsignal(signal.SIGINT)
    try:
        if before is signal.default_int_handler:  # it would end an import with a traceback
            signal.signal(signal.SIGINT, _leave)
        main = import_module(module).main
        signal.signal(signal.SIGINT, before)
        return int(main())
    except KeyboardInterrupt:
        return INTERRUPTED


def _leave(*_: Any) -> None:
    os._exit(INTERRUPTED)
