"""Trainer: the loop that every pretraining runs in.

data -> values -> terms -> backward -> clip -> step -> teacher -> log -> save
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn, optim
from torch.nn.parallel import DistributedDataParallel

from concerto_ros.errors import ConcertoError
from concerto_ros.model import precision
from training.checkpoint import (
    LAST,
    TrainingState,
    load_state,
    save_state,
    tensor_difference,
)
from training.config import RunConfig
from training.distributed import all_reduce_sum, rank, wait_for_all, world_size
from training.optimizer import apply_step_values
from training.origin import settings_of, source_of_run
from training.progress import Progress
from training.stopping import StopRequestedError, stop_later
from training.structures import LossTerms, StepValues

_log = logging.getLogger(__name__)
# Settings that may differ between the parts of one run without a word.
_FREE = ('run.output', 'run.device', 'run.save_every', 'run.keep_every', 'run.log_every',
         'data.num_workers')  # fmt: skip


class Batch(Protocol):
    """What the trainer knows of a batch."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """One sentence for each scene or image that had to be replaced."""

    @property
    def num_points(self) -> int:
        """How much work the batch is, for the rate that is shown."""

    def to(self, device: torch.device | str) -> Any:
        """Return the batch on another device."""


class Objective(Protocol):
    """What the trainer asks of an objective besides being an `nn.Module`.

    Calling it with a batch and `StepValues` returns `LossTerms`.
    """

    @property
    def weights(self) -> Mapping[str, float]:
        """Of the terms that are losses; the others are monitors."""

    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student."""


class Task(Protocol):
    """One kind of pretraining, with its data."""

    @property
    def config(self) -> Any:
        """All settings: a tree with `run`, `data.accumulation` and `optimizer.clip`."""

    @property
    def objective(self) -> nn.Module:
        """A module that is also an `Objective`, on its device."""

    @property
    def optimizer(self) -> optim.Optimizer:
        """Of its parameters, with `lr_factor` and `decay_factor` in each group."""

    @property
    def network_config(self) -> dict[str, Any]:
        """Of the network, for the checkpoint."""

    def values(self, step: int) -> StepValues:
        """Return what changes with the step."""

    def batches(self, first_step: int) -> Iterator[Batch]:
        """Return the batches of this rank, `accumulation` per step, as functions of the step."""


class Trainer:
    """Trains a task to its last step, from its last checkpoint if there is one.

    Args:
        task: What is trained.
        device: Where.

    Raises:
        CheckpointError: There is a checkpoint, but it is damaged or of another network.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self.task = task
        self.device = device
        self.run: RunConfig = task.config.run
        self.folder = Path(self.run.output)
        self._settings, self._source = settings_of(task.config), source_of_run()
        self.first_step = self._resume()
        self._model = self._wrapped()

    def train(self) -> None:
        """Run the remaining steps.

        Raises:
            ConcertoError: A loss is not finite.
            CheckpointError: The state cannot be written.
            StopRequestedError: SIGTERM or SIGINT came; the state is saved.
        """
        run = self.run
        if self.first_step >= run.num_steps:
            _log.info('%d steps are done already: nothing is left to do', self.first_step)
            return
        objective = cast(Objective, self.task.objective)
        batches = self.task.batches(self.first_step)  # may take long before the first one
        progress = Progress(self.folder, run, self.first_step, objective.weights)
        with stop_later() as stop, progress:
            for step in range(self.first_step, run.num_steps):
                values = self.task.values(step)
                terms = self._gradients(progress.timed(batches), values, progress)
                stopped = self._agree(terms, step, stop.is_set())
                self.task.optimizer.step()
                objective.update_teacher(values.momentum)
                progress.step_done(step, values, terms)
                is_last = step + 1 == run.num_steps
                if stopped or is_last or (step + 1) % run.save_every == 0:
                    self._save(step + 1)
                if stopped and not is_last:
                    raise StopRequestedError(
                        f'stopped by a signal after step {step + 1} of {run.num_steps}; '
                        'the same command goes on from there'
                    )

    def _gradients(
        self, batches: Iterator[Batch], values: StepValues, progress: Progress
    ) -> dict[str, Tensor]:
        """Add up the gradients of one step and clip them.

        Returns:
            The terms of the loss, their weighted sum `loss`, and the norm `gradient`.
        """
        torch.manual_seed(_step_seed(self.run.seed, values.step))
        apply_step_values(self.task.optimizer, values)
        self.task.optimizer.zero_grad(set_to_none=True)
        found: list[LossTerms] = []
        accumulation: int = self.task.config.data.accumulation
        for part in range(accumulation):
            batch = next(batches)
            progress.batch_read(batch)
            is_last = part + 1 == accumulation
            with self._sync(is_last), precision(self.run.precision, self.device):
                terms: LossTerms = self._model(batch.to(self.device), values)
            with self._sync(is_last):
                torch.autograd.backward(terms.total / accumulation)
            found.append(terms)
        parameters = [p for group in self.task.optimizer.param_groups for p in group['params']]
        norm = nn.utils.clip_grad_norm_(parameters, self.task.config.optimizer.clip)
        return {**_mean_terms(found), 'gradient': norm}

    def _sync(self, is_last: bool) -> AbstractContextManager[None]:
        """Hold back the exchange of gradients until the last part of a step."""
        if is_last or not isinstance(self._model, DistributedDataParallel):
            return nullcontext()
        return self._model.no_sync()

    def _agree(self, terms: dict[str, Tensor], step: int, stop: bool) -> bool:
        """Return on all ranks whether any was told to stop; stop at once on broken numbers."""
        is_broken = not all(bool(t.isfinite()) for t in terms.values())
        flags = torch.tensor([float(is_broken), float(stop)], device=self.device)
        any_broken, any_stop = all_reduce_sum(flags).tolist()
        if any_broken:
            shown = ', '.join(f'{name} {value.item():.4g}' for name, value in terms.items())
            raise ConcertoError(
                f'a loss or gradient is not finite at step {step}; rank {rank()} has {shown}. '
                'The last checkpoint is untouched: lower optimizer.clip or optimizer.lr, or set '
                'run.precision to fp32, and start the same command again'
            )
        return bool(any_stop)

    def _wrapped(self) -> nn.Module:
        if world_size() == 1:
            return self.task.objective
        names = signature(DistributedDataParallel).parameters
        sync = 'forward_sync_buffers' if 'forward_sync_buffers' in names else 'broadcast_buffers'
        no_sync: dict[str, Any] = {sync: False}  # the second is the name before torch 2.13
        return DistributedDataParallel(
            self.task.objective,
            device_ids=[self.device] if self.device.type == 'cuda' else None,
            gradient_as_bucket_view=True,
            **no_sync,
        )

    def _resume(self) -> int:
        """Load the last checkpoint of the run; return the step to go on with."""
        path = self.folder / LAST
        step = self._load(path) if path.exists() else 0
        if all_reduce_sum(torch.tensor(step)) != step * world_size():
            raise ConcertoError(
                f'rank {rank()} would go on after step {step}, others elsewhere: "run.output" '
                f'{self.folder} must be one folder that all machines share'
            )
        return step

    def _load(self, path: Path) -> int:
        """Load a checkpoint into objective and optimiser; return its step."""
        cure = 'delete it to start anew, or copy a step_N.pth of the run in its place'
        state = load_state(path, cure=cure)
        for name in sorted(set(self._settings) | set(state.settings)):
            before, now = state.settings.get(name), self._settings.get(name)
            if before != now and name not in _FREE:
                _log.warning('%s was %r in the run that goes on, and is now %r', name, before, now)
        groups = self.task.optimizer.param_groups
        if difference := tensor_difference(self.task.objective.state_dict(), state.state_dict):
            raise ConcertoError(
                f'{path} is of another network: choose another run.output ({difference})'
            )
        try:
            self.task.objective.load_state_dict(dict(state.state_dict))
            factors = [(g['lr_factor'], g['decay_factor']) for g in groups]
            self.task.optimizer.load_state_dict(state.optimizer)
        except ValueError as err:
            raise ConcertoError(
                f'{path} is of other groups of weights: choose another run.output ({err})'
            ) from err
        # What the settings say now, not what they said then.
        for group, (lr, decay) in zip(self.task.optimizer.param_groups, factors, strict=True):
            group['lr_factor'], group['decay_factor'] = lr, decay
        _log.info('going on after step %d of %s', state.step, path)
        return state.step

    def _save(self, num_done: int) -> None:
        """Write the state on the first rank; all wait for it, so that none runs ahead."""
        every = self.run.keep_every
        if rank() == 0:
            save_state(
                self.folder,
                TrainingState(
                    step=num_done,
                    state_dict=self.task.objective.state_dict(),
                    optimizer=self.task.optimizer.state_dict(),
                    config=self.task.network_config,
                    settings=self._settings,
                    source=self._source,
                ),
                keep=every > 0 and num_done % every == 0,
            )
        wait_for_all()


def _mean_terms(found: list[LossTerms]) -> dict[str, Tensor]:
    """Return the mean of each term over the parts that have it, and of the loss."""
    names = dict.fromkeys(name for terms in found for name in terms.terms)
    values = {
        name: torch.stack([t.terms[name].detach().float() for t in found if name in t.terms])
        for name in names
    }
    loss = torch.stack([t.total.detach().float() for t in found])
    return {'loss': loss.mean(), **{name: value.mean() for name, value in values.items()}}


def _step_seed(seed: int, step: int) -> int:
    """Return the seed of the global random numbers of a step, different on each rank."""
    return ((seed * 1_000_003 + step) * 4099 + rank()) % 2**63
