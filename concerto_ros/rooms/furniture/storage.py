"""Cabinets, wardrobes, bookshelves, nightstands, dressers, TV stands and boxes."""

from concerto_ros.rooms.sketch import Range, Sketch, centered, family


def _knob(s: Sketch, front: float, y: float, z: float) -> None:
    s.block((front, front + 0.02), centered(0.03, y), centered(0.03, z), 'third')


def _doors(s: Sketch, front: float, y: Range, z: Range, leaves: int) -> None:
    """Add door leaves with knobs on the front of a body."""
    width = (y[1] - y[0]) / leaves
    for k in range(leaves):
        left = y[0] + k * width
        s.block((front, front + 0.016), (left + 0.006, left + width - 0.006), z, 'second')
        _knob(s, front + 0.016, left + width * (0.85 if k % 2 == 0 else 0.15), (z[0] + z[1]) / 2)


def _drawers(s: Sketch, front: float, y: Range, z: Range, rows: int, columns: int = 1) -> None:
    """Add drawer fronts with knobs on the front of a body."""
    width, height = (y[1] - y[0]) / columns, (z[1] - z[0]) / rows
    for column in range(columns):
        for row in range(rows):
            left, low = y[0] + column * width, z[0] + row * height
            face = (low + 0.006, low + height - 0.006)
            s.block((front, front + 0.016), (left + 0.006, left + width - 0.006), face, 'second')
            _knob(s, front + 0.016, left + width / 2, low + height / 2)


def _shelves(
    s: Sketch, x: Range, y: Range, z: Range, rows: int, wall: float = 0.02, back: bool = True
) -> None:  # fmt: skip
    """Add an open case with `rows` compartments, each a support."""
    for side in (y[0], y[1] - wall):
        s.block(x, (side, side + wall), z)
    inner = (y[0] + wall, y[1] - wall)
    if back:
        s.block((x[0], x[0] + 0.012), inner, z, 'second')
    step = (z[1] - z[0] - wall) / rows
    for row in range(rows + 1):
        low = z[0] + row * step
        s.block((x[0] + 0.004, x[1] - 0.004), inner, (low, low + wall))
        if row < rows:
            area = (x[0] + 0.02, x[1] - 0.01), (inner[0] + 0.01, inner[1] - 0.01)
            s.support(*area, low + wall, step - wall - 0.01)
    s.support((x[0] + 0.01, x[1] - 0.01), (inner[0], inner[1]), z[1], 0.4)


def _on_top(s: Sketch, x: Range, y: Range, z: float) -> None:
    s.support((x[0] + 0.02, x[1] - 0.02), (y[0] + 0.02, y[1] - 0.02), z)


def _body(s: Sketch, depth: Range, width: Range, height: Range) -> tuple[Range, Range, float]:
    return centered(s.between(*depth)), centered(s.between(*width)), s.between(*height)


@family('cabinet', 'sideboard')
def _sideboard(s: Sketch) -> None:
    x, y, top = _body(s, (0.36, 0.48), (0.8, 1.6), (0.7, 0.95))
    s.legs(x, y, 0.12, 0.05, 'third')
    s.block(x, y, (0.12, top))
    _doors(s, x[1], y, (0.15, top - 0.03), s.count(2, 4))
    _on_top(s, x, y, top)


@family('cabinet', 'tall')
def _tall_cabinet(s: Sketch) -> None:
    x, y, top = _body(s, (0.35, 0.5), (0.5, 0.9), (1.3, 1.9))
    s.block(x, y, (0, top))
    half = top * s.between(0.4, 0.6)
    _doors(s, x[1], y, (0.06, half - 0.01), s.count(1, 2))
    _doors(s, x[1], y, (half + 0.01, top - 0.02), s.count(1, 2))


@family('cabinet', 'doors_and_drawers')
def _doors_and_drawers(s: Sketch) -> None:
    x, y, top = _body(s, (0.35, 0.45), (0.7, 1.2), (0.8, 1.1))
    s.block(x, y, (0, top))
    _doors(s, x[1], y, (0.05, top - 0.25), 2)
    _drawers(s, x[1], y, (top - 0.24, top - 0.02), 1, 2)
    _on_top(s, x, y, top)


@family('cabinet', 'display', held_out=True)
def _display(s: Sketch) -> None:
    x, y, top = _body(s, (0.35, 0.42), (0.7, 1.1), (1.4, 1.9))
    low = 0.6
    s.block(x, y, (0, low))
    _doors(s, x[1], y, (0.04, low - 0.03), 2)
    _shelves(s, x, y, (low, top), 2, wall=0.03)


@family('cabinet', 'rounded', held_out=True)
def _rounded(s: Sketch) -> None:
    radius, top = s.between(0.25, 0.35), s.between(0.6, 0.9)
    s.drum((0, 0), (0.05, top), radius)
    s.drum((0, 0), (top, top + 0.03), radius + 0.02, 'second')
    s.drum((0, 0), (0, 0.05), radius * 0.8, 'second')
    s.support(centered(radius), centered(radius), top + 0.03)


def _hanging_size(s: Sketch) -> tuple[Range, Range, Range]:
    return (
        (0, s.between(0.3, 0.38)),
        centered(s.wanted('width', 0.7, 1.8)),
        centered(s.between(0.5, 0.7)),
    )


@family('kitchen cabinet', 'hanging_doors', mount='wall')
def _hanging_doors(s: Sketch) -> None:
    x, y, z = _hanging_size(s)
    s.block(x, y, z)
    _doors(s, x[1], y, (z[0] + 0.01, z[1] - 0.01), max(1, round((y[1] - y[0]) / 0.45)))


@family('kitchen cabinet', 'hanging_open', mount='wall')
def _hanging_open(s: Sketch) -> None:
    x, y, z = _hanging_size(s)
    middle = (y[0] + y[1]) / 2
    s.block(x, (middle, y[1]), z)
    _doors(s, x[1], (middle, y[1]), (z[0] + 0.01, z[1] - 0.01), 1)
    _shelves(s, x, (y[0], middle), z, 2)


@family('kitchen cabinet', 'lifting_flaps', mount='wall', held_out=True)
def _lifting_flaps(s: Sketch) -> None:
    x, y, z = _hanging_size(s)
    s.block(x, y, z)
    for low, high in ((z[0], 0.0), (0.0, z[1])):
        s.block(
            (x[1], x[1] + 0.02), (y[0] + 0.01, y[1] - 0.01), (low + 0.01, high - 0.02), 'second'
        )
        s.rod(
            (x[1] + 0.03, y[0] + 0.1, low + 0.05),
            (x[1] + 0.03, y[1] - 0.1, low + 0.05),
            0.01,
            'third',
        )


@family('file cabinet', 'drawers')
def _file_drawers(s: Sketch) -> None:
    rows = s.count(2, 4)
    x, y = centered(s.between(0.45, 0.6)), centered(s.between(0.4, 0.5))
    top = 0.3 * rows + 0.08
    s.block(x, y, (0, top))
    _drawers(s, x[1], y, (0.03, top - 0.02), rows)
    _on_top(s, x, y, top)


@family('file cabinet', 'wheeled')
def _wheeled(s: Sketch) -> None:
    x, y, top = _body(s, (0.45, 0.55), (0.38, 0.44), (0.52, 0.64))
    for cx in (x[0] + 0.05, x[1] - 0.05):
        for cy in (y[0] + 0.05, y[1] - 0.05):
            s.ball((cx, cy, 0.03), (0.06, 0.06, 0.06), 'third')
    s.block(x, y, (0.05, top))
    _drawers(s, x[1], y, (0.07, top - 0.03), 3)
    _on_top(s, x, y, top)


@family('file cabinet', 'lateral', held_out=True)
def _lateral(s: Sketch) -> None:
    x, y, top = _body(s, (0.42, 0.5), (0.8, 1.0), (0.7, 1.2))
    s.block(x, y, (0, top))
    for k in range(2):
        low = 0.04 + k * (top - 0.06) / 2
        high = low + (top - 0.06) / 2 - 0.02
        s.block((x[1], x[1] + 0.02), (y[0] + 0.01, y[1] - 0.01), (low, high), 'second')
        s.rod(
            (x[1] + 0.03, y[0] + 0.15, high - 0.05),
            (x[1] + 0.03, y[1] - 0.15, high - 0.05),
            0.01,
            'third',
        )
    _on_top(s, x, y, top)


@family('wardrobe', 'doors')
def _wardrobe_doors(s: Sketch) -> None:
    x, y, top = _body(s, (0.55, 0.65), (0.9, 1.6), (1.9, 2.2))
    s.block(x, y, (0, top))
    _doors(s, x[1], y, (0.08, top - 0.03), s.count(2, 3))


@family('wardrobe', 'drawers_below')
def _drawers_below(s: Sketch) -> None:
    x, y, top = _body(s, (0.52, 0.62), (0.9, 1.4), (1.85, 2.15))
    s.legs(x, y, 0.1, 0.06, 'third')
    s.block(x, y, (0.1, top))
    _drawers(s, x[1], y, (0.12, 0.5), 1, 2)
    _doors(s, x[1], y, (0.52, top - 0.03), 2)
    s.block((x[0], x[1] + 0.04), (y[0] - 0.03, y[1] + 0.03), (top, top + 0.05), 'second')


@family('wardrobe', 'sliding', held_out=True)
def _sliding(s: Sketch) -> None:
    x, y, top = _body(s, (0.58, 0.68), (1.2, 1.8), (1.9, 2.2))
    s.block(x, y, (0, top))
    s.block((x[1], x[1] + 0.02), (y[0], 0.02), (0.03, top - 0.03), 'second')
    s.block((x[1] + 0.02, x[1] + 0.04), (-0.02, y[1]), (0.03, top - 0.03), 'mirror')


@family('bookshelf', 'backed')
def _backed(s: Sketch) -> None:
    x, y, top = _body(s, (0.26, 0.36), (0.6, 1.2), (1.4, 2.1))
    _shelves(s, x, y, (0.04, top), s.count(4, 6))
    s.block(x, y, (0, 0.04))


@family('bookshelf', 'low')
def _low_bookshelf(s: Sketch) -> None:
    x, y, top = _body(s, (0.28, 0.38), (0.8, 1.5), (0.75, 1.1))
    _shelves(s, x, y, (0.0, top), s.count(2, 3), wall=0.03)


@family('bookshelf', 'cubes')
def _cubes(s: Sketch) -> None:
    side, wall, columns = s.between(0.34, 0.4), 0.03, s.count(2, 3)
    x = centered(0.38)
    for column in range(columns):
        left = (column - columns / 2) * side
        _shelves(s, x, (left, left + side), (0, s.count(2, 4) * side), 3, wall, back=False)


@family('bookshelf', 'rod_frame', held_out=True)
def _rod_frame(s: Sketch) -> None:
    x, y, top = _body(s, (0.3, 0.38), (0.7, 1.1), (1.4, 1.9))
    for cx in x:
        for cy in y:
            s.rod((cx, cy, 0), (cx, cy, top), 0.014)
    for row in range(4):
        low = 0.1 + row * (top - 0.15) / 3
        s.block(x, y, (low, low + 0.02))
        area = (x[0] + 0.02, x[1] - 0.02), (y[0] + 0.02, y[1] - 0.02)
        s.support(*area, low + 0.02, (top - 0.15) / 3 - 0.04)


@family('bookshelf', 'stepped', held_out=True)
def _stepped(s: Sketch) -> None:
    x, width = centered(s.between(0.28, 0.36)), s.between(0.34, 0.42)
    for column, rows in enumerate((2, 3, 4)):
        left = (column - 1.5) * width
        _shelves(s, x, (left, left + width), (0, rows * 0.36), rows)


@family('nightstand', 'drawers')
def _nightstand_drawers(s: Sketch) -> None:
    x, y, top = _body(s, (0.35, 0.45), (0.4, 0.52), (0.45, 0.62))
    s.legs(x, y, 0.1, 0.04, 'third')
    s.block(x, y, (0.1, top))
    _drawers(s, x[1], y, (0.12, top - 0.02), s.count(1, 3))
    _on_top(s, x, y, top)


@family('nightstand', 'open')
def _nightstand_open(s: Sketch) -> None:
    x, y, top = _body(s, (0.35, 0.42), (0.38, 0.5), (0.42, 0.6))
    _shelves(s, x, y, (0, top), 2)


@family('nightstand', 'drum', held_out=True)
def _nightstand_drum(s: Sketch) -> None:
    radius, top = s.between(0.18, 0.24), s.between(0.42, 0.58)
    s.drum((0, 0), (0, 0.02), radius, 'second')
    s.drum((0, 0), (0.02, top - 0.03), 0.03, 'second')
    s.drum((0, 0), (top - 0.03, top), radius)
    s.support(centered(radius * 1.3), centered(radius * 1.3), top)


@family('dresser', 'columns')
def _dresser_columns(s: Sketch) -> None:
    x, y, top = _body(s, (0.4, 0.5), (0.9, 1.5), (0.75, 1.0))
    s.block(x, y, (0, top))
    _drawers(s, x[1], y, (0.05, top - 0.03), s.count(3, 4), 2)
    _on_top(s, x, y, top)


@family('dresser', 'tallboy')
def _tallboy(s: Sketch) -> None:
    x, y, top = _body(s, (0.4, 0.5), (0.55, 0.8), (1.0, 1.35))
    s.legs(x, y, 0.1, 0.05, 'third')
    s.block(x, y, (0.1, top))
    _drawers(s, x[1], y, (0.12, top - 0.03), s.count(4, 6))
    _on_top(s, x, y, top)


@family('dresser', 'overhang', held_out=True)
def _overhang(s: Sketch) -> None:
    x, y, top = _body(s, (0.4, 0.48), (0.8, 1.3), (0.8, 1.0))
    s.block(x, y, (0.08, top - 0.04))
    s.block((x[0], x[1] - 0.06), (y[0] + 0.04, y[1] - 0.04), (0, 0.08), 'third')
    _drawers(s, x[1], y, (0.1, top - 0.06), 3, 3)
    s.block((x[0], x[1] + 0.05), (y[0] - 0.04, y[1] + 0.04), (top - 0.04, top), 'second')
    _on_top(s, x, y, top)


@family('tv stand', 'low_case')
def _low_case(s: Sketch) -> None:
    x, y, top = _body(s, (0.36, 0.46), (1.1, 1.7), (0.42, 0.58))
    _shelves(s, x, y, (0.05, top), 1, wall=0.03)
    s.legs(x, y, 0.05, 0.05, 'third')


@family('tv stand', 'drawers')
def _tv_drawers(s: Sketch) -> None:
    x, y, top = _body(s, (0.38, 0.46), (1.1, 1.6), (0.4, 0.55))
    s.block(x, y, (0, top))
    _drawers(s, x[1], y, (0.06, top - 0.02), 1, 3)
    _on_top(s, x, y, top)


@family('tv stand', 'glass_tiers', held_out=True)
def _glass_tiers(s: Sketch) -> None:
    x, y, top = _body(s, (0.4, 0.46), (1.0, 1.4), (0.45, 0.55))
    s.legs(x, y, top - 0.015, 0.04)
    for low in (0.08, top - 0.015):
        s.block(x, y, (low, low + 0.015), 'main')
    _on_top(s, x, y, top)


def _carton(s: Sketch, low: float, high: float) -> tuple[Range, Range, float]:
    return (
        centered(s.between(low, high)),
        centered(s.between(low, high)),
        s.between(low, high) * 0.8,
    )


@family('box', 'carton')
def _floor_carton(s: Sketch) -> None:
    x, y, top = _carton(s, 0.25, 0.55)
    s.block(x, y, (0, top))
    s.block(x, centered(0.05), (top, top + 0.002), 'second')


@family('box', 'crate')
def _crate(s: Sketch) -> None:
    x, y, top = _carton(s, 0.3, 0.5)
    s.block(x, y, (0, 0.02))
    for cx in (x[0], x[1] - 0.015):
        s.block((cx, cx + 0.015), y, (0.02, top))
    for cy in (y[0], y[1] - 0.015):
        s.block(x, (cy, cy + 0.015), (0.02, top), 'second')


@family('box', 'lidded', held_out=True)
def _lidded(s: Sketch) -> None:
    x, y, top = _carton(s, 0.3, 0.5)
    s.block(x, y, (0, top))
    s.block(
        (x[0] - 0.01, x[1] + 0.01), (y[0] - 0.01, y[1] + 0.01), (top - 0.08, top + 0.01), 'second'
    )


@family('box', 'small_carton', mount='top')
def _small_carton(s: Sketch) -> None:
    x, y, top = _carton(s, 0.1, 0.22)
    s.block(x, y, (0, top))


@family('box', 'small_round', mount='top', held_out=True)
def _small_round(s: Sketch) -> None:
    radius, top = s.between(0.06, 0.11), s.between(0.06, 0.16)
    s.drum((0, 0), (0, top), radius)
    s.drum((0, 0), (top, top + 0.02), radius + 0.005, 'second')
