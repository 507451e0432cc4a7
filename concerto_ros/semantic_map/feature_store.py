"""FeatureStore: what the network knows of the cells of a map, each cell of each level once.

store = FeatureStore(widths, voxel_map.cells, translator.norms, device)
changed = store.write(parts, below)              # after the network has looked at a window
label, confidence = head.predict(store.part(changed))
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from concerto_ros.errors import ConcertoError
from concerto_ros.mapping.growing import GrowingTensor
from concerto_ros.model import StoredFeatures
from concerto_ros.model.stored_features import StoredLevel

_LARGEST = 1000.0  # of the stored numbers; float16 ends at 65504


class CellTables(Protocol):
    """How the cells of a map hang together; those of the finest level come first.

    A slot is the number of a cell within its level. Slots of cells that are no more are used
    again, and until then their entries in `parent` stay as they were.
    """

    @property
    def parent(self) -> Sequence[Tensor]:
        """Of each level but the coarsest, (length,) int32 slot of the coarser cell around each."""
        ...

    def length(self, level: int) -> int:
        """Return how many slots of a level were ever used."""
        ...

    def reserve(self, level: int) -> int:
        """Return how many slots of a level are expected at most."""
        ...


class LevelUpdate(NamedTuple):
    """What a window says about cells of one level.

    Attributes:
        slot: (M,) int64, each once.
        feat: (M, C_s) float.
        weight: (M,) float in 0..1, how far what is stored moves towards `feat`; where nothing is
            known, all the way.
    """

    slot: Tensor
    feat: Tensor
    weight: Tensor


class FeatureStore:
    """Features by slot, as float16 with one scale per level.

    Slots of which nothing is known hold finite numbers that mean nothing, and the norm 0.

    Args:
        widths: C_s, channels of each level, finest first; at least one.
        cells: Of the map; may grow at any time.
        measure: Gives the lengths (N,) of N translated features, see `Translator.norms`.
        device: Where the features live.
    """

    def __init__(
        self,
        widths: Sequence[int],
        cells: CellTables,
        measure: Callable[[StoredFeatures], Tensor],
        device: torch.device | str = 'cpu',
    ) -> None:
        self._cells = cells
        self._measure = measure
        self._pools = tuple(
            _Pool(width, device, cells.reserve(level)) for level, width in enumerate(widths)
        )
        self._norms = GrowingTensor((), torch.float32, device, cells.reserve(0))

    @property
    def is_known(self) -> Tensor:
        """(N,) bool per slot of the finest level: the network has looked at it.

        Like all views of the store, it is valid until the map or the store changes.
        """
        self._grow()
        return self._pools[0].is_known.all()

    @property
    def norms(self) -> Tensor:
        """(N,) float32 lengths of the translated features; a view."""
        self._grow()
        return self._norms.all()

    @property
    def bytes_per_level(self) -> tuple[int, ...]:
        """Memory of features and marks, with the room that is kept; norms are of the finest."""
        finest, *coarser = (pool.num_bytes for pool in self._pools)
        return (finest + self._norms.num_bytes, *coarser)

    def stored(self) -> StoredFeatures:
        """Return the features of all slots of the finest level; views, nothing is copied."""
        self._grow()
        nothing = torch.empty(0, dtype=torch.int32, device=self._norms.all().device)
        inverses = (nothing, *self._cells.parent[: len(self._pools) - 1])
        return StoredFeatures.of_levels(
            [
                StoredLevel(pool.feat.all(), pool.scale, inverse)
                for pool, inverse in zip(self._pools, inverses, strict=True)
            ]
        )

    def part(self, slot: Tensor) -> StoredFeatures:
        """Return a copy of the features of slots (M,) int64 of the finest level, each once."""
        return self.stored().take(slot)

    @torch.inference_mode()
    def write(self, parts: Sequence[Sequence[LevelUpdate]], below: Tensor) -> Tensor:
        """Take in what the network made of the parts of a window, one after the other.

        Args:
            parts: Each of all levels, finest first.
            below: (K,) int64 slots of the finest level that lie in coarser cells of the window,
                whether they are in a part or not.

        Returns:
            (U,) int64, sorted, the slots of the finest level whose feature may have changed.

        Raises:
            ConcertoError: A number is not finite; nothing has changed.
        """
        self._grow()
        for level, pool in enumerate(self._pools):
            pool.fit(max((_largest(part[level].feat) for part in parts), default=0.0))
        for part in parts:
            for pool, update in zip(self._pools, part, strict=True):
                pool.move(update)
        changed: Tensor = torch.unique(torch.cat([*(part[0].slot for part in parts), below]))
        changed = changed[self.is_known[changed]]
        self.norms[changed] = self._measure(self.part(changed))
        return changed

    @torch.inference_mode()
    def forget(self, slots: Sequence[Tensor]) -> None:
        """Know nothing of cells any more: of each level (M_s,) int64."""
        self._grow()
        for pool, slot in zip(self._pools, slots, strict=True):
            pool.is_known.all()[slot] = False
        self.norms[slots[0]] = 0

    @torch.inference_mode()
    def take(self, slots: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return copies of what is known of cells, to be stored elsewhere and `put` back.

        Args:
            slots: Of each level (M_s,) int64: all cells in some cells of the coarsest level.
        """
        self._grow()
        record = {'feature_norm': self.norms[slots[0]]}
        for level, (pool, slot) in enumerate(zip(self._pools, slots, strict=True)):
            record[f'feature_{level}'] = pool.feat.all()[slot]
            record[f'feature_known_{level}'] = pool.is_known.all()[slot]
        scales = [pool.scale for pool in self._pools]
        return record | {'feature_scale': torch.tensor(scales, dtype=torch.float32)}

    @torch.inference_mode()
    def put(self, slots: Sequence[Tensor], record: Mapping[str, Tensor]) -> None:
        """Bring back what `take` returned, to cells that may have other slots now.

        Args:
            slots: Of each level (M_s,) int64, in the order in which they were taken.
            record: More entries do no harm; without 'feature_norm', lengths are measured anew.
        """
        self._grow()
        scales = record['feature_scale'].tolist()
        for level, (pool, slot) in enumerate(zip(self._pools, slots, strict=True)):
            known = record[f'feature_known_{level}']
            pool.put(slot, record[f'feature_{level}'], scales[level], known)
        norm = record.get('feature_norm')
        if norm is None:
            norm = self._measure(self.part(slots[0])) * self.is_known[slots[0]]
        self.norms[slots[0]] = norm.to(self.norms.device)

    @torch.inference_mode()
    def _grow(self) -> None:
        for level, pool in enumerate(self._pools):
            pool.grow(self._cells.length(level))
        self._norms.grow(self._cells.length(0))


class _Pool:
    """The features of one level."""

    def __init__(self, width: int, device: torch.device | str, reserve: int) -> None:
        self.feat = GrowingTensor((width,), torch.float16, device, reserve)
        self.is_known = GrowingTensor((), torch.bool, device, reserve)
        self.scale = 1.0  # a power of two, so that moving to another rounds nothing

    @property
    def num_bytes(self) -> int:
        return self.feat.num_bytes + self.is_known.num_bytes

    def grow(self, length: int) -> None:
        self.feat.grow(length)
        self.is_known.grow(length)

    def fit(self, largest: float) -> None:
        """Raise the scale until a number fits; rare, as it goes up by powers of two."""
        if largest <= _LARGEST * self.scale:
            return
        scale = 2.0 ** math.ceil(math.log2(largest / _LARGEST))
        self.feat.all().mul_(self.scale / scale)
        self.scale = scale

    def move(self, level: LevelUpdate) -> None:
        weight = level.weight.float().where(self.is_known.all()[level.slot], 1.0)
        used = weight > 0
        slot, weight = level.slot[used], weight[used, None]
        old = self.feat.all()[slot].float() * self.scale
        new = torch.lerp(old, level.feat[used].float(), weight)
        self.feat.all()[slot] = (new / self.scale).half()
        self.is_known.all()[slot] = True

    def put(self, slot: Tensor, feat: Tensor, scale: float, is_known: Tensor) -> None:
        room = self.feat.all()
        value = feat.to(room.device).float() * scale
        self.fit(_largest(value))
        room[slot] = (value / self.scale).half()
        self.is_known.all()[slot] = is_known.to(room.device)


def _largest(feat: Tensor) -> float:
    """Return the largest absolute number; 0 if there is none.

    Raises:
        ConcertoError: One is not finite.
    """
    largest = float(feat.abs().amax()) if feat.numel() else 0.0
    if not math.isfinite(largest):
        raise ConcertoError(
            'features are not finite, so nothing is stored: set semantics.precision to fp32, or '
            'load other weights'
        )
    return largest
