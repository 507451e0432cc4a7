"""The main function of a node: one executor, clean ends, start-up errors in one line."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from concerto_ros.errors import ConcertoError
from concerto_ros.ros.worker import THREADS

BAD_START = 2  # exit code


def run_node(make_node: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """Spin a node until Ctrl-C or SIGTERM and clean up.

    Args:
        make_node: Makes the node; a `ConcertoError` of it is shown in one line.
        args: Command line without the program's name; None: that of the process.

    Returns:
        Exit code: 0 after a signal, 2 if the node cannot start.
    """
    node, code, is_up = None, 0, False
    try:
        keep_freed_memory()
        rclpy.init(args=args)
        is_up = True
        node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except ConcertoError as err:
        rclpy.logging.get_logger('concerto_ros').fatal(' '.join(str(err).split()))
        code = BAD_START
    except Exception:
        if not is_up or rclpy.ok():  # else a signal took away what was in use
            raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not break this
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    _leave_stuck_worker(code)
    return code


def keep_freed_memory() -> None:
    """Have glibc keep freed memory: for large messages page faults cost more than the copy.

    Where MALLOC_MMAP_THRESHOLD_ is set, the user has chosen.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None and 'MALLOC_MMAP_THRESHOLD_' not in os.environ:
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        mallopt(-1, 2_000_000_000)  # M_TRIM_THRESHOLD


def _leave_stuck_worker(code: int) -> None:
    """End the process here if a thread still works: an interpreter that ends would crash it."""
    if any(thread.name.startswith(THREADS) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
