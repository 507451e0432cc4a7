"""Chairs, office chairs, armchairs, stools, sofas and ottomans."""

import math

from concerto_ros.rooms.sketch import Sketch, centered, family


def _seat(s: Sketch) -> tuple[float, float, float]:
    """Draw depth and width of a seat and the height of its upper side."""
    return s.between(0.40, 0.48), s.between(0.40, 0.50), s.between(0.42, 0.48)


@family('chair', 'four_legged')
def _four_legged(s: Sketch) -> None:
    depth, width, seat = _seat(s)
    x, y = centered(depth), centered(width)
    top = s.between(0.8, 0.98)
    s.legs(x, y, seat - 0.04, s.between(0.03, 0.045))
    s.block(x, y, (seat - 0.04, seat))
    s.block((x[0], x[0] + 0.03), y, (seat + s.between(0, 0.12), top))
    for side in y[0] + 0.02, y[1] - 0.02:
        s.rod((x[0] + 0.015, side, seat), (x[0] + 0.015, side, top - 0.02), 0.014)


@family('chair', 'pedestal')
def _pedestal(s: Sketch) -> None:
    depth, width, seat = _seat(s)
    s.drum((0, 0), (0, 0.02), s.between(0.2, 0.24), 'second')
    s.drum((0, 0), (0.02, seat - 0.05), 0.03, 'second')
    s.drum((0, 0), (seat - 0.05, seat), min(depth, width) / 2)
    s.block(
        (-depth / 2, -depth / 2 + 0.03), centered(width * 0.9), (seat - 0.02, s.between(0.75, 0.9))
    )


@family('chair', 'armrests')
def _armrests(s: Sketch) -> None:
    depth, width, seat = _seat(s)
    x, y = centered(depth), centered(width)
    s.legs(x, y, seat - 0.06, 0.04)
    s.block(x, y, (seat - 0.06, seat))
    s.block((x[0], x[0] + 0.05), y, (seat, s.between(0.8, 0.95)))
    arm = seat + s.between(0.18, 0.24)
    for side in (y[0] - 0.02, y[1] + 0.02):
        s.block((x[0], x[1] - 0.05), centered(0.04, side), (arm - 0.03, arm), 'second')
        s.block(centered(0.04, x[1] - 0.09), centered(0.04, side), (seat - 0.05, arm), 'second')


@family('chair', 'ladder_back')
def _ladder_back(s: Sketch) -> None:
    depth, width, seat = _seat(s)
    x, y = centered(depth), centered(width)
    s.legs(x, y, seat - 0.03, 0.035, 'main')
    s.block(x, y, (seat - 0.03, seat), 'second')
    top = s.between(0.85, 1.05)
    for side in (y[0] + 0.018, y[1] - 0.018):
        s.block((x[0], x[0] + 0.03), centered(0.035, side), (seat, top))
    rungs = s.count(2, 4)
    for k in range(rungs):
        z = seat + (top - seat) * (k + 1) / rungs
        s.block((x[0] + 0.005, x[0] + 0.025), (y[0] + 0.03, y[1] - 0.03), (z - 0.06, z))


@family('chair', 'sled', held_out=True)
def _sled(s: Sketch) -> None:
    depth, width, seat = _seat(s)
    x, y = centered(depth), centered(width)
    for side in y:
        s.rod((x[0], side, 0.012), (x[1], side, 0.012), 0.012)
        s.rod((x[1], side, 0.012), (x[1], side, seat), 0.012)
        s.rod((x[1], side, seat), (x[0], side, seat), 0.012)
        s.rod((x[0], side, seat), (x[0] - 0.06, side, 0.85), 0.012)
    s.block((x[0], x[1]), y, (seat, seat + 0.03))
    s.block(centered(0.025, x[0] - 0.035), y, (seat + 0.15, 0.87), pitch=-0.15)


@family('chair', 'panel_sides', held_out=True)
def _panel_sides(s: Sketch) -> None:
    depth, width, seat = _seat(s)
    x, y = centered(depth), centered(width)
    for side in y:
        s.block(x, centered(0.03, side), (0, s.between(0.55, 0.7)), 'second')
    s.block(x, (y[0] + 0.015, y[1] - 0.015), (seat - 0.08, seat))
    s.block((x[0], x[0] + 0.06), (y[0] + 0.015, y[1] - 0.015), (seat, s.between(0.75, 0.9)))


def _star_base(s: Sketch, seat: float) -> None:
    for k in range(5):
        angle = 2 * math.pi * k / 5
        x, y = 0.27 * math.cos(angle), 0.27 * math.sin(angle)
        s.rod((0, 0, 0.09), (x, y, 0.065), 0.02)
        s.ball((x, y, 0.03), (0.06, 0.06, 0.06), 'third')
    s.drum((0, 0), (0.07, seat), 0.028, 'second')


@family('office chair', 'task')
def _task(s: Sketch) -> None:
    depth, width, seat = _seat(s)
    _star_base(s, seat - 0.05)
    s.block(centered(depth), centered(width), (seat - 0.05, seat + 0.03))
    back = -depth / 2
    s.rod((back + 0.05, 0, seat), (back - 0.02, 0, seat + 0.3), 0.02)
    high = s.between(0.85, 1.0)
    s.block((back - 0.02, back + 0.04), centered(width * 0.9), (seat + 0.14, high), pitch=-0.1)


@family('office chair', 'executive')
def _executive(s: Sketch) -> None:
    depth, width, seat = _seat(s)
    _star_base(s, seat - 0.05)
    s.block(centered(depth), centered(width), (seat - 0.05, seat + 0.06))
    s.ball((-depth / 2, 0, seat + 0.4), (0.16, width, s.between(0.75, 0.9)), pitch=-0.08)
    for side in (-width / 2 - 0.03, width / 2 + 0.03):
        s.block(centered(0.26), centered(0.05, side), (seat + 0.2, seat + 0.24), 'second')
        s.rod((0, side, seat - 0.02), (0, side, seat + 0.2), 0.018)


@family('office chair', 'round_task', held_out=True)
def _round_task(s: Sketch) -> None:
    seat = s.between(0.46, 0.56)
    _star_base(s, seat - 0.07)
    s.drum((0, 0), (seat - 0.07, seat), s.between(0.19, 0.22))
    s.rod((-0.1, 0, seat - 0.04), (-0.24, 0, seat + 0.2), 0.015)
    s.ball((-0.23, 0, seat + 0.25), (0.08, 0.38, 0.2))


@family('armchair', 'boxy')
def _boxy_armchair(s: Sketch) -> None:
    _upholstered(s, s.between(0.5, 0.62), s.between(0.76, 0.86), arm=s.between(0.1, 0.16))


@family('armchair', 'wing')
def _wing(s: Sketch) -> None:
    depth, width, seat = s.between(0.7, 0.8), s.between(0.66, 0.78), 0.44
    x, y = centered(depth), centered(width)
    s.legs(x, y, 0.15, 0.05)
    s.block(x, y, (0.15, seat))
    top = s.between(0.98, 1.12)
    s.block((x[0], x[0] + 0.13), y, (seat, top))
    for side in (y[0] + 0.05, y[1] - 0.05):
        s.block((x[0], x[1] - 0.1), centered(0.1, side), (seat, 0.62))
        s.block((x[0], x[0] + 0.32), centered(0.08, side), (0.62, top - 0.06))


@family('armchair', 'tub', held_out=True)
def _tub(s: Sketch) -> None:
    radius = s.between(0.34, 0.4)
    s.drum((0, 0), (0.06, 0.4), radius)
    for k in range(9):
        angle = math.pi * (0.55 + 0.9 * k / 8)
        x, y = (radius - 0.04) * math.cos(angle), (radius - 0.04) * math.sin(angle)
        s.drum((x, y), (0.4, 0.74), 0.07)
    s.drum((0, 0), (0, 0.06), radius * 0.7, 'second')


@family('stool', 'three_legged')
def _three_legged(s: Sketch) -> None:
    seat, radius = s.between(0.42, 0.68), s.between(0.15, 0.19)
    s.drum((0, 0), (seat - 0.035, seat), radius)
    for k in range(3):
        angle = 2 * math.pi * k / 3
        c, d = math.cos(angle), math.sin(angle)
        s.rod(
            (0.7 * radius * c, 0.7 * radius * d, seat - 0.03),
            (radius * c, radius * d, 0.02),
            0.018,
        )


@family('stool', 'square')
def _square_stool(s: Sketch) -> None:
    seat, side = s.between(0.42, 0.65), s.between(0.3, 0.38)
    x = centered(side)
    s.legs(x, x, seat - 0.03, 0.035)
    s.block(x, x, (seat - 0.03, seat))
    s.block(x, centered(0.02), (0.15, 0.18), 'second')


@family('stool', 'bar', held_out=True)
def _bar_stool(s: Sketch) -> None:
    seat = s.between(0.6, 0.76)
    s.drum((0, 0), (0, 0.03), 0.19, 'second')
    s.drum((0, 0), (0.03, seat - 0.06), 0.025, 'second')
    s.funnel((0, 0), (seat - 0.06, seat), 0.18, 'main', bottom=0.7)


def _upholstered(s: Sketch, seat_depth: float, width: float, arm: float) -> None:
    """Add base, back, arms and seat cushions, with the back at -x."""
    depth, seat, feet = seat_depth + 0.25, s.between(0.38, 0.45), s.between(0.03, 0.12)
    x, y = centered(depth), centered(width)
    s.legs((x[0] + 0.03, x[1] - 0.03), (y[0] + 0.03, y[1] - 0.03), feet, 0.05)
    s.block(x, y, (feet, seat - 0.14))
    s.block((x[0], x[0] + 0.2), (y[0] + arm, y[1] - arm), (seat - 0.14, s.between(0.72, 0.88)))
    high = s.between(0.52, 0.62)
    for side in (y[0], y[1] - arm):
        s.block((x[0], x[1]), (side, side + arm), (seat - 0.14, high))
    inner = width - 2 * arm
    cushions = max(1, round(inner / 0.7))
    for k in range(cushions):
        left = y[0] + arm + inner * k / cushions
        cushion = (left + 0.006, left + inner / cushions - 0.006)
        s.block((x[0] + 0.2, x[1] + 0.01), cushion, (seat - 0.14, seat), 'second')
    s.support((x[0] + 0.22, x[1] - 0.05), (y[0] + arm + 0.02, y[1] - arm - 0.02), seat)


@family('sofa', 'boxy')
def _boxy_sofa(s: Sketch) -> None:
    _upholstered(s, s.between(0.55, 0.68), s.between(1.5, 2.3), arm=s.between(0.12, 0.22))


@family('sofa', 'chaise')
def _chaise(s: Sketch) -> None:
    width, seat = s.between(1.8, 2.3), 0.42
    s.block((-0.45, 0.4), centered(width), (0, seat - 0.12))
    s.block((-0.45, 0.38), (-width / 2 + 0.15, width / 2), (seat - 0.12, seat), 'second')
    s.block((-0.45, -0.22), centered(width), (seat, s.between(0.72, 0.85)))
    s.block((-0.45, 0.4), (-width / 2, -width / 2 + 0.15), (seat - 0.12, 0.6))
    s.block((0.4, s.between(0.65, 0.85)), (width / 2 - 0.7, width / 2), (0, seat), 'second')
    s.support((-0.2, 0.35), (-width / 2 + 0.2, width / 2 - 0.05), seat)


@family('sofa', 'wooden_frame')
def _wooden_frame(s: Sketch) -> None:
    width, seat = s.between(1.4, 2.0), s.between(0.4, 0.45)
    y = centered(width)
    s.legs((-0.4, 0.4), y, 0.6, 0.06)
    for side in y:
        s.block((-0.42, 0.42), centered(0.07, side), (0.6, 0.63), 'second')
    s.block((-0.38, 0.38), (y[0] + 0.02, y[1] - 0.02), (seat - 0.2, seat - 0.14), 'second')
    s.block((-0.3, 0.4), (y[0] + 0.06, y[1] - 0.06), (seat - 0.14, seat))
    s.block((-0.42, -0.26), (y[0] + 0.06, y[1] - 0.06), (seat, 0.85), pitch=-0.12)
    s.support((-0.2, 0.35), (y[0] + 0.1, y[1] - 0.1), seat)


@family('sofa', 'rolled_arms', held_out=True)
def _rolled_arms(s: Sketch) -> None:
    width, seat = s.between(1.5, 2.2), s.between(0.42, 0.46)
    y = centered(width)
    s.block((-0.42, 0.42), y, (0, seat))
    s.rod((-0.32, y[0], 0.72), (-0.32, y[1], 0.72), 0.13, 'main')
    s.block((-0.42, -0.22), y, (seat, 0.72))
    for side in (y[0] + 0.02, y[1] - 0.02):
        s.rod((-0.42, side, 0.55), (0.43, side, 0.55), 0.13, 'main')
    s.support((-0.15, 0.35), (y[0] + 0.2, y[1] - 0.2), seat)


@family('ottoman', 'block')
def _block_ottoman(s: Sketch) -> None:
    x, y, top = (
        centered(s.between(0.4, 0.6)),
        centered(s.between(0.45, 0.8)),
        s.between(0.34, 0.45),
    )
    s.legs(x, y, 0.08, 0.04)
    s.block(x, y, (0.08, top))


@family('ottoman', 'drum')
def _drum_ottoman(s: Sketch) -> None:
    radius, top = s.between(0.22, 0.34), s.between(0.34, 0.44)
    s.drum((0, 0), (0, top - 0.08), radius, 'second', top=0.95)
    s.drum((0, 0), (top - 0.08, top), radius)


@family('ottoman', 'beanbag', held_out=True)
def _beanbag(s: Sketch) -> None:
    width = s.between(0.6, 0.8)
    s.ball((0, 0, 0.2), (width, width, 0.4))
    s.ball((-0.08, 0, 0.36), (width * 0.7, width * 0.75, 0.5))
