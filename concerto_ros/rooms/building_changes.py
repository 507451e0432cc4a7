"""What is different when a room is visited again: one object stands elsewhere or is gone."""

from dataclasses import dataclass, replace

import numpy as np

from concerto_ros.rooms.room import SyntheticRoom
from concerto_ros.structures import Box

MOVABLE = (
    'chair', 'office chair', 'armchair', 'stool', 'ottoman', 'trash can', 'plant', 'box',
    'backpack',
)  # fmt: skip
_GONE = 0.3  # share of the objects that leave the room


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """An object that changed its place.

    Attributes:
        instance: Its id in instance images, the same before and after.
        class_name: Key of `SCANNET20_OF`.
        before: Where it stood; nothing stands there now.
        after: Where it stands now; None: it is gone.
    """

    instance: int
    class_name: str
    before: Box
    after: Box | None


def with_move(room: SyntheticRoom, rng: np.random.Generator) -> tuple[SyntheticRoom, Move | None]:
    """Return a room in which one object has moved, and which.

    Args:
        room: As it was.
        rng: Draws the object and its new place.

    Returns:
        The room as it was and None if nothing in it can be moved.
    """
    candidates = [
        placed for placed in room.layout.objects
        if placed.model.class_name in MOVABLE
        and placed.position[2] == 0
        and not placed.model.supports  # or things would hang in the air
    ]  # fmt: skip
    if not candidates:
        return room, None
    moved = candidates[rng.integers(len(candidates))]
    layout = room.layout.without(moved, rng)
    stays = rng.random() >= _GONE and layout.somewhere(moved.model)
    if stays:
        layout.objects[-1] = replace(layout.objects[-1], id=moved.id)
    changed = room.rearranged(layout)
    return changed, Move(
        instance=moved.id,
        class_name=moved.model.class_name,
        before=_box(room, moved.id),
        after=_box(changed, moved.id) if stays else None,
    )


def _box(room: SyntheticRoom, instance: int) -> Box:
    return next(known.box for known in room.instances if known.id == instance)
