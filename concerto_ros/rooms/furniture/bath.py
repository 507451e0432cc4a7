"""Toilets, sinks, bathtubs, shower curtains and towels."""

from concerto_ros.rooms.sketch import Range, Sketch, centered, family


def _tap(s: Sketch, x: float, z: float) -> None:
    s.rod((x, 0, z), (x, 0, z + 0.15), 0.015, 'third')
    s.rod((x, 0, z + 0.15), (x + 0.12, 0, z + 0.14), 0.012, 'third')


def _basin(s: Sketch, x: Range, y: Range, z: Range, rim: float) -> None:
    """Add an open tub: a floor and four sides of thickness `rim`."""
    s.block(x, y, (z[0], z[0] + 0.03))
    for cx in (x[0], x[1] - rim):
        s.block((cx, cx + rim), y, (z[0] + 0.03, z[1]))
    for cy in (y[0], y[1] - rim):
        s.block((x[0] + rim, x[1] - rim), (cy, cy + rim), (z[0] + 0.03, z[1]))


@family('toilet', 'close_coupled')
def _close_coupled(s: Sketch) -> None:
    width = s.between(0.34, 0.4)
    s.drum((0.05, 0), (0, 0.36), 0.13, top=0.95)
    s.ball((0.08, 0, 0.34), (0.5, width, 0.22))
    s.drum((0.08, 0), (0.41, 0.44), width / 2, 'second')
    s.block((-0.35, -0.15), centered(width), (0.38, s.between(0.72, 0.82)))
    s.block((-0.36, -0.14), centered(width + 0.02), (0.82, 0.85), 'second')
    s.block((-0.35, -0.1), centered(0.2), (0, 0.38))


@family('toilet', 'boxed_cistern')
def _boxed_cistern(s: Sketch) -> None:
    width = s.between(0.34, 0.38)
    s.block((-0.35, -0.2), centered(s.between(0.5, 0.9)), (0, s.between(0.95, 1.15)), 'third')
    s.block((-0.2, 0.1), centered(width), (0.12, 0.4))
    s.drum((0.1, 0), (0.12, 0.4), width / 2)
    s.drum((0.08, 0), (0.4, 0.43), width / 2 + 0.005, 'second')
    s.block((-0.2, 0.08), centered(width), (0.4, 0.43), 'second')


@family('toilet', 'square', held_out=True)
def _square_toilet(s: Sketch) -> None:
    width = s.between(0.34, 0.38)
    s.block((-0.15, 0.3), centered(width), (0.0, 0.4))
    s.block((-0.15, 0.31), centered(width + 0.01), (0.4, 0.43), 'second')
    s.rod((-0.25, 0, 0.4), (-0.25, 0, 0.85), 0.16, 'main')


@family('sink', 'pedestal')
def _pedestal_sink(s: Sketch) -> None:
    depth, width, top = s.between(0.4, 0.48), s.between(0.48, 0.62), s.between(0.8, 0.88)
    x = centered(depth)
    s.drum((-0.05, 0), (0, top - 0.16), 0.1, top=0.8)
    _basin(s, x, centered(width), (top - 0.16, top), 0.05)
    _tap(s, x[0] + 0.03, top)


@family('sink', 'washstand')
def _washstand(s: Sketch) -> None:
    depth, width, top = s.between(0.42, 0.5), s.between(0.55, 0.9), s.between(0.8, 0.88)
    x, y = centered(depth), centered(width)
    s.legs(x, y, top - 0.14, 0.04)
    s.block((x[0] + 0.02, x[1] - 0.02), (y[0] + 0.02, y[1] - 0.02), (0.25, 0.27), 'second')
    _basin(s, x, y, (top - 0.14, top), 0.05)
    _tap(s, x[0] + 0.03, top)


@family('sink', 'column', held_out=True)
def _column_sink(s: Sketch) -> None:
    radius, top = s.between(0.2, 0.25), s.between(0.82, 0.9)
    s.funnel((0, 0), (0, top), radius, 'main', bottom=0.7)
    s.drum((0.02, 0), (top, top + 0.004), radius * 0.75, 'second')
    _tap(s, -radius + 0.02, top)


@family('sink', 'vessel', mount='top')
def _vessel(s: Sketch) -> None:
    radius = s.between(0.16, 0.2)
    s.funnel((0, 0), (0, 0.13), radius, 'main', bottom=0.7)
    s.drum((0, 0), (0.13, 0.134), radius * 0.85, 'second')
    _tap(s, -radius - 0.03, 0.0)


@family('sink', 'drop_in', mount='top')
def _drop_in(s: Sketch) -> None:
    x, y = centered(s.between(0.36, 0.44)), centered(s.between(0.45, 0.7))
    _basin(s, x, y, (0, s.between(0.05, 0.09)), 0.03)
    _tap(s, x[0] + 0.015, 0.05)


@family('sink', 'oval', mount='top', held_out=True)
def _oval(s: Sketch) -> None:
    s.ball((0, 0, 0.06), (s.between(0.32, 0.4), s.between(0.44, 0.54), 0.12))
    s.drum((0.0, 0), (0.118, 0.124), 0.1, 'second')
    s.rod((-0.2, 0, 0), (-0.2, 0, 0.25), 0.014, 'third')
    s.rod((-0.2, 0, 0.25), (-0.08, 0, 0.22), 0.012, 'third')


def _tub_size(s: Sketch) -> tuple[Range, Range, float]:
    width = s.wanted('width', 1.5, 1.75)
    return centered(s.between(0.68, 0.78)), centered(width), s.between(0.52, 0.6)


@family('bathtub', 'built_in')
def _built_in(s: Sketch) -> None:
    x, y, top = _tub_size(s)
    _basin(s, x, y, (0.0, top), s.between(0.06, 0.1))


@family('bathtub', 'panelled')
def _panelled(s: Sketch) -> None:
    x, y, top = _tub_size(s)
    _basin(s, x, y, (0.12, top), 0.07)
    s.block((x[0] + 0.05, x[1] - 0.05), (y[0] + 0.05, y[1] - 0.05), (0, 0.12), 'second')
    s.block((x[1], x[1] + 0.015), y, (0, top - 0.05), 'second')
    s.rod((x[0] + 0.04, 0, top), (x[0] + 0.04, 0, top + 0.12), 0.02, 'third')


@family('bathtub', 'free_standing', held_out=True)
def _free_standing(s: Sketch) -> None:
    x, y, top = _tub_size(s)
    ends = (y[0] + 0.36, y[1] - 0.36)
    s.block((x[0] + 0.06, x[1] - 0.06), ends, (0.1, 0.14))
    for side in (x[0], x[1] - 0.06):
        s.block((side, side + 0.06), ends, (0.1, top))
    for end in ends:
        s.funnel((0, end), (0.1, top), 0.36, 'main', bottom=0.8)
    s.legs((x[0] + 0.1, x[1] - 0.1), (y[0] + 0.3, y[1] - 0.3), 0.1, 0.06, 'third')


def _curtain_rail(s: Sketch) -> tuple[Range, float, float]:
    """Add a rail; return the extent of the cloth in y and z."""
    rail = centered(s.wanted('width', 1.4, 1.7))
    top = s.between(1.85, 2.0)
    s.rod((0, rail[0], top), (0, rail[1], top), 0.012, 'second')
    return (
        (rail[0], rail[0] + (rail[1] - rail[0]) * s.between(0.35, 0.65)),
        s.between(0.15, 0.3),
        top,
    )


@family('shower curtain', 'pleated')
def _pleated(s: Sketch) -> None:
    y, low, top = _curtain_rail(s)
    folds = s.count(6, 10)
    step = (y[1] - y[0]) / folds
    for k in range(folds):
        s.drum(
            (0, y[0] + (k + 0.5) * step), (low, top - 0.02), 0.55 * step if step < 0.09 else 0.05
        )
    s.block(centered(0.02), y, (low, top - 0.02))


@family('shower curtain', 'panel')
def _panel(s: Sketch) -> None:
    y, low, top = _curtain_rail(s)
    s.block(centered(0.014), y, (low, top - 0.03))
    for k in range(6):
        ring = y[0] + (y[1] - y[0]) * (k + 0.5) / 6
        s.block(centered(0.02), centered(0.015, ring), (top - 0.03, top + 0.015), 'second')


@family('shower curtain', 'gathered', held_out=True)
def _gathered(s: Sketch) -> None:
    y, low, top = _curtain_rail(s)
    middle = (y[0] + y[1]) / 2
    waist = (low + top) / 2
    s.funnel((0, middle), (waist, top - 0.03), 0.12, 'main', bottom=0.4)
    s.drum((0, middle), (low, waist), 0.12, top=0.4)


@family('towel', 'hanging', mount='wall')
def _hanging_towel(s: Sketch) -> None:
    width = s.between(0.35, 0.6)
    s.rod((0.06, -width / 2 - 0.03, 0.3), (0.06, width / 2 + 0.03, 0.3), 0.01)
    for side in (-width / 2 - 0.03, width / 2 + 0.03):
        s.rod((0, side, 0.3), (0.06, side, 0.3), 0.01)
    s.block((0.045, 0.08), centered(width), (s.between(-0.3, 0.0), 0.315))


@family('towel', 'folded', mount='top')
def _folded(s: Sketch) -> None:
    x, y = centered(s.between(0.18, 0.26)), centered(s.between(0.2, 0.3))
    for k in range(s.count(1, 4)):
        s.block(x, y, (0.045 * k, 0.045 * k + 0.043), ('main', 'second')[k % 2])


@family('towel', 'on_hook', mount='wall', held_out=True)
def _on_hook(s: Sketch) -> None:
    s.rod((0, 0, 0.3), (0.06, 0, 0.31), 0.012)
    s.drum((0.06, 0), (s.between(-0.4, -0.2), 0.3), 0.06, top=0.4)


@family('towel', 'rolled', mount='top', held_out=True)
def _rolled(s: Sketch) -> None:
    s.rod((0, -0.15, 0.055), (0, 0.15, 0.055), 0.055, 'main')
