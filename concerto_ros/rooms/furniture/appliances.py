"""Refrigerators, stoves, microwaves, washing machines and radiators."""

from concerto_ros.rooms.sketch import Range, Sketch, centered, family


def _fridge_size(s: Sketch) -> tuple[Range, Range, float]:
    return centered(s.between(0.58, 0.7)), centered(s.between(0.55, 0.75)), s.between(1.5, 1.9)


def _fridge_door(s: Sketch, front: float, y: Range, z: Range) -> None:
    s.block((front, front + 0.04), y, z)
    handle = y[0] + 0.06
    s.rod((front + 0.07, handle, z[0] + 0.05), (front + 0.07, handle, z[1] - 0.05), 0.012)


@family('refrigerator', 'freezer_below')
def _freezer_below(s: Sketch) -> None:
    x, y, top = _fridge_size(s)
    s.block(x, y, (0, top))
    split = s.between(0.5, 0.75)
    _fridge_door(s, x[1], y, (0.06, split - 0.006))
    _fridge_door(s, x[1], y, (split + 0.006, top))


@family('refrigerator', 'single_door')
def _single_door(s: Sketch) -> None:
    x, y, _ = _fridge_size(s)
    top = s.between(0.85, 1.4)
    s.block(x, y, (0.0, top))
    _fridge_door(s, x[1], y, (0.05, top - 0.01))


@family('refrigerator', 'side_by_side', held_out=True)
def _side_by_side(s: Sketch) -> None:
    x, _, top = _fridge_size(s)
    y = centered(s.between(0.85, 0.95))
    s.block(x, y, (0, top))
    _fridge_door(s, x[1], (y[0], -0.006), (0.06, top))
    _fridge_door(s, x[1], (0.006, y[1]), (0.06, top))
    s.block((x[1] + 0.04, x[1] + 0.05), (y[0] + 0.12, y[0] + 0.32), (1.0, 1.3), 'third')


def _stove_size(s: Sketch) -> tuple[Range, Range, float]:
    return centered(0.6), centered(s.between(0.5, 0.62)), s.between(0.85, 0.92)


@family('stove', 'range')
def _range(s: Sketch) -> None:
    x, y, top = _stove_size(s)
    s.block(x, y, (0, top))
    s.block((x[1], x[1] + 0.02), (y[0] + 0.02, y[1] - 0.02), (0.15, top - 0.2), 'second')
    s.rod(
        (x[1] + 0.05, y[0] + 0.06, top - 0.24),
        (x[1] + 0.05, y[1] - 0.06, top - 0.24),
        0.01,
        'third',
    )
    for k in range(4):
        side = y[0] + (k + 0.5) * (y[1] - y[0]) / 4
        s.rod((x[1], side, top - 0.08), (x[1] + 0.03, side, top - 0.08), 0.018, 'third')
        burner = ((-0.13, 0.13)[k % 2], (-0.13, 0.13)[k // 2])
        s.drum(burner, (top, top + 0.008), 0.09, 'second')


@family('stove', 'backguard')
def _backguard(s: Sketch) -> None:
    x, y, top = _stove_size(s)
    s.block(x, y, (0, top))
    s.block((x[0], x[0] + 0.06), y, (top, top + 0.16), 'second')
    s.block((x[1], x[1] + 0.02), (y[0] + 0.03, y[1] - 0.03), (0.2, 0.65), 'third')
    s.block((x[0] + 0.1, x[1] - 0.04), (y[0] + 0.04, y[1] - 0.04), (top, top + 0.006), 'second')


@family('stove', 'wood_burning', held_out=True)
def _wood_burning(s: Sketch) -> None:
    x, y = centered(0.45), centered(s.between(0.45, 0.55))
    s.legs(x, y, 0.15, 0.05, 'second')
    s.block(x, y, (0.15, 0.75))
    s.block((x[1], x[1] + 0.02), (y[0] + 0.08, y[1] - 0.08), (0.3, 0.62), 'second')
    s.drum((-0.1, 0), (0.75, s.between(1.6, 2.0)), 0.06, 'third')


@family('microwave', 'door_left', mount='top')
def _microwave(s: Sketch) -> None:
    x, y, top = (
        centered(s.between(0.3, 0.36)),
        centered(s.between(0.42, 0.5)),
        s.between(0.25, 0.3),
    )
    s.block(x, y, (0.01, top))
    s.block((x[1], x[1] + 0.012), (y[0] + 0.11, y[1] - 0.01), (0.03, top - 0.02), 'second')
    s.rod((x[1] + 0.03, y[0] + 0.13, 0.05), (x[1] + 0.03, y[0] + 0.13, top - 0.04), 0.008, 'third')


@family('microwave', 'push_button', mount='top')
def _push_button(s: Sketch) -> None:
    x, y, top = centered(0.32), centered(s.between(0.4, 0.46)), s.between(0.23, 0.28)
    s.block(x, y, (0.0, top))
    s.block((x[1], x[1] + 0.01), (y[0] + 0.12, y[1] - 0.02), (0.04, top - 0.04), 'second')
    for k in range(3):
        s.block(
            (x[1], x[1] + 0.012),
            centered(0.05, y[0] + 0.06),
            (0.04 + 0.06 * k, 0.08 + 0.06 * k),
            'third',
        )


@family('microwave', 'rounded', mount='top', held_out=True)
def _rounded_microwave(s: Sketch) -> None:
    width = s.between(0.42, 0.48)
    s.rod((-0.16, 0, 0.14), (0.16, 0, 0.14), 0.14, 'main')
    s.block(centered(0.32), centered(width), (0, 0.22))
    s.block((0.16, 0.172), centered(width * 0.7), (0.03, 0.2), 'second')


def _washer_body(s: Sketch) -> tuple[float, Range, float]:
    x, y, top = (
        centered(s.between(0.52, 0.62)),
        centered(s.between(0.58, 0.62)),
        s.between(0.83, 0.88),
    )
    s.block(x, y, (0, top))
    return x[1], y, top


@family('washing machine', 'front_loader')
def _front_loader(s: Sketch) -> None:
    front, y, top = _washer_body(s)
    s.rod((front, 0, 0.45), (front + 0.03, 0, 0.45), 0.19, 'second')
    s.rod((front + 0.03, 0, 0.45), (front + 0.045, 0, 0.45), 0.14, 'third')
    s.block((front, front + 0.01), (y[0] + 0.02, y[1] - 0.02), (top - 0.12, top - 0.02), 'second')
    s.support((front - 0.5, front - 0.03), (y[0] + 0.03, y[1] - 0.03), top)


@family('washing machine', 'panel_door')
def _panel_door(s: Sketch) -> None:
    front, y, top = _washer_body(s)
    s.block((front, front + 0.02), (y[0] + 0.08, y[1] - 0.08), (0.2, 0.66), 'second')
    s.rod((front, y[1] - 0.1, top - 0.07), (front + 0.03, y[1] - 0.1, top - 0.07), 0.03, 'third')


@family('washing machine', 'top_loader', held_out=True)
def _top_loader(s: Sketch) -> None:
    front, y, top = _washer_body(s)
    s.block((front - 0.52, front - 0.42), y, (top, top + 0.14), 'second')
    s.block((front - 0.38, front - 0.04), (y[0] + 0.05, y[1] - 0.05), (top, top + 0.02), 'third')


def _radiator_size(s: Sketch) -> tuple[Range, Range]:
    return centered(s.wanted('width', 0.6, 1.2)), (0.12, s.between(0.55, 0.7))


@family('radiator', 'ribbed')
def _ribbed(s: Sketch) -> None:
    y, z = _radiator_size(s)
    ribs = max(3, round((y[1] - y[0]) / 0.08))
    for k in range(ribs):
        s.block(centered(0.1), centered(0.05, y[0] + (k + 0.5) * (y[1] - y[0]) / ribs), z)
    for height in (z[0] + 0.05, z[1] - 0.05):
        s.rod((0, y[0], height), (0, y[1], height), 0.02, 'main')
    s.legs(centered(0.06), y, z[0], 0.03)


@family('radiator', 'flat_panel')
def _flat_panel(s: Sketch) -> None:
    y, z = _radiator_size(s)
    s.block(centered(0.07), y, z)
    s.block((0.035, 0.04), (y[0] + 0.03, y[1] - 0.03), (z[0] + 0.04, z[1] - 0.04), 'second')
    s.legs(centered(0.05), y, z[0], 0.03, 'second')


@family('radiator', 'pipes', held_out=True)
def _pipes(s: Sketch) -> None:
    y, z = _radiator_size(s)
    for k in range(5):
        height = z[0] + (z[1] - z[0]) * (k + 0.5) / 5
        s.rod((0, y[0], height), (0, y[1], height), 0.03, 'main')
    for end in y:
        s.drum((0, end), (0, z[1]), 0.035, 'second')
