"""Activity: what the threads that work tell of themselves and of the map."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSize:
    """How large the map is.

    Attributes:
        num_voxels: Voxels in which something was measured.
        num_resident: Those of them that are in memory.
        revision: Rises with every change.
        memory: Bytes of each layer.
        max_bytes: What they may take in all; None: there is no limit.
        paged_bytes: Files of chunks on the disk; chunks that are back in memory keep theirs
            until they change.
        num_windows: How often the network has looked at a part.
    """

    num_voxels: int
    num_resident: int
    revision: int
    memory: Mapping[str, int]
    max_bytes: int | None = None
    paged_bytes: int = 0
    num_windows: int = 0


class Activity:
    """Written by the threads that work, read by the executor.

    Attributes:
        map_size: After the last upkeep.
        autosaved: When the map was saved by itself (monotonic, s); None: not yet.
    """

    def __init__(self) -> None:
        self.map_size = MapSize(num_voxels=0, num_resident=0, revision=0, memory={})
        self.autosaved: float | None = None
        self._lock = threading.Lock()
        self._fused: Counter[str] = Counter()
        self._seconds: dict[str, list[float]] = {}
        self._started: dict[str, float] = {}
        self._failures: dict[str, str] = {}

    def count_fused(self, camera: str) -> None:
        """Count a frame of a camera that is in the map now."""
        with self._lock:
            self._fused[camera] += 1

    def add(self, stage: str, seconds: float) -> None:
        """Note how long a stage of the work has taken [s]."""
        with self._lock:
            self._seconds.setdefault(stage, []).append(seconds)

    def note_autosave(self) -> None:
        """Note that the map has been saved by itself."""
        self.autosaved = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the work; if it raises, it fails until it is done again."""
        start = self._started[name] = time.monotonic()
        try:
            yield
        except Exception as err:
            self._failures[name] = f'{type(err).__name__}: {err}'
            raise
        finally:
            del self._started[name]
        self._failures.pop(name, None)
        self.add(name, time.monotonic() - start)

    def num_fused(self, camera: str) -> int:
        """Return how many frames of a camera are in the map so far."""
        return self._fused[camera]

    def running(self) -> dict[str, float]:
        """Return since how long [s] the stages that are being done have been running."""
        now = time.monotonic()
        return {name: now - start for name, start in self._started.copy().items()}

    def failures(self) -> dict[str, str]:
        """Return the errors of the stages that fail at present."""
        return self._failures.copy()

    def take_seconds(self) -> dict[str, list[float]]:
        """Return how long each stage took each time [s] since the last call."""
        with self._lock:
            seconds, self._seconds = self._seconds, {}
        return seconds
