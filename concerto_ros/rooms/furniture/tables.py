"""Tables, coffee tables, desks, counters and rugs."""

import math

from concerto_ros.rooms.sketch import Range, Sketch, centered, family


def _top(s: Sketch, x: Range, y: Range, height: float, thickness: float) -> None:
    s.block(x, y, (height - thickness, height))
    s.support((x[0] + 0.03, x[1] - 0.03), (y[0] + 0.03, y[1] - 0.03), height)


def _table_size(s: Sketch) -> tuple[Range, Range, float]:
    depth = s.wanted('depth', 0.75, 1.0)
    return centered(depth), centered(s.wanted('width', 1.1, 1.8)), s.between(0.71, 0.77)


@family('table', 'four_legged')
def _four_legged(s: Sketch) -> None:
    x, y, height = _table_size(s)
    inset = s.between(0.0, 0.08)
    s.legs(
        (x[0] + inset, x[1] - inset), (y[0] + inset, y[1] - inset), height - 0.03,
        s.between(0.05, 0.09),
    )  # fmt: skip
    _top(s, x, y, height, s.between(0.025, 0.05))


@family('table', 'trestle')
def _trestle(s: Sketch) -> None:
    x, y, height = _table_size(s)
    for side in (y[0] + 0.2, y[1] - 0.2):
        s.block((x[0] + 0.1, x[1] - 0.1), centered(0.08, side), (0, 0.06), 'second')
        s.block(centered(0.12), centered(0.07, side), (0.06, height - 0.03), 'second')
    s.block(centered(0.05), (y[0] + 0.2, y[1] - 0.2), (0.25, 0.33), 'second')
    _top(s, x, y, height, 0.035)


@family('table', 'round_pedestal')
def _round_pedestal(s: Sketch) -> None:
    radius, height = s.between(0.42, 0.62), s.between(0.71, 0.77)
    s.drum((0, 0), (0, 0.05), radius * 0.55, 'second', top=0.5)
    s.drum((0, 0), (0.05, height - 0.03), 0.05, 'second')
    s.drum((0, 0), (height - 0.03, height), radius)
    side = centered(radius * 1.3)
    s.support(side, side, height)


@family('table', 'panel_ends', held_out=True)
def _panel_ends(s: Sketch) -> None:
    x, y, height = _table_size(s)
    for side in (y[0] + 0.03, y[1] - 0.03):
        s.block((x[0] + 0.05, x[1] - 0.05), centered(0.05, side), (0, height - 0.05), 'second')
    s.block((x[0] + 0.1, x[0] + 0.13), (y[0], y[1]), (height - 0.3, height - 0.05), 'second')
    _top(s, x, y, height, 0.05)


@family('table', 'crossed_legs', held_out=True)
def _crossed_legs(s: Sketch) -> None:
    x, y, height = _table_size(s)
    for side in (y[0] + 0.12, y[1] - 0.12):
        s.rod((x[0] + 0.08, side, 0.03), (x[1] - 0.08, side, height - 0.03), 0.028)
        s.rod((x[1] - 0.08, side, 0.03), (x[0] + 0.08, side, height - 0.03), 0.028)
    _top(s, x, y, height, 0.03)


@family('coffee table', 'shelf_below')
def _shelf_below(s: Sketch) -> None:
    x, y, height = (
        centered(s.between(0.45, 0.6)),
        centered(s.between(0.8, 1.15)),
        s.between(0.36, 0.46),
    )
    s.legs(x, y, height - 0.03, 0.05)
    s.block((x[0] + 0.02, x[1] - 0.02), (y[0] + 0.02, y[1] - 0.02), (0.12, 0.14), 'second')
    _top(s, x, y, height, 0.03)


@family('coffee table', 'round')
def _round_coffee(s: Sketch) -> None:
    radius, height = s.between(0.3, 0.45), s.between(0.36, 0.48)
    for k in range(3):
        c, d = math.cos(2.1 * k), math.sin(2.1 * k)
        s.rod(
            (0.6 * radius * c, 0.6 * radius * d, height - 0.02),
            (0.85 * radius * c, 0.85 * radius * d, 0.02),
            0.018,
        )
    s.drum((0, 0), (height - 0.03, height), radius)
    s.support(centered(radius * 1.3), centered(radius * 1.3), height)


@family('coffee table', 'cube', held_out=True)
def _cube_coffee(s: Sketch) -> None:
    x, y, height = (
        centered(s.between(0.5, 0.7)),
        centered(s.between(0.6, 0.9)),
        s.between(0.3, 0.4),
    )
    s.block((x[0] + 0.06, x[1] - 0.06), (y[0] + 0.06, y[1] - 0.06), (0, height - 0.05), 'second')
    _top(s, x, y, height, 0.05)


def _desk_size(s: Sketch) -> tuple[Range, Range, float]:
    return centered(s.between(0.58, 0.75)), centered(s.between(1.1, 1.6)), s.between(0.72, 0.76)


@family('desk', 'four_legged')
def _plain_desk(s: Sketch) -> None:
    x, y, height = _desk_size(s)
    s.legs(x, y, height - 0.03, s.between(0.04, 0.06))
    s.block(
        (x[0] + 0.04, x[0] + 0.06),
        (y[0] + 0.05, y[1] - 0.05),
        (height - 0.3, height - 0.03),
        'second',
    )
    _top(s, x, y, height, 0.03)


@family('desk', 'drawer_side')
def _drawer_side(s: Sketch) -> None:
    x, y, height = _desk_size(s)
    s.block((x[0] + 0.02, x[1] - 0.03), (y[1] - 0.42, y[1]), (0, height - 0.035), 'second')
    for k in range(3):
        z = 0.05 + k * (height - 0.1) / 3
        s.block((x[1] - 0.03, x[1] - 0.015), (y[1] - 0.41, y[1] - 0.01), (z, z + 0.2))
        s.block(
            (x[1] - 0.015, x[1] - 0.003),
            centered(0.12, y[1] - 0.21),
            (z + 0.11, z + 0.13),
            'third',
        )
    s.block((x[0] + 0.02, x[1] - 0.03), (y[0], y[0] + 0.04), (0, height - 0.035), 'second')
    _top(s, x, y, height, 0.035)


@family('desk', 'standing')
def _standing(s: Sketch) -> None:
    x, y, _ = _desk_size(s)
    height = s.between(0.72, 1.0)
    for side in (y[0] + 0.25, y[1] - 0.25):
        s.block((x[0] + 0.03, x[1] - 0.03), centered(0.07, side), (0, 0.04), 'second')
        s.block(centered(0.07), centered(0.1, side), (0.04, height - 0.03), 'second')
    _top(s, x, y, height, 0.03)


@family('desk', 'hutch', held_out=True)
def _hutch(s: Sketch) -> None:
    x, y, height = _desk_size(s)
    for side in (y[0] + 0.02, y[1] - 0.02):
        s.block(x, centered(0.04, side), (0, height - 0.04), 'second')
        s.block((x[0], x[0] + 0.25), centered(0.03, side), (height, height + 0.68), 'second')
    s.block((x[0], x[0] + 0.25), y, (height + 0.58, height + 0.61), 'second')
    s.block(x, y, (height - 0.04, height))
    s.support((x[0] + 0.05, x[1] - 0.03), (y[0] + 0.06, y[1] - 0.06), height, 0.56)
    s.support((x[0] + 0.02, x[0] + 0.23), (y[0] + 0.02, y[1] - 0.02), height + 0.61, 0.4)


def _counter_size(s: Sketch) -> tuple[Range, Range, float]:
    return (
        centered(s.between(0.58, 0.65)),
        centered(s.wanted('width', 1.4, 2.6)),
        s.between(0.86, 0.93),
    )


def _doors(s: Sketch, front: float, y: Range, z: Range) -> None:
    """Add door leaves with handles on a front."""
    leaves = max(1, round((y[1] - y[0]) / 0.5))
    width = (y[1] - y[0]) / leaves
    for k in range(leaves):
        left = y[0] + k * width
        s.block((front, front + 0.015), (left + 0.008, left + width - 0.008), z, 'second')
        s.block(
            (front + 0.015, front + 0.035),
            centered(0.12, left + width / 2),
            (z[1] - 0.08, z[1] - 0.06),
            'third',
        )


@family('counter', 'closed')
def _closed_counter(s: Sketch) -> None:
    x, y, height = _counter_size(s)
    s.block((x[0], x[1] - 0.04), y, (0.08, height - 0.04), 'second')
    s.block((x[0], x[1] - 0.1), (y[0] + 0.02, y[1] - 0.02), (0, 0.08), 'third')
    _doors(s, x[1] - 0.04, y, (0.1, height - 0.06))
    _top(s, x, y, height, 0.04)


@family('counter', 'open_shelves')
def _open_counter(s: Sketch) -> None:
    x, y, height = _counter_size(s)
    for side in (y[0] + 0.02, 0.0, y[1] - 0.02):
        s.block((x[0], x[1] - 0.02), centered(0.04, side), (0, height - 0.04), 'second')
    s.block((x[0], x[1] - 0.04), (y[0] + 0.04, y[1] - 0.04), (0.3, 0.33), 'second')
    _top(s, x, y, height, 0.04)


@family('counter', 'legged_slab', held_out=True)
def _legged_slab(s: Sketch) -> None:
    x, y, height = _counter_size(s)
    s.legs((x[0] + 0.02, x[1] - 0.02), (y[0] + 0.02, y[1] - 0.02), height - 0.08, 0.07)
    s.block((x[0], x[0] + 0.02), y, (height, height + 0.12), 'second')
    s.block(x, y, (height - 0.08, height))
    s.support((x[0] + 0.05, x[1] - 0.03), (y[0] + 0.03, y[1] - 0.03), height)


@family('rug', 'rectangular')
def _rectangular_rug(s: Sketch) -> None:
    s.block(
        centered(s.wanted('depth', 0.5, 2.0)), centered(s.wanted('width', 0.8, 2.6)), (0, 0.008)
    )


@family('rug', 'bordered')
def _bordered_rug(s: Sketch) -> None:
    x, y = centered(s.wanted('depth', 0.5, 2.0)), centered(s.wanted('width', 0.8, 2.6))
    s.block(x, y, (0, 0.006), 'second')
    s.block((x[0] + 0.07, x[1] - 0.07), (y[0] + 0.07, y[1] - 0.07), (0.006, 0.009))


@family('rug', 'round', held_out=True)
def _round_rug(s: Sketch) -> None:
    s.drum((0, 0), (0, 0.008), min(s.wanted('depth', 0.6, 1.6), s.wanted('width', 0.6, 1.6)) / 2)
