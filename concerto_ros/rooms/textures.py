"""Materials: procedural colours of a surface point, drawn alike for every class of object."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pattern = Literal['plain', 'stripes', 'checker', 'noise', 'marble', 'wood', 'gradient']

PATTERNS: tuple[Pattern, ...] = (
    'plain', 'stripes', 'checker', 'noise', 'marble', 'wood', 'gradient',
)  # fmt: skip
PATTERN_SHARE = (0.34, 0.08, 0.08, 0.14, 0.12, 0.14, 0.10)

# name -> (RGB in 0..1, share of all materials); muted colours are the more frequent ones.
COLORS: dict[str, tuple[tuple[float, float, float], float]] = {
    'white': ((0.90, 0.90, 0.88), 0.14),
    'gray': ((0.50, 0.50, 0.51), 0.12),
    'black': ((0.10, 0.10, 0.11), 0.06),
    'brown': ((0.42, 0.27, 0.16), 0.13),
    'beige': ((0.83, 0.74, 0.60), 0.12),
    'red': ((0.72, 0.15, 0.14), 0.06),
    'orange': ((0.90, 0.50, 0.14), 0.05),
    'yellow': ((0.90, 0.79, 0.22), 0.05),
    'green': ((0.22, 0.52, 0.26), 0.07),
    'turquoise': ((0.22, 0.64, 0.63), 0.05),
    'blue': ((0.18, 0.31, 0.66), 0.07),
    'purple': ((0.45, 0.24, 0.58), 0.04),
    'pink': ((0.88, 0.55, 0.64), 0.04),
}

_COLOR_NAMES = tuple(COLORS)
_COLOR_SHARE = np.array([share for _, share in COLORS.values()])
_LATTICE = np.random.default_rng(20).random((32, 32, 32))  # values of the noise at whole numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a surface looks like, as a function of the point in object coordinates.

    Attributes:
        pattern: Which procedural texture.
        color_name: Key of `COLORS` that covers at least half of any large surface.
        color: (3,) float64 RGB in 0..1, the main colour.
        second: (3,) float64 RGB in 0..1, the other end of the pattern.
        scale: Length of one repetition [m].
        axis: 0, 1 or 2, the direction of stripes, grain and gradient.
        offset: (3,) float64 phase of the pattern, in repetitions.
        mirror: Reflects like glass: a depth camera sees little there.
    """

    pattern: Pattern
    color_name: str
    color: NDArray[np.float64]
    second: NDArray[np.float64]
    scale: float
    axis: int
    offset: NDArray[np.float64]
    mirror: bool = False


def draw_material(rng: np.random.Generator, mirror: bool = False) -> Material:
    """Draw a material; its colours and pattern depend on `rng` alone, never on the object."""
    name, color = _draw_color(rng)
    pattern = PATTERNS[rng.choice(len(PATTERNS), p=PATTERN_SHARE)]
    _, accent = _draw_color(rng)
    shade = rng.uniform(0.55, 0.75) if pattern == 'checker' else rng.uniform(0.65, 0.88)
    dark = color.mean() < 0.25
    second = 1 - (1 - color) * shade if dark else color * shade
    if pattern == 'stripes':  # the only pattern whose second colour covers clearly under a half
        second = accent
    return Material(
        pattern=pattern,
        color_name=name,
        color=color,
        second=second,
        scale=float(rng.uniform(0.06, 0.4)),
        axis=int(rng.integers(3)),
        offset=rng.random(3),
        mirror=mirror,
    )


def albedo(material: Material, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate a material.

    Args:
        material: What to evaluate.
        points: (N, 3) float64 [m], object frame.

    Returns:
        (N, 3) float64 RGB in 0..1, free of lighting.
    """
    if material.pattern == 'plain':
        return np.broadcast_to(material.color, points.shape)
    mix = _mix(material, points / material.scale + material.offset)
    return material.color + mix[:, None] * (material.second - material.color)


def _draw_color(rng: np.random.Generator) -> tuple[str, NDArray[np.float64]]:
    name = _COLOR_NAMES[rng.choice(len(_COLOR_NAMES), p=_COLOR_SHARE)]
    color = np.array(COLORS[name][0])
    color = color.mean() + (color - color.mean()) * rng.uniform(0.7, 1.0)
    color = color * rng.uniform(0.9, 1.08) + rng.uniform(-0.02, 0.02, 3)
    return name, np.clip(color, 0.02, 0.97)


def _mix(material: Material, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (N,) share in 0..1 of the second colour at `p` (N, 3) in repetitions."""
    along: NDArray[np.float64] = p[:, material.axis]
    if material.pattern == 'stripes':
        return (along % 1.0 < 0.3).astype(np.float64)
    if material.pattern == 'checker':
        odd: NDArray[np.float64] = np.floor(p).sum(axis=1) % 2
        return odd
    if material.pattern == 'gradient':
        return _triangle(along * 0.15)
    if material.pattern == 'noise':
        return 0.6 * value_noise(2 * p) + 0.4 * value_noise(6 * p)
    if material.pattern == 'marble':
        return _triangle(along + 2.5 * value_noise(1.5 * p)) ** 3
    across = p[:, (material.axis + 1) % 3] + p[:, (material.axis + 2) % 3]
    grain = p * np.where(np.arange(3) == material.axis, 0.3, 2.0)  # wood: drawn out along the axis
    return _triangle(2 * across + 1.5 * value_noise(grain)) ** 2


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a wave of period 1 between 0 and 1; unlike a sine it is bit-equal everywhere."""
    return np.abs(2 * (x - np.floor(x)) - 1)


def value_noise(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return smooth noise (N,) in 0..1 at `p` (N, 3), of feature size 1 and period 32."""
    cell = np.floor(p)
    f = p - cell
    f = f * f * (3 - 2 * f)
    low = cell.astype(np.int64) & 31
    high = (low + 1) & 31
    flat = _LATTICE.ravel()
    x0, x1 = low[:, 0] * 1024, high[:, 0] * 1024
    y0, y1 = low[:, 1] * 32, high[:, 1] * 32
    z0, z1 = low[:, 2], high[:, 2]

    def along_x(yz: NDArray[np.int64]) -> NDArray[np.float64]:
        a, b = flat[x0 + yz], flat[x1 + yz]
        value: NDArray[np.float64] = a + f[:, 0] * (b - a)
        return value

    near = along_x(y0 + z0)
    near = near + f[:, 1] * (along_x(y1 + z0) - near)
    far = along_x(y0 + z1)
    far = far + f[:, 1] * (along_x(y1 + z1) - far)
    return near + f[:, 2] * (far - near)
