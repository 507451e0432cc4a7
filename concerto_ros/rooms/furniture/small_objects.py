"""Lamps, screens, plants, books, dishes, bins and other things that stand on something."""

import math

from concerto_ros.rooms.sketch import Sketch, centered, family


@family('lamp', 'floor_shade')
def _floor_shade(s: Sketch) -> None:
    top, radius = s.between(1.4, 1.75), s.between(0.16, 0.24)
    s.drum((0, 0), (0, 0.03), 0.14, 'second')
    s.rod((0, 0, 0.03), (0, 0, top - 0.1), 0.012)
    s.drum((0, 0), (top - 0.28, top), radius, top=s.between(0.6, 0.95))


@family('lamp', 'tripod')
def _tripod(s: Sketch) -> None:
    top = s.between(1.3, 1.6)
    for k in range(3):
        c, d = math.cos(2.1 * k), math.sin(2.1 * k)
        s.rod((0.03 * c, 0.03 * d, top - 0.25), (0.27 * c, 0.27 * d, 0.02), 0.015)
    s.drum((0, 0), (top - 0.28, top), s.between(0.18, 0.24), top=0.9)


@family('lamp', 'arched', held_out=True)
def _arched(s: Sketch) -> None:
    s.drum((-0.2, 0), (0, 0.05), 0.15, 'second')
    s.rod((-0.2, 0, 0.05), (-0.15, 0, 1.4), 0.015)
    s.rod((-0.15, 0, 1.4), (0.2, 0, 1.65), 0.015)
    s.ball((0.25, 0, 1.55), (0.28, 0.28, 0.24))


@family('lamp', 'table_shade', mount='top')
def _table_shade(s: Sketch) -> None:
    radius = s.between(0.09, 0.14)
    s.drum((0, 0), (0, 0.02), radius * 0.7, 'second')
    s.ball((0, 0, 0.11), (radius, radius, 0.18), 'second')
    s.drum((0, 0), (0.2, s.between(0.34, 0.42)), radius, top=0.7)


@family('lamp', 'desk_arm', mount='top')
def _desk_arm(s: Sketch) -> None:
    s.drum((0, 0), (0, 0.02), 0.08)
    s.rod((0, 0, 0.02), (-0.05, 0, 0.24), 0.008)
    s.rod((-0.05, 0, 0.24), (0.12, 0, 0.36), 0.008)
    s.drum((0.14, 0), (0.29, 0.37), 0.07, top=0.4)


@family('lamp', 'ball_light', mount='top', held_out=True)
def _ball_light(s: Sketch) -> None:
    size = s.between(0.14, 0.24)
    s.drum((0, 0), (0, 0.03), size * 0.35, 'second')
    s.ball((0, 0, 0.02 + size / 2), (size, size, size))


def _screen(s: Sketch, width: float, low: float) -> float:
    """Add an upright panel at x = 0 whose bezel is proud; return its top."""
    top = low + width * 9 / 16
    s.block((-0.02, 0.02), centered(width), (low, top))
    s.block((0.02, 0.022), centered(width - 0.03), (low + 0.015, top - 0.015), 'third')
    return top


@family('television', 'single_foot', mount='top')
def _single_foot(s: Sketch) -> None:
    width = s.between(0.8, 1.3)
    s.block(centered(0.22), centered(width * 0.4), (0, 0.015), 'second')
    s.block(centered(0.03, -0.02), centered(0.08), (0.015, 0.15), 'second')
    _screen(s, width, 0.06)


@family('television', 'two_feet', mount='top')
def _two_feet(s: Sketch) -> None:
    width = s.between(0.8, 1.3)
    for side in (-0.35 * width, 0.35 * width):
        s.block(centered(0.22), centered(0.03, side), (0, 0.05), 'second')
    _screen(s, width, 0.05)


@family('television', 'tube', mount='top', held_out=True)
def _tube(s: Sketch) -> None:
    width = s.between(0.5, 0.65)
    s.block((0.0, 0.2), centered(width), (0, width * 0.8))
    s.block((-0.2, 0.0), centered(width * 0.7), (0.02, width * 0.65))
    s.block((0.2, 0.205), centered(width * 0.8), (0.08, width * 0.72), 'third')


@family('monitor', 'slab_foot', mount='top')
def _slab_foot(s: Sketch) -> None:
    s.block(centered(0.18), centered(0.24), (0, 0.012), 'second')
    s.block(centered(0.03, -0.03), centered(0.06), (0.012, 0.25), 'second')
    _screen(s, s.between(0.45, 0.65), s.between(0.09, 0.14))


@family('monitor', 'round_foot', mount='top')
def _round_foot(s: Sketch) -> None:
    s.drum((0, 0), (0, 0.015), 0.11, 'second')
    s.rod((-0.03, 0, 0.01), (-0.03, 0, 0.22), 0.018)
    _screen(s, s.between(0.42, 0.6), 0.1)


@family('monitor', 'all_in_one', mount='top', held_out=True)
def _all_in_one(s: Sketch) -> None:
    s.block((-0.1, 0.08), centered(0.2), (0, 0.01), 'second')
    s.block(centered(0.012, -0.05), centered(0.18), (0.0, 0.3), 'second', pitch=-0.15)
    s.block(centered(0.04), centered(s.between(0.5, 0.6)), (0.12, 0.5), pitch=-0.08)


@family('keyboard', 'flat', mount='top')
def _flat(s: Sketch) -> None:
    x, y = centered(s.between(0.13, 0.16)), centered(s.between(0.34, 0.46))
    s.block(x, y, (0, 0.02))
    s.block((x[0] + 0.01, x[1] - 0.01), (y[0] + 0.01, y[1] - 0.01), (0.02, 0.028), 'second')


@family('keyboard', 'rows', mount='top')
def _rows(s: Sketch) -> None:
    y = centered(s.between(0.3, 0.42))
    s.block(centered(0.14), y, (0, 0.015))
    for k in range(5):
        s.block(
            centered(0.02, -0.052 + 0.026 * k),
            (y[0] + 0.008, y[1] - 0.008),
            (0.015, 0.026),
            'second',
        )


@family('keyboard', 'split', mount='top', held_out=True)
def _split(s: Sketch) -> None:
    for side in (-0.12, 0.12):
        s.block(centered(0.15), centered(0.17, side), (0, 0.022))
        s.block(centered(0.13), centered(0.15, side), (0.022, 0.03), 'second')


@family('laptop', 'open', mount='top')
def _open_laptop(s: Sketch) -> None:
    width = s.between(0.3, 0.38)
    s.block((-0.11, 0.12), centered(width), (0, 0.018))
    s.block((-0.09, 0.05), centered(width - 0.04), (0.018, 0.02), 'second')
    s.block(centered(0.01, -0.14), centered(width), (0.015, 0.225), pitch=-0.3)
    s.block(centered(0.003, -0.132), centered(width - 0.02), (0.03, 0.215), 'third', pitch=-0.3)


@family('laptop', 'closed', mount='top')
def _closed_laptop(s: Sketch) -> None:
    s.block(centered(s.between(0.21, 0.26)), centered(s.between(0.3, 0.38)), (0, 0.02))


@family('laptop', 'tent', mount='top', held_out=True)
def _tent(s: Sketch) -> None:
    width = s.between(0.28, 0.34)
    for x, pitch in ((-0.06, 0.5), (0.06, -0.5)):
        s.block(centered(0.012, x), centered(width), (0.01, 0.22), pitch=pitch)


@family('trash can', 'tapered')
def _tapered(s: Sketch) -> None:
    radius, top = s.between(0.12, 0.18), s.between(0.26, 0.4)
    s.funnel((0, 0), (0, top), radius, 'main', bottom=0.75)
    s.drum((0, 0), (top, top + 0.004), radius * 0.88, 'second')


@family('trash can', 'pedal')
def _pedal(s: Sketch) -> None:
    radius, top = s.between(0.12, 0.17), s.between(0.35, 0.6)
    s.drum((0, 0), (0, top), radius)
    s.ball((0, 0, top), (2 * radius, 2 * radius, 0.1), 'second')
    s.block((radius - 0.01, radius + 0.05), centered(0.06), (0.01, 0.03), 'second')


@family('trash can', 'square', held_out=True)
def _square_bin(s: Sketch) -> None:
    side, top = centered(s.between(0.24, 0.34)), s.between(0.35, 0.6)
    s.block(side, side, (0, top))
    s.block(
        (side[0] + 0.02, side[1] - 0.02),
        (side[0] + 0.02, side[1] - 0.02),
        (top, top + 0.05),
        'second',
    )


def _leaves(s: Sketch, low: float, spread: float, count: int) -> None:
    for k in range(count):
        angle, reach = 2.4 * k, spread * s.between(0.4, 0.8)
        high = low + spread * s.between(0.6, 1.6)
        tip = (reach * math.cos(angle), reach * math.sin(angle), high)
        s.rod((0, 0, low), tip, 0.008 + 0.012 * spread)
        s.ball(
            tip, (spread * 0.6, spread * 0.6, spread * 0.35), 'main', pitch=s.between(-0.6, 0.6)
        )


@family('plant', 'potted')
def _potted(s: Sketch) -> None:
    pot = s.between(0.12, 0.2)
    s.funnel((0, 0), (0, 1.6 * pot), pot, 'second', bottom=0.7)
    _leaves(s, 1.6 * pot, s.between(0.3, 0.45), s.count(5, 8))


@family('plant', 'tree')
def _tree(s: Sketch) -> None:
    stem, crown = s.between(0.6, 0.9), s.between(0.4, 0.6)
    s.drum((0, 0), (0, 0.3), s.between(0.15, 0.2), 'second')
    s.rod((0, 0, 0.3), (0, 0, 0.3 + stem), 0.02, 'third')
    for k in range(4):
        offset = 0.2 * crown
        s.ball(
            (offset * math.cos(1.6 * k), offset * math.sin(1.6 * k), 0.3 + stem + 0.1 * k),
            (crown * 0.8, crown * 0.8, crown * 0.6),
        )


@family('plant', 'cactus', held_out=True)
def _cactus(s: Sketch) -> None:
    top = s.between(0.7, 1.2)
    s.block(centered(0.3), centered(0.3), (0, 0.25), 'second')
    s.ball((0, 0, 0.2 + top / 2), (0.18, 0.18, top))
    for side in (-1, 1):
        s.rod((0, 0, 0.5), (0, 0.18 * side, 0.55), 0.04, 'main')
        s.ball((0, 0.18 * side, 0.68), (0.1, 0.1, 0.36))


@family('plant', 'small', mount='top')
def _small_plant(s: Sketch) -> None:
    s.drum((0, 0), (0, 0.09), 0.055, 'second')
    _leaves(s, 0.09, s.between(0.1, 0.14), s.count(4, 6))


@family('plant', 'small_succulent', mount='top', held_out=True)
def _succulent(s: Sketch) -> None:
    s.block(centered(0.1), centered(0.1), (0, 0.07), 'second')
    s.ball((0, 0, 0.1), (0.11, 0.11, 0.1))


@family('book', 'upright', mount='top')
def _upright(s: Sketch) -> None:
    depth, height = s.between(0.13, 0.2), s.between(0.18, 0.26)
    s.block(centered(depth), centered(s.between(0.02, 0.06)), (0, height))


@family('book', 'lying', mount='top')
def _lying(s: Sketch) -> None:
    s.block(
        centered(s.between(0.14, 0.2)), centered(s.between(0.2, 0.28)), (0, s.between(0.015, 0.05))
    )


@family('book', 'row', mount='top')
def _row(s: Sketch) -> None:
    left = -0.12
    while left < 0.1:
        width = s.between(0.02, 0.05)
        material = ('main', 'main', 'second', 'third')[s.count(0, 3)]
        s.block(
            (-0.08, s.between(0.05, 0.08)),
            (left, left + width - 0.001),
            (0, s.between(0.17, 0.24)),
            material,
        )
        left += width


@family('book', 'stack', mount='top', held_out=True)
def _stack(s: Sketch) -> None:
    low = 0.0
    for k in range(s.count(3, 5)):
        thickness = s.between(0.02, 0.045)
        x, y = centered(s.between(0.14, 0.19)), centered(s.between(0.2, 0.26))
        s.block(x, y, (low, low + thickness - 0.001), ('main', 'second')[k % 2])
        low += thickness


@family('cup', 'mug', mount='top')
def _mug(s: Sketch) -> None:
    radius, top = s.between(0.035, 0.045), s.between(0.08, 0.11)
    s.drum((0, 0), (0, top), radius)
    s.block(centered(0.012), (radius, radius + 0.03), (0.2 * top, 0.8 * top))


@family('cup', 'tumbler', mount='top')
def _tumbler(s: Sketch) -> None:
    s.funnel((0, 0), (0, s.between(0.1, 0.15)), s.between(0.033, 0.042), 'main', bottom=0.75)


@family('cup', 'goblet', mount='top', held_out=True)
def _goblet(s: Sketch) -> None:
    s.drum((0, 0), (0, 0.008), 0.035)
    s.rod((0, 0, 0), (0, 0, 0.1), 0.006, 'main')
    s.ball((0, 0, 0.14), (0.08, 0.08, 0.11))


@family('bottle', 'shouldered', mount='top')
def _shouldered(s: Sketch) -> None:
    radius, body = s.between(0.032, 0.045), s.between(0.16, 0.2)
    s.drum((0, 0), (0, body), radius)
    s.drum((0, 0), (body, body + 0.05), radius, top=0.35)
    s.drum((0, 0), (body + 0.05, body + 0.1), radius * 0.35, 'second')


@family('bottle', 'squat', mount='top')
def _squat(s: Sketch) -> None:
    radius = s.between(0.04, 0.06)
    s.ball((0, 0, radius * 1.2), (2 * radius, 2 * radius, 2.4 * radius))
    s.drum((0, 0), (radius * 2, radius * 3.2), 0.018, 'second')


@family('bottle', 'square', mount='top', held_out=True)
def _square_bottle(s: Sketch) -> None:
    side, top = centered(s.between(0.06, 0.08)), s.between(0.15, 0.2)
    s.block(side, side, (0, top))
    s.drum((0, 0), (top, top + 0.05), 0.015, 'second')


@family('bowl', 'footed', mount='top')
def _footed(s: Sketch) -> None:
    radius = s.between(0.08, 0.14)
    s.drum((0, 0), (0, 0.012), radius * 0.5)
    s.funnel((0, 0), (0.012, 0.012 + radius * 0.6), radius, 'main', bottom=0.45)


@family('bowl', 'fruit', mount='top')
def _fruit(s: Sketch) -> None:
    radius = s.between(0.1, 0.15)
    s.funnel((0, 0), (0, radius * 0.5), radius, 'main', bottom=0.6)
    for k in range(3):
        x, y = 0.45 * radius * math.cos(2.1 * k), 0.45 * radius * math.sin(2.1 * k)
        s.ball((x, y, radius * 0.6), (0.08, 0.08, 0.08), 'second')


@family('bowl', 'square', mount='top', held_out=True)
def _square_bowl(s: Sketch) -> None:
    side = s.between(0.16, 0.24)
    s.block(centered(side), centered(side), (0, 0.015))
    for k in (-1, 1):
        s.block(centered(0.012, k * side / 2), centered(side), (0.0, 0.06))
        s.block(centered(side), centered(0.012, k * side / 2), (0.0, 0.06))


@family('ball', 'football')
def _football(s: Sketch) -> None:
    size = s.between(0.18, 0.26)
    s.ball((0, 0, size / 2), (size, size, size))


@family('ball', 'exercise')
def _exercise(s: Sketch) -> None:
    size = s.between(0.45, 0.65)
    s.ball((0, 0, size / 2), (size, size, size))


@family('ball', 'egg', held_out=True)
def _egg(s: Sketch) -> None:
    length = s.between(0.25, 0.32)
    s.ball((0, 0, length * 0.32), (length, length * 0.64, length * 0.64))


@family('backpack', 'standing')
def _standing_backpack(s: Sketch) -> None:
    width, top = s.between(0.26, 0.34), s.between(0.38, 0.5)
    s.block(centered(0.16), centered(width), (0, top * 0.8))
    s.ball((0, 0, top * 0.75), (0.17, width, top * 0.5))
    s.block((0.08, 0.13), centered(width * 0.8), (0.03, top * 0.45), 'second')


@family('backpack', 'barrel')
def _barrel(s: Sketch) -> None:
    radius, top = s.between(0.12, 0.16), s.between(0.4, 0.5)
    s.drum((0, 0), (0, top), radius, top=0.85)
    s.ball((0, 0, top), (1.7 * radius, 1.7 * radius, 0.12), 'second')
    for side in (-0.06, 0.06):
        s.rod((-radius, side, 0.1), (-radius, side, top - 0.05), 0.015, 'second')


@family('backpack', 'slumped', held_out=True)
def _slumped(s: Sketch) -> None:
    s.ball((0, 0, 0.15), (0.34, s.between(0.36, 0.46), 0.3))
    s.ball((0.1, 0, 0.12), (0.22, 0.26, 0.2), 'second')
