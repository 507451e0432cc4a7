"""AdamW for heads and what is tuned with them, on one cycle of the learning rate."""

from collections.abc import Iterable

from torch import Tensor, nn, optim

from concerto_ros.errors import ConcertoError
from training.evaluation.config import HeadOptimizerSection
from training.schedules import one_cycle

_BETA1_HIGH, _BETA1_LOW, _BETA2 = 0.95, 0.85, 0.999


class HeadOptimizer:
    """Takes steps on a cycle.

    Parameters with "block" in their name, pretrained or not, learn slower by `block_factor`.

    Args:
        parameters: By name; those without gradient are left out.
        config: Learning rate, weight decay and clipping.
        num_steps: Of the whole cycle.

    Source: published configurations of the probes: one cycle with first momentum against it.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        config: HeadOptimizerSection,
        num_steps: int,
    ) -> None:
        learning = [(name, p) for name, p in parameters if p.requires_grad]
        blocks = [p for name, p in learning if 'block' in name]
        others = [p for name, p in learning if 'block' not in name]
        groups = [{'params': others, 'factor': 1.0}]
        groups += [{'params': blocks, 'factor': config.block_factor}] if blocks else []
        self._config = config
        self._num_steps = num_steps
        self._parameters = others + blocks
        self._optimizer = optim.AdamW(groups, weight_decay=config.weight_decay)
        self._step = 0

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def step(self, loss: Tensor) -> None:
        """Clip the gradients, take a step, and move on in the cycle.

        Args:
            loss: () float that gave the gradients.

        Raises:
            ConcertoError: It is not finite.
        """
        if not loss.isfinite():
            raise ConcertoError(
                f'the loss is {loss.item()} at step {self._step}: lower optimizer.lr'
            )
        c, share = self._config, self._step / max(self._num_steps - 1, 1)
        rate = one_cycle(share, c.warmup, c.lr * c.start_factor, c.lr, c.lr * c.end_factor)
        beta1 = one_cycle(share, c.warmup, _BETA1_HIGH, _BETA1_LOW, _BETA1_HIGH)
        for group in self._optimizer.param_groups:
            group['lr'], group['betas'] = rate * group['factor'], (beta1, _BETA2)
        nn.utils.clip_grad_norm_(self._parameters, c.clip)
        self._optimizer.step()
        self._step += 1
