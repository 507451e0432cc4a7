"""TensorBatch: batches of tensors that go to another device as one."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from concerto_ros.model import PointBatch

B = TypeVar('B', bound='TensorBatch')


class TensorBatch:
    """Base of frozen dataclasses that hold tensors and clouds beside plain values."""

    __slots__ = ()

    def to(self: B, device: torch.device | str) -> B:
        """Return the same batch on another device; a GPU takes pinned memory while others work."""
        is_cuda = torch.device(device).type == 'cuda'
        return _changed(self, lambda x: x.to(device, non_blocking=is_cuda))

    def pin_memory(self: B) -> B:
        """Return the same batch in memory that a GPU reads by itself; loaders call it."""
        return _changed(self, Tensor.pin_memory)


def _changed(batch: B, change: Callable[[Tensor], Tensor]) -> B:
    """Return a copy with other tensors, those of clouds among them."""
    values = {f.name: getattr(batch, f.name) for f in fields(cast(Any, batch))}
    changed: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            changed[name] = change(value)
        elif isinstance(value, PointBatch):
            parts = {f.name: change(getattr(value, f.name)) for f in fields(value)}
            changed[name] = PointBatch(**parts)
    return cast(B, replace(cast(Any, batch), **changed))
