"""What is asked about a room, and which answers are right.

Every class is asked for of which the camera measured enough of at least one object: by its name,
and by each synonym that nothing was ever trained with. What counts as fair:

* An answer is right if its centre is in the true box of any object, however little of it was
  seen, of a class that the text names. "Chair" names office chairs and armchairs, too, and a
  synonym such as "seat" names stools and sofas: `meanings.yaml` says so, once for all models.
  An "office chair" is no armchair.
* A class is asked for as absent, by its name, if the room has no object of it at all, nor of a
  class akin to it: no "office chair" where a chair is, but a "television" where a monitor is.
* Walls, floor and ceiling are in every room and wherever one points, so they are asked for, but
  reported apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from concerto_ros.rooms.classes import ROOM_CLASSES
from concerto_ros.rooms.room import SHELL, Instance
from concerto_ros.structures import Box
from training.search_quality.meanings import Meanings
from training.translation.class_texts import ClassTexts


class Kind(Enum):
    """How a class is asked for."""

    NAME = 'name'
    SYNONYM = 'synonym'
    ABSENT = 'absent'


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One text for one room.

    Attributes:
        text: What is asked.
        name: Class that it is asked for.
        kind: How.
        right: Boxes of the objects that answer it; none if it is absent.
    """

    text: str
    name: str
    kind: Kind
    right: tuple[Box, ...]


class Asker:
    """Makes the questions of rooms.

    Args:
        texts: Of each of `ROOM_CLASSES`.
        meanings: Of the texts.
        least_surface: Measured cells of an object before it is asked for.
    """

    def __init__(
        self, texts: Sequence[ClassTexts], meanings: Meanings, least_surface: int
    ) -> None:
        self._texts = dict(zip(ROOM_CLASSES, texts, strict=True))
        self._meanings = meanings
        self._least = least_surface

    def questions(
        self, instances: Sequence[Instance], cells: Mapping[int, int]
    ) -> tuple[Question, ...]:
        """Return all questions about a room, always in the same order.

        Args:
            instances: Of the room.
            cells: Measured ones of each instance id, see `Sightings`.
        """
        seen = {i.class_name for i in instances if cells.get(i.id, 0) >= self._least}
        there = {i.class_name for i in instances}
        asked = []
        for name, texts in self._texts.items():
            if name in seen:
                asked.append(self._question(name, name, Kind.NAME, instances))
                asked += [
                    self._question(text, name, Kind.SYNONYM, instances) for text in texts.held_out
                ]
            elif name not in SHELL and not any(self._meanings.akin(name, t) for t in there):
                asked.append(Question(text=name, name=name, kind=Kind.ABSENT, right=()))
        return tuple(asked)

    def _question(
        self, text: str, name: str, kind: Kind, instances: Sequence[Instance]
    ) -> Question:
        named = self._meanings.named_by(text, name)
        right = tuple(i.box for i in instances if i.class_name in named)
        return Question(text=text, name=name, kind=kind, right=right)


def is_inside(point: NDArray[np.float64], box: Box, slack: float) -> bool:
    """Say whether a point (3,) [m] is in a box that is grown by `slack` [m] on every side."""
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    x, y, z = np.asarray(point, dtype=np.float64) - box.center
    own = np.array([c * x + s * y, c * y - s * x, z])
    return bool((np.abs(own) <= box.size / 2 + slack).all())
