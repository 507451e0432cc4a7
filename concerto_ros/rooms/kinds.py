"""What stands where in each kind of room."""

import math
from collections.abc import Callable

import numpy as np

from concerto_ros.rooms.layout import Layout, RoomObject
from concerto_ros.rooms.shell import add_shell
from concerto_ros.rooms.sketch import Families, Range

_OPPOSITE = (2, 3, 0, 1)


def furnished(kind: str, rng: np.random.Generator, families: Families) -> Layout:
    """Draw a room of a kind of `KINDS`, with doors, windows, furniture and small objects."""
    ranges, furnish = KINDS[kind]
    size = tuple(float(rng.uniform(*r)) for r in ranges)
    layout = Layout((size[0], size[1], float(rng.uniform(2.4, 2.9))), rng, families)
    while layout.opening('door') is None:
        pass  # widths and walls are drawn anew: the shortest wall of all kinds takes any door
    for _ in range(1 if kind == 'bathroom' else int(rng.integers(1, 3))):
        layout.opening('window')
    furnish(layout)
    _decorate(layout)
    add_shell(layout)
    return layout


def _living_room(room: Layout) -> None:
    if room.chance(0.6):
        room.rug()
    sofa = room.against_wall('sofa')
    if sofa:
        room.in_front('coffee table', sofa, (0.3, 0.5))
        for _ in range(int(room.rng.integers(0, 4))):
            room.on('pillow', sofa, (0.0, 0.7))
        room.beside('lamp', sofa, left=room.chance(0.5))
        opposite = (_OPPOSITE[room.wall_of(sofa)],)
        stand = room.against_wall('tv stand', opposite) or room.against_wall('tv stand')
        if stand:
            room.on('television', stand, turn=0.05)
    for name in ('bookshelf', 'armchair', 'cabinet', 'radiator'):
        room.against_wall(name)
    _some(
        room, room.anywhere, (('plant', 0.8), ('ottoman', 0.6), ('armchair', 0.4), ('ball', 0.5))
    )
    if room.chance(0.3):
        room.on_wall('television', (1.3, 1.5))


def _bedroom(room: Layout) -> None:
    if room.chance(0.5):
        room.rug()
    bed = room.against_wall('bed')
    if bed:
        for left in (True, False):
            nightstand = room.beside('nightstand', bed, left)
            if nightstand and room.chance(0.8):
                room.on('lamp', nightstand)
        for _ in range(int(room.rng.integers(1, 4))):
            room.on('pillow', bed, (0.0, 1.0))
    _some(
        room,
        room.against_wall,
        (('wardrobe', 0.9), ('dresser', 0.7), ('mirror', 0.6), ('radiator', 0.5)),
    )
    if room.chance(0.5):
        _workplace(room, 'chair')
    _some(room, room.anywhere, (('backpack', 0.6), ('box', 0.4), ('ball', 0.4), ('ottoman', 0.3)))


def _kitchen(room: Layout) -> None:
    longest = max(wall.length for wall in room.walls)
    counter = room.against_wall('counter', width=room.between(0.35, 0.5) * longest)
    if counter:
        room.on('sink', counter, turn=0.0)
        for name in ('stove', 'refrigerator'):
            if not room.beside(name, counter, left=room.chance(0.5)):
                room.against_wall(name)
        wall = room.wall_of(counter)
        width = float(counter.model.high[1] - counter.model.low[1]) * room.between(0.6, 0.95)
        room.on_wall(
            'kitchen cabinet', (1.7, 1.8), wall=wall, along=room.along(counter, wall), width=width
        )
        for name in ('microwave', 'bottle', 'cup', 'bowl', 'box'):
            if room.chance(0.75):
                room.on(name, counter)
    else:
        room.against_wall('refrigerator')
    _dining(room, 0.7 if room.size[0] * room.size[1] > 8 else 0.3)
    _some(
        room,
        room.against_wall,
        (('trash can', 0.9), ('cabinet', 0.5), ('stool', 0.6), ('radiator', 0.4)),
    )


def _office(room: Layout) -> None:
    for _ in range(int(room.rng.integers(1, 4))):
        _workplace(room, 'office chair')
    _some(room, room.against_wall, (('file cabinet', 0.8), ('bookshelf', 0.8), ('cabinet', 0.5)))
    room.on_wall('whiteboard', (1.35, 1.5))
    _some(
        room,
        room.against_wall,
        (('trash can', 0.9), ('plant', 0.7), ('radiator', 0.5), ('box', 0.4)),
    )
    if room.chance(0.5):
        room.anywhere('backpack')


def _bathroom(room: Layout) -> None:
    tub = room.against_wall('bathtub', gap=(0.0, 0.02))
    if tub:
        _shower_curtain(room, tub)
    for name in ('toilet', 'sink'):
        placed = room.against_wall(name)
        if placed and name == 'sink':
            wall = room.wall_of(placed)
            room.on_wall('mirror', (1.45, 1.6), wall=wall, along=room.along(placed, wall))
    for name, share in (('washing machine', 0.5), ('cabinet', 0.5), ('trash can', 0.7)):
        if room.chance(share):
            placed = room.against_wall(name)
            if placed:
                room.on('towel', placed)
    room.on_wall('towel', (1.1, 1.3))
    if room.chance(0.5):
        room.anywhere('rug', depth=0.5, width=0.8)


def _meeting_room(room: Layout) -> None:
    long_y = room.size[1] >= room.size[0]
    room_length, room_depth = max(room.size[:2]), min(room.size[:2])
    sizes = {
        'width': max(1.2, room_length - 2.6),
        'depth': min(1.4, max(0.8, room_depth - 2.6)),
    }
    model = room.create('table', hints=sizes)
    table = model and room.put(model, (0.0, 0.0, 0.0), 0.0 if long_y else math.pi / 2)
    if table:
        seat = 'office chair' if room.chance(0.6) else 'chair'
        room.around(seat, table, int(room.rng.integers(4, 11)))
        for name in ('laptop', 'laptop', 'cup', 'bottle', 'book'):
            room.on(name, table, turn=math.pi)
    room.on_wall('whiteboard', (1.35, 1.5))
    room.on_wall('television', (1.35, 1.5))
    _some(
        room,
        room.against_wall,
        (('cabinet', 0.7), ('plant', 0.7), ('trash can', 0.6), ('radiator', 0.5)),
    )


def _some(
    room: Layout, place: Callable[[str], object], shares: tuple[tuple[str, float], ...]
) -> None:
    """Place each class in its share of the rooms."""
    for name, share in shares:
        if room.chance(share):
            place(name)


def _workplace(room: Layout, seat: str) -> None:
    """Add a desk with a chair and what lies on it."""
    desk = room.against_wall('desk')
    if not desk:
        return
    room.in_front(seat, desk, (0.02, 0.3), facing=True)
    if room.chance(0.75):
        room.on('monitor', desk, (0.0, 0.55), turn=0.2)
        room.on('keyboard', desk, (0.3, 1.0), turn=0.1)
    if room.chance(0.5):
        room.on('laptop', desk)
    for name in ('lamp', 'cup', 'book', 'bottle', 'plant'):
        if room.chance(0.45):
            room.on(name, desk)


def _dining(room: Layout, share: float) -> None:
    if not room.chance(share):
        return
    table = room.anywhere('table', width=room.between(0.8, 1.3), depth=room.between(0.7, 0.85))
    if table:
        room.around('chair', table, int(room.rng.integers(2, 5)))
        for name in ('bowl', 'cup', 'cup', 'bottle'):
            if room.chance(0.7):
                room.on(name, table)


def _shower_curtain(room: Layout, tub: RoomObject) -> None:
    """Hang a curtain just before the open side of a bathtub."""
    width = float(tub.model.high[1] - tub.model.low[1])
    model = room.create('shower curtain', hints={'width': width - 0.05})
    if model:
        out = float(tub.model.high[0] - model.low[0]) + 0.01
        c, s = math.cos(tub.yaw), math.sin(tub.yaw)
        x, y = float(tub.position[0]) + c * out, float(tub.position[1]) + s * out
        room.put(model, (x, y, 0.0), tub.yaw)


def _decorate(room: Layout) -> None:
    """Add curtains, pictures, lamps and what fills shelves and table tops."""
    for index, openings in room.openings.items():
        for opening in openings:
            if opening.model.class_name == 'window' and room.chance(0.65):
                _curtain(room, opening, index)
    for _ in range(int(room.rng.integers(1, 4))):
        room.on_wall('picture', (1.4, 1.7))
    for name, share in (('clock', 0.4), ('mirror', 0.15)):
        if room.chance(share):
            room.on_wall(name, (1.5, 1.9))
    if room.chance(0.7):
        room.on_ceiling('lamp')
    for placed in list(room.objects):
        _fill(room, placed)


def _curtain(room: Layout, window: RoomObject, wall: int) -> None:
    width, low, high = window.model.opening
    top = min(high + 0.12, room.size[2] - 0.06)
    bottom = 0.04 if room.chance(0.5) else low - 0.1
    sizes = {'width': width + room.between(0.25, 0.6), 'height': top - bottom}
    model = room.create('curtain', 'wall', sizes)
    if model:
        room.at_wall(model, wall, room.along(window, wall), (top + bottom) / 2, gap=0.055)


_FILLING: dict[str, tuple[tuple[str, ...], tuple[int, int]]] = {
    'bookshelf': (('book', 'book', 'book', 'box', 'plant', 'bowl'), (4, 12)),
    'cabinet': (('plant', 'lamp', 'box', 'bottle', 'bowl', 'book'), (0, 4)),
    'dresser': (('lamp', 'box', 'plant', 'book', 'bottle'), (1, 4)),
    'file cabinet': (('plant', 'box', 'book'), (0, 2)),
    'kitchen cabinet': (('cup', 'bowl', 'bottle'), (0, 4)),
    'coffee table': (('cup', 'book', 'bowl', 'laptop', 'plant'), (1, 4)),
    'tv stand': (('book', 'box', 'plant'), (0, 2)),
    'nightstand': (('cup', 'book', 'bottle'), (0, 2)),
    'washing machine': (('bottle', 'towel', 'box'), (0, 2)),
}


def _fill(room: Layout, placed: RoomObject) -> None:
    names, counts = _FILLING.get(placed.model.class_name, ((), (0, 0)))
    for _ in range(int(room.rng.integers(counts[0], counts[1] + 1))):
        room.on(names[room.rng.integers(len(names))], placed)


KINDS: dict[str, tuple[tuple[Range, Range], Callable[[Layout], None]]] = {
    'living_room': (((4.2, 6.2), (3.8, 5.4)), _living_room),
    'bedroom': (((3.3, 4.6), (3.2, 4.4)), _bedroom),
    'kitchen': (((2.8, 4.4), (2.8, 4.2)), _kitchen),
    'office': (((3.2, 5.5), (3.2, 4.8)), _office),
    'bathroom': (((2.2, 3.2), (2.4, 3.4)), _bathroom),
    'meeting_room': (((4.0, 6.5), (3.6, 5.0)), _meeting_room),
}
