"""Steps without a hidden cell, from which nothing is learned."""

import logging

from concerto_ros.errors import ConcertoError
from training.distributed import rank

_PATIENCE = 20  # such steps in a row

_log = logging.getLogger(__name__)


class NothingHiddenWatch:
    """Tells of the first step that has nothing to learn from, and stops a run of many in a row."""

    def __init__(self) -> None:
        self._since: int | None = None
        self._told = False

    def check(self, step: int, has_hidden: bool) -> None:
        """Take note of a pass, alike on all ranks.

        Raises:
            ConcertoError: There was nothing in too many steps.
        """
        if has_hidden:
            self._since = None
            return
        if self._since is None:
            self._since = step
        if step - self._since + 1 >= _PATIENCE:
            raise ConcertoError(
                f'nothing was hidden in {_PATIENCE} steps, up to step {step}, so nothing is '
                'learned: a crop must have two cells or more of masking.level, so give larger '
                'scenes or lower data.voxel_size; and no level of loss.levels may be far above it'
            )
        if not self._told and rank() == 0:
            self._told = True
            _log.warning(
                'step %d has no hidden cell at any level of loss.levels: nothing is learned from '
                'such steps', step,
            )  # fmt: skip
