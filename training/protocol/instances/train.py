"""Training of the heads of the instance probe on cached features."""

from collections.abc import Iterator

import torch
from torch import Tensor, optim

from concerto_ros.errors import ConcertoError
from training.evaluation.class_lists import ClassList
from training.evaluation.training_rows import FeatureRows, Scaling, measure_scaling, no_scaling
from training.protocol.instances.config import InstanceSection
from training.protocol.instances.head import InstanceHeads
from training.protocol.instances.loss import instance_loss
from training.protocol.instances.rows import InstanceRows
from training.protocol.progress import followed


def train_instances(
    rows: InstanceRows,
    classes: ClassList,
    config: InstanceSection,
    seed: int,
    device: torch.device,
) -> InstanceHeads:
    """Train the heads.

    Args:
        rows: Features, classes and offsets.
        classes: What is to be told apart.
        config: Head and optimiser.
        seed: Of weights and order.
        device: Where to train; the rows stay on the CPU.

    Returns:
        Heads for the features as the source gives them, in eval mode, on `device`.

    Raises:
        ConcertoError: The loss is not finite.
    """
    scaling = _scaling(rows.feat, config.standardize)
    generator = torch.Generator().manual_seed(seed)
    heads = InstanceHeads(len(classes.names), config.offset_head, scaling, generator).to(device)
    optimizer = optim.SGD(
        heads.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay
    )
    batches = _Batches(rows.scene, config, generator)
    for step, picked in enumerate(followed(batches, 'instance steps')):
        share = step / len(batches)
        optimizer.param_groups[0]['lr'] = config.lr * (1 - share) ** config.power
        x = rows.feat[picked].to(device).float()
        targets = (rows.label, rows.offset, rows.has_offset)
        loss = instance_loss(*heads(x), *(t[picked].to(device) for t in targets))
        _check(loss, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return heads.eval().requires_grad_(False)


def _scaling(feat: FeatureRows, standardize: bool) -> Scaling:
    """Return what makes the mean square length of rows one."""
    num_channels = feat.shape[1]
    if not standardize:
        return no_scaling(num_channels)
    measured = measure_scaling(feat)
    return Scaling(mean=measured.mean, spread=measured.spread * num_channels**0.5)


def _check(loss: Tensor, step: int) -> None:
    if not loss.isfinite():
        raise ConcertoError(f'the loss is {loss.item()} at step {step}: lower instances.lr')


class _Batches:
    """Rows of some scenes, in an order drawn anew for each pass; a rest sits it out."""

    def __init__(self, scene: Tensor, config: InstanceSection, generator: torch.Generator) -> None:
        count = torch.unique_consecutive(scene, return_counts=True)[1]
        self._rows = torch.split(torch.arange(len(scene)), count.tolist())
        self._size = min(config.batch_size, len(self._rows))
        self._epochs, self._generator = config.epochs, generator

    def __len__(self) -> int:
        return self._epochs * (len(self._rows) // self._size)

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(self._epochs):
            order = torch.randperm(len(self._rows), generator=self._generator)
            for chosen in torch.split(order, self._size):
                if len(chosen) == self._size:
                    yield torch.cat([self._rows[i] for i in chosen.tolist()])
