"""The furniture families; importing this folder enters all of them into the catalogue."""

from concerto_ros.rooms.furniture import (
    appliances,
    bath,
    beds,
    seating,
    small_objects,
    storage,
    tables,
    wall_hung,
)

__all__ = [
    'appliances', 'bath', 'beds', 'seating', 'small_objects', 'storage', 'tables', 'wall_hung',
]  # fmt: skip
