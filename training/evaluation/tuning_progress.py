"""The line on the terminal that tells how far a tuning probe is."""

import logging
import time
from collections.abc import Iterator

from torch import Tensor

from training.evaluation.scene_crops import LabelledVoxels
from training.progress import clock

_log = logging.getLogger(__name__)


class TuningProgress:
    """Counts and times the steps of a tuning, and tells of them.

    Args:
        num_steps: Of the whole tuning.
        log_every: Steps between lines; the last step has one, too.
    """

    def __init__(self, num_steps: int, log_every: int) -> None:
        self._num_steps, self._log_every = num_steps, log_every
        self._started = self._since = time.perf_counter()
        self._points, self._waited = 0, 0.0

    def timed(self, batches: Iterator[LabelledVoxels]) -> Iterator[LabelledVoxels]:
        """Yield the batches; the time to get each of them counts as waiting for data."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            self._waited += time.perf_counter() - start
            self._points += len(batch.points)
            yield batch

    def step_done(self, step: int, loss: Tensor) -> None:
        """Tell of a step if it is time to.

        Args:
            step: From 0 on.
            loss: () float of this step.
        """
        done = step + 1
        if done % self._log_every and done != self._num_steps:
            return
        now = time.perf_counter()
        seconds, per_step = now - self._since, (now - self._started) / done
        _log.info(
            'step %d/%d loss %.3f %.0fk points/s data %.0f%% %s left',
            done, self._num_steps, loss.item(), self._points / seconds / 1e3,
            100 * self._waited / seconds, clock((self._num_steps - done) * per_step),
        )  # fmt: skip
        self._since, self._points, self._waited = now, 0, 0.0
