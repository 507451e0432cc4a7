"""TimeJumps: a jump back of time that several cameras see, told once."""

from collections.abc import Callable, Mapping


class TimeJumps:
    """Takes the jumps of single cameras for jumps of time.

    In a looping recording cameras jump one after the other: the first one tells, the others join
    in. A camera that jumps again while another goes on has a clock that is wrong.

    Args:
        num_pairs: Gives how many pairs of images each camera has had so far, by its name.
        on_jump: Called with the new stamp [ns] when time has jumped back.
    """

    def __init__(
        self, num_pairs: Callable[[], Mapping[str, int]], on_jump: Callable[[int], None]
    ) -> None:
        self._num_pairs = num_pairs
        self._on_jump = on_jump
        self._before: Mapping[str, int] = {}  # pairs of each camera at the last jump
        self._jumped: set[str] = set()  # cameras that have taken part in it

    def add(self, camera: str, stamp: int) -> bool:
        """Take the jump of a camera back to a stamp [ns]; return False if only its clock did."""
        if self._jumped and camera not in self._jumped:
            self._jumped.add(camera)
            return True
        now, before = self._num_pairs(), self._before
        others = now.keys() - self._jumped - {camera}
        self._before = now
        if self._jumped and any(now[name] > before.get(name, 0) for name in others):
            return False
        self._jumped = {camera}
        self._on_jump(stamp)
        return True
