"""What of this process is in memory, by kind."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """Memory of a process.

    Attributes:
        anonymous: What only it can hold [bytes].
        mapped: Pages of files, which the system takes back when it needs them [bytes].
    """

    anonymous: int
    mapped: int


def resident(status: Path = Path('/proc/self/status')) -> Resident:
    """Return what this process (or that of another status file of Linux) holds now."""
    lines = dict(line.split(':', 1) for line in status.read_text().splitlines() if ':' in line)
    anonymous, mapped = (1024 * int(lines[name].split()[0]) for name in ('RssAnon', 'RssFile'))
    return Resident(anonymous=anonymous, mapped=mapped)
