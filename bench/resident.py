"""What of this process is in memory, by kind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar('T')
_STATUS = Path('/proc/self/status')


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """Memory of a process.

    Attributes:
        anonymous: What only it can hold [bytes].
        mapped: Pages of files, which the system takes back when it needs them [bytes].
    """

    anonymous: int
    mapped: int


def resident(status: Path = _STATUS) -> Resident:
    """Return what this process (or that of another status file of Linux) holds now."""
    return Resident(anonymous=_bytes_of(status, 'RssAnon'), mapped=_bytes_of(status, 'RssFile'))


def with_peak(run: Callable[[], T]) -> tuple[T, int]:
    """Return what a function returns, and the most memory of this process meanwhile [bytes]."""
    Path('/proc/self/clear_refs').write_text('5')  # forgets earlier peaks
    return run(), _bytes_of(_STATUS, 'VmHWM')


def _bytes_of(status: Path, name: str) -> int:
    lines = dict(line.split(':', 1) for line in status.read_text().splitlines() if ':' in line)
    return 1024 * int(lines[name].split()[0])
