"""Doors, windows and what hangs on walls or from ceilings.

For objects of mount 'wall' x = 0 is the face of the wall. Doors and windows stand at z = 0 on
the floor, declare the `opening` they fill, and reach to negative x, into the wall.
"""

import math

from concerto_ros.rooms.sketch import Range, Sketch, centered, family

RECESS = 0.12  # how deep the wall goes back at an opening [m]


def _trim(s: Sketch, y: Range, z: Range, width: float, sill: bool = False) -> None:
    """Add a frame around an opening, proud of the wall, and the opening itself."""
    s.opening = (y[1] - y[0], z[0], z[1])
    for left in (y[0] - width, y[1]):
        s.block((0, 0.015), (left, left + width), z, 'second')
    s.block((0, 0.015), (y[0] - width, y[1] + width), (z[1], z[1] + width), 'second')
    if sill:
        s.block((0, 0.05), (y[0] - width, y[1] + width), (z[0] - 0.03, z[0]), 'second')


def _door_size(s: Sketch) -> tuple[Range, Range]:
    return centered(s.between(0.78, 0.95)), (0.0, s.between(1.98, 2.1))


def _lever(s: Sketch, y: float, face: float) -> None:
    s.rod((face, y, 1.02), (face + 0.05, y, 1.02), 0.012, 'third')
    s.rod(
        (face + 0.05, y + 0.01, 1.02),
        (face + 0.05, y - math.copysign(0.11, y), 1.02),
        0.011,
        'third',
    )


@family('door', 'flush', mount='wall')
def _flush(s: Sketch) -> None:
    y, z = _door_size(s)
    _trim(s, y, z, s.between(0.05, 0.09))
    s.block((-RECESS, -0.03), y, z)
    _lever(s, y[1] - 0.07, -0.03)


@family('door', 'panelled', mount='wall')
def _panelled(s: Sketch) -> None:
    y, z = _door_size(s)
    _trim(s, y, z, 0.07)
    s.block((-RECESS, -0.05), y, z)
    for row in range(s.count(2, 3)):
        for column in range(2):
            left = y[0] + 0.09 + column * (y[1] - y[0] - 0.09) / 2
            low = 0.15 + row * 0.62
            s.block((-0.05, -0.038), (left, left + (y[1] - y[0]) / 2 - 0.135), (low, low + 0.5))
    _lever(s, y[0] + 0.06, -0.05)


@family('door', 'half_glazed', mount='wall')
def _half_glazed(s: Sketch) -> None:
    y, z = _door_size(s)
    _trim(s, y, z, 0.06)
    s.block((-RECESS, -0.06), y, z)
    s.block((-0.06, -0.054), (y[0] + 0.14, y[1] - 0.14), (1.1, z[1] - 0.16), 'mirror')
    _lever(s, y[1] - 0.06, -0.06)


@family('door', 'double', mount='wall', held_out=True)
def _double(s: Sketch) -> None:
    y, z = centered(s.between(1.25, 1.5)), (0.0, s.between(2.0, 2.15))
    _trim(s, y, z, 0.06)
    s.block((-RECESS, -0.06), y, z, 'second')
    for leaf in ((y[0], -0.004), (0.004, y[1])):
        s.block((-0.06, -0.03), leaf, (0.006, z[1] - 0.004))
    _lever(s, 0.07, -0.03)


@family('door', 'slatted', mount='wall', held_out=True)
def _slatted(s: Sketch) -> None:
    y, z = _door_size(s)
    _trim(s, y, z, 0.05)
    s.block((-RECESS, -0.06), y, z)
    for row in range(9):
        low = 0.15 + row * 0.2
        s.block((-0.06, -0.045), (y[0] + 0.1, y[1] - 0.1), (low, low + 0.12), 'second')
    _lever(s, y[1] - 0.05, -0.06)


def _window_size(s: Sketch) -> tuple[Range, Range]:
    sill = s.between(0.8, 1.05)
    return centered(s.wanted('width', 0.8, 1.7)), (sill, sill + s.wanted('height', 0.9, 1.25))


def _pane(s: Sketch, y: Range, z: Range, columns: int, rows: int) -> None:
    """Add glass at the back of the opening and the bars before it."""
    s.block((-RECESS, -0.1), y, z, 'mirror')
    for k in range(columns + 1):
        side = y[0] + 0.025 + k * (y[1] - y[0] - 0.05) / columns
        s.block((-0.1, -0.06), centered(0.05, side), z)
    for k in range(rows + 1):
        low = z[0] + k * (z[1] - z[0] - 0.05) / rows
        s.block((-0.1, -0.065), y, (low, low + 0.05))


@family('window', 'casement', mount='wall')
def _casement(s: Sketch) -> None:
    y, z = _window_size(s)
    _trim(s, y, z, 0.06, sill=True)
    _pane(s, y, z, s.count(1, 3), 1)


@family('window', 'sash', mount='wall')
def _sash(s: Sketch) -> None:
    y, z = _window_size(s)
    _trim(s, y, z, 0.05, sill=True)
    _pane(s, y, z, 1, 2)


@family('window', 'grid', mount='wall', held_out=True)
def _grid(s: Sketch) -> None:
    y, z = _window_size(s)
    _trim(s, y, z, 0.08)
    _pane(s, y, z, 3, 3)


def _cloth(s: Sketch) -> tuple[Range, Range]:
    """Add a rail above the middle; return the extent of the cloth about z = 0."""
    width, height = s.wanted('width', 1.2, 2.0), s.wanted('height', 1.4, 2.2)
    y, z = centered(width), centered(height)
    s.rod((0.06, y[0] - 0.04, z[1] + 0.02), (0.06, y[1] + 0.04, z[1] + 0.02), 0.012, 'second')
    return y, z


def _folds(s: Sketch, y: Range, z: Range) -> None:
    count = max(3, round((y[1] - y[0]) / 0.09))
    step = (y[1] - y[0]) / count
    for k in range(count):
        s.drum((0.06, y[0] + (k + 0.5) * step), z, min(0.055 * step / 0.09, 0.058))


@family('curtain', 'drawn_aside', mount='wall')
def _drawn_aside(s: Sketch) -> None:
    y, z = _cloth(s)
    share = s.between(0.18, 0.3) * (y[1] - y[0])
    _folds(s, (y[0], y[0] + share), z)
    _folds(s, (y[1] - share, y[1]), z)


@family('curtain', 'one_side', mount='wall')
def _one_side(s: Sketch) -> None:
    y, z = _cloth(s)
    _folds(s, (y[0], y[0] + s.between(0.35, 0.6) * (y[1] - y[0])), z)


@family('curtain', 'flat_panels', mount='wall')
def _flat_panels(s: Sketch) -> None:
    y, z = _cloth(s)
    width = (y[1] - y[0]) * s.between(0.2, 0.3)
    for left in (y[0], y[1] - width):
        s.block((0.04, 0.055), (left, left + width), z)
        s.block((0.06, 0.075), (left + 0.3 * width, left + 0.8 * width), z)


@family('curtain', 'tied', mount='wall', held_out=True)
def _tied(s: Sketch) -> None:
    y, z = _cloth(s)
    waist = z[0] + 0.4 * (z[1] - z[0])
    for side in (y[0] + 0.06, y[1] - 0.06):
        s.funnel((0.065, side), (waist, z[1]), 0.06, 'main', bottom=0.45)
        s.drum((0.065, side), (z[0], waist), 0.06, top=0.45)


def _canvas(s: Sketch) -> tuple[Range, Range]:
    return centered(s.between(0.3, 1.0)), centered(s.between(0.3, 0.75))


@family('picture', 'framed', mount='wall')
def _framed(s: Sketch) -> None:
    y, z = _canvas(s)
    s.block((0, 0.025), y, z, 'second')
    s.block((0.025, 0.028), (y[0] + 0.03, y[1] - 0.03), (z[0] + 0.03, z[1] - 0.03))


@family('picture', 'canvas', mount='wall')
def _plain_canvas(s: Sketch) -> None:
    y, z = _canvas(s)
    s.block((0, s.between(0.02, 0.04)), y, z)


@family('picture', 'passepartout', mount='wall')
def _passepartout(s: Sketch) -> None:
    y, z = _canvas(s)
    s.block((0, 0.02), y, z, 'third')
    s.block((0.02, 0.024), (y[0] + 0.02, y[1] - 0.02), (z[0] + 0.02, z[1] - 0.02), 'second')
    inset_y, inset_z = 0.22 * (y[1] - y[0]), 0.22 * (z[1] - z[0])
    s.block((0.024, 0.027), (y[0] + inset_y, y[1] - inset_y), (z[0] + inset_z, z[1] - inset_z))


@family('picture', 'oval', mount='wall', held_out=True)
def _oval_picture(s: Sketch) -> None:
    width, height = s.between(0.3, 0.5), s.between(0.4, 0.65)
    s.ball((0.0, 0, 0), (0.06, width, height), 'second')
    s.ball((0.012, 0, 0), (0.05, width * 0.85, height * 0.85))


@family('picture', 'triptych', mount='wall', held_out=True)
def _triptych(s: Sketch) -> None:
    width, z = s.between(0.22, 0.34), centered(s.between(0.4, 0.8))
    for k, material in enumerate(('main', 'second', 'main')):
        s.block((0, 0.03), centered(width, (k - 1) * (width + 0.04)), z, material)


@family('mirror', 'rectangular', mount='wall')
def _rectangular_mirror(s: Sketch) -> None:
    y, z = centered(s.wanted('width', 0.4, 0.8)), centered(s.between(0.5, 0.9))
    s.block((0, 0.02), y, z)
    s.block((0.02, 0.023), (y[0] + 0.02, y[1] - 0.02), (z[0] + 0.02, z[1] - 0.02), 'mirror')


@family('mirror', 'round', mount='wall')
def _round_mirror(s: Sketch) -> None:
    radius = s.between(0.2, 0.35)
    s.rod((0, 0, 0), (0.02, 0, 0), radius, 'main')
    s.rod((0.02, 0, 0), (0.023, 0, 0), radius - 0.02, 'mirror')


@family('mirror', 'cabinet', mount='wall', held_out=True)
def _mirror_cabinet(s: Sketch) -> None:
    y, z = centered(s.wanted('width', 0.5, 0.8)), centered(s.between(0.5, 0.7))
    s.block((0, 0.13), y, z)
    for leaf in ((y[0], -0.003), (0.003, y[1])):
        s.block((0.13, 0.136), leaf, z, 'mirror')


@family('mirror', 'standing')
def _standing_mirror(s: Sketch) -> None:
    width, top = s.between(0.4, 0.55), s.between(1.4, 1.75)
    s.block(centered(0.3), centered(width), (0, 0.03))
    s.block(centered(0.03), centered(width), (0.03, top))
    s.block((0.015, 0.018), centered(width - 0.06), (0.08, top - 0.04), 'mirror')


@family('mirror', 'standing_oval', held_out=True)
def _standing_oval(s: Sketch) -> None:
    top = s.between(1.4, 1.7)
    s.drum((0, 0), (0, 0.04), 0.18)
    s.rod((0, 0, 0.04), (0, 0, 0.4), 0.02)
    s.ball((0, 0, (0.35 + top) / 2), (0.04, 0.48, top - 0.35))
    s.ball((0.008, 0, (0.35 + top) / 2), (0.04, 0.42, top - 0.43), 'mirror')


@family('whiteboard', 'tray', mount='wall')
def _whiteboard(s: Sketch) -> None:
    y, z = centered(s.between(1.0, 2.2)), centered(s.between(0.8, 1.1))
    s.block((0, 0.015), y, z, 'second')
    s.block((0.015, 0.018), (y[0] + 0.02, y[1] - 0.02), (z[0] + 0.02, z[1] - 0.02))
    s.block((0.015, 0.08), centered(0.5 * (y[1] - y[0])), (z[0], z[0] + 0.015), 'second')


@family('whiteboard', 'frameless', mount='wall')
def _frameless(s: Sketch) -> None:
    s.block((0, 0.02), centered(s.between(0.9, 1.8)), centered(s.between(0.7, 1.1)))


@family('whiteboard', 'two_panels', mount='wall', held_out=True)
def _two_panels(s: Sketch) -> None:
    width, z = s.between(0.6, 1.0), centered(s.between(0.8, 1.1))
    s.block((0, 0.02), (-width, width * 0.3), z)
    s.block((0.025, 0.045), (-width * 0.1, width), z)
    for rail in z:
        s.rod((0.02, -width, rail), (0.02, width, rail), 0.015)


@family('television', 'wall_panel', mount='wall')
def _wall_panel(s: Sketch) -> None:
    width = s.between(0.9, 1.5)
    y, z = centered(width), centered(width * 9 / 16)
    s.block((0, 0.03), centered(0.3), centered(0.2), 'second')
    s.block((0.03, 0.07), y, z)
    s.block((0.07, 0.072), (y[0] + 0.012, y[1] - 0.012), (z[0] + 0.012, z[1] - 0.012), 'third')


@family('television', 'on_arm', mount='wall', held_out=True)
def _on_arm(s: Sketch) -> None:
    width = s.between(0.8, 1.2)
    s.rod((0, 0, 0), (0.15, 0, 0), 0.04)
    s.block((0.15, 0.19), centered(width), centered(width * 9 / 16), pitch=0.12)


@family('clock', 'round', mount='wall')
def _round_clock(s: Sketch) -> None:
    radius = s.between(0.12, 0.2)
    s.rod((0, 0, 0), (0.03, 0, 0), radius, 'second')
    s.rod((0.03, 0, 0), (0.034, 0, 0), radius * 0.9, 'main')
    s.rod((0.036, 0, 0), (0.036, 0, radius * 0.7), 0.006, 'third')
    s.rod((0.036, 0, 0), (0.036, radius * 0.45, 0.03), 0.007, 'third')


@family('clock', 'square', mount='wall')
def _square_clock(s: Sketch) -> None:
    side = centered(s.between(0.22, 0.36))
    s.block((0, 0.03), side, side)
    s.rod((0.032, 0, 0), (0.032, 0.07, 0.04), 0.006, 'second')
    s.rod((0.032, 0, 0), (0.032, -0.02, 0.09), 0.006, 'second')


@family('clock', 'pendulum', mount='wall', held_out=True)
def _pendulum(s: Sketch) -> None:
    s.block((0, 0.1), centered(0.26), (-0.35, 0.3))
    s.rod((0.1, 0, 0.15), (0.11, 0, 0.15), 0.1, 'second')
    s.rod((0.105, 0, 0.05), (0.105, 0, -0.2), 0.008, 'third')
    s.ball((0.11, 0, -0.22), (0.03, 0.09, 0.09), 'third')


@family('lamp', 'pendant', mount='ceiling')
def _pendant(s: Sketch) -> None:
    drop, radius = s.between(0.3, 0.6), s.between(0.12, 0.25)
    s.rod((0, 0, 0), (0, 0, -drop), 0.006)
    s.drum((0, 0), (-drop - 0.18, -drop), radius, top=0.4)


@family('lamp', 'ceiling_disc', mount='ceiling')
def _ceiling_disc(s: Sketch) -> None:
    s.drum((0, 0), (-s.between(0.06, 0.12), 0), s.between(0.15, 0.28))


@family('lamp', 'globe', mount='ceiling', held_out=True)
def _globe(s: Sketch) -> None:
    drop, size = s.between(0.15, 0.4), s.between(0.22, 0.36)
    s.rod((0, 0, 0), (0, 0, -drop), 0.01)
    s.ball((0, 0, -drop - size / 2 + 0.01), (size, size, size))
