"""Beds and pillows."""

from concerto_ros.rooms.sketch import Range, Sketch, centered, family


def _bed_size(s: Sketch) -> tuple[Range, Range, float]:
    length = s.between(1.95, 2.1)
    return centered(length), centered(s.wanted('width', 0.9, 1.7)), s.between(0.42, 0.55)


def _bedding(s: Sketch, x: Range, y: Range, low: float, top: float) -> None:
    """Add mattress and blanket; pillows may lie at the head (-x)."""
    blanket = x[0] + s.between(0.55, 0.8)
    s.block((x[0] + 0.03, x[1] - 0.03), (y[0] + 0.02, y[1] - 0.02), (low, top), 'second')
    s.block((blanket, x[1] - 0.01), (y[0], y[1]), (low + 0.08, top + 0.025), 'main')
    s.support((x[0] + 0.04, blanket - 0.02), (y[0] + 0.04, y[1] - 0.04), top)


@family('bed', 'headboard')
def _headboard(s: Sketch) -> None:
    x, y, top = _bed_size(s)
    s.legs(x, y, top - 0.3, 0.07, 'third')
    s.block(x, y, (top - 0.3, top - 0.2), 'third')
    s.block((x[0] - 0.05, x[0]), (y[0] - 0.02, y[1] + 0.02), (0.1, s.between(0.85, 1.2)), 'third')
    _bedding(s, x, y, top - 0.2, top)


@family('bed', 'box_spring')
def _box_spring(s: Sketch) -> None:
    x, y, top = _bed_size(s)
    s.block(x, y, (0, top - 0.2), 'third')
    _bedding(s, x, y, top - 0.2, top)


@family('bed', 'two_boards')
def _two_boards(s: Sketch) -> None:
    x, y, top = _bed_size(s)
    s.block((x[0] - 0.04, x[0]), y, (0, s.between(0.8, 1.1)), 'third')
    s.block((x[1], x[1] + 0.04), y, (0, s.between(0.55, 0.75)), 'third')
    s.block(x, y, (top - 0.28, top - 0.18), 'third')
    _bedding(s, x, y, top - 0.18, top)


@family('bed', 'daybed', held_out=True)
def _daybed(s: Sketch) -> None:
    x, y, top = _bed_size(s)
    s.legs(x, y, top - 0.2, 0.06, 'third')
    s.block(x, y, (top - 0.26, top - 0.2), 'third')
    for end in (x[0], x[1]):
        s.rod((end, y[0], top + 0.2), (end, y[1], top + 0.2), 0.02, 'third')
        for side in (y[0] + 0.03, 0.0, y[1] - 0.03):
            s.rod((end, side, 0.0), (end, side, top + 0.2), 0.02, 'third')
    _bedding(s, x, y, top - 0.2, top)


@family('bed', 'drawer_base', held_out=True)
def _drawer_base(s: Sketch) -> None:
    x, y, top = _bed_size(s)
    s.block(x, y, (0, top - 0.16), 'third')
    for left in (y[0], y[1]):
        for middle in (x[0] + 0.5, x[1] - 0.5):
            s.block(centered(0.8, middle), centered(0.03, left), (0.06, top - 0.22), 'second')
    s.block((x[0] - 0.28, x[0]), y, (0, 0.9), 'third')
    _bedding(s, x, y, top - 0.16, top)


@family('pillow', 'lying', mount='top')
def _lying(s: Sketch) -> None:
    s.ball((0, 0, 0.07), (s.between(0.32, 0.45), s.between(0.45, 0.65), 0.14))


@family('pillow', 'upright', mount='top')
def _upright(s: Sketch) -> None:
    side = s.between(0.36, 0.46)
    s.ball((0, 0, side / 2), (0.16, side, side))


@family('pillow', 'bolster', mount='top', held_out=True)
def _bolster(s: Sketch) -> None:
    radius, half = s.between(0.08, 0.11), s.between(0.22, 0.3)
    s.rod((0, -half, radius), (0, half, radius), radius, 'main')


@family('pillow', 'flat_square', mount='top', held_out=True)
def _flat_square(s: Sketch) -> None:
    side = s.between(0.34, 0.42)
    s.block(centered(side), centered(side), (0, s.between(0.06, 0.1)))
