"""What a structured-light RGB-D camera makes of an exact view.

The depth model follows Nguyen, Izadi and Lovell, "Modeling Kinect Sensor Noise for Improved 3D
Reconstruction and Tracking" (3DIMPVT 2012) for the axial and lateral noise, and Khoshelham and
Oude Elberink, "Accuracy and Resolution of Kinect Depth Data" (Sensors 12, 2012) for the steps
of the disparity. Missing returns are our own simple rules.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import ConfigError

_DARK = 0.2  # reflectance below which returns begin to miss
_PATCH = 4  # edge of the patches in which returns are missing together [px]


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorNoise:
    """Strengths of the noise; the defaults are those of a first-generation Kinect.

    Attributes:
        axial_base: Standard deviation of depth at 0.4 m [m].
        axial_growth: Its growth with the square of the distance beyond 0.4 m [1/m].
        lateral: Standard deviation of the sideways jitter of a pixel [px of a 640-wide image].
        disparity_step: Step of the disparity [px of a 640-wide image]; 0 is no quantisation.
        focal_baseline: Focal length times baseline [px m] that turns depth into disparity.
        min_depth: Nearer returns are missing [m].
        max_depth: Farther returns are missing [m].
        grazing: Cosine of the angle of incidence below which returns begin to miss; at a third
            of it all miss.
        dark_share: Largest share of missing returns on black surfaces.
        mirror_share: Share of missing returns on mirrors and glass.
        edge_share: Share of missing returns on the far side of depth edges.
        flying_share: Share of pixels at depth edges that fall between both depths.
        color_sigma: Standard deviation of colour at mid gray [0..255].
        exposure: Standard deviation of the slow change of brightness [stops].

    Raises:
        ConfigError: A value is negative, a share is above 1, or the depth range is empty.
    """

    axial_base: float = 0.0012
    axial_growth: float = 0.0019
    lateral: float = 0.5
    disparity_step: float = 0.125
    focal_baseline: float = 525 * 0.075
    min_depth: float = 0.4
    max_depth: float = 5.0
    grazing: float = 0.2
    dark_share: float = 0.5
    mirror_share: float = 0.7
    edge_share: float = 0.5
    flying_share: float = 0.05
    color_sigma: float = 4.0
    exposure: float = 0.15

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            limit = 1.0 if name.endswith('_share') or name == 'grazing' else np.inf
            if not 0 <= value <= limit or not np.isfinite(value):
                raise ConfigError(f'noise.{name} must be in 0..{limit}, got {value}')
        if self.min_depth >= self.max_depth:
            raise ConfigError(
                f'noise.min_depth must be below max_depth, got {self.min_depth}, {self.max_depth}'
            )


def axial_sigma(noise: SensorNoise, depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation [m] of `depth` [m], as of Nguyen et al., equation 2."""
    return noise.axial_base + noise.axial_growth * (depth - 0.4) ** 2


def noisy_depth(
    noise: SensorNoise, depth: NDArray[np.float64], cosine: NDArray[np.float64],
    reflectance: NDArray[np.float64], mirror: NDArray[np.bool_], rng: np.random.Generator,
) -> NDArray[np.float32]:  # fmt: skip
    """Measure an exact depth image.

    Args:
        noise: The sensor.
        depth: (H, W) float64 [m]; 0 is nothing there.
        cosine: (H, W) float64 in 0..1, of the angle of incidence.
        reflectance: (H, W) float64 in 0..1, of the surface, whatever light falls on it.
        mirror: (H, W) bool, surfaces that reflect like glass.
        rng: Draws the noise of this frame.

    Returns:
        (H, W) float32 [m]; 0 is no measurement.
    """
    height, width = depth.shape
    jitter = noise.lateral * width / 640
    rows = _shifted(height, (height, width), 0, jitter, rng)
    columns = _shifted(width, (height, width), 1, jitter, rng)
    measured = depth[rows, columns]
    low, high = _extremes(depth)
    edge = high - low > 0.05 * np.maximum(low, 0.1) + 0.02
    flying = edge & (rng.random(depth.shape) < noise.flying_share)
    measured = np.where(flying, low + rng.random(depth.shape) * (high - low), measured)
    measured = measured + axial_sigma(noise, measured) * rng.standard_normal(depth.shape)
    measured = _quantised(noise, measured)
    far_side = edge & (depth - low > 0.5 * (high - low))
    missing = _missing_share(noise, cosine, reflectance, mirror, far_side)
    keep = (_patchy(depth.shape, rng) >= missing) & (depth > 0)
    keep &= (measured >= noise.min_depth) & (measured <= noise.max_depth)
    return np.where(keep, measured, 0.0).astype(np.float32)


def noisy_color(
    noise: SensorNoise, color: NDArray[np.float64], stops: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Measure an exact colour image: exposure, then noise that grows with brightness.

    Args:
        noise: The sensor.
        color: (H, W, 3) float64 in 0..1.
        stops: Change of the exposure, a factor of 2 ** stops.
        rng: Draws the noise of this frame.

    Returns:
        (H, W, 3) float64 in 0..1.
    """
    exposed = np.clip(color * 2.0**stops, 0.0, 1.0)
    sigma = noise.color_sigma / 255 * np.sqrt(0.3 + 1.4 * exposed)
    noisy: NDArray[np.float64] = exposed + sigma * rng.standard_normal(color.shape)
    return np.clip(noisy, 0.0, 1.0)


def _shifted(
    size: int, shape: tuple[int, int], axis: int, sigma: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return for each pixel of `shape` its own index along `axis`, jittered by `sigma` [px]."""
    own = np.arange(size).reshape((-1, 1) if axis == 0 else (1, -1))
    jittered = np.rint(own + sigma * rng.standard_normal(shape)).astype(np.int64)
    return np.clip(jittered, 0, size - 1)


def _extremes(depth: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the largest depth (H, W) within one pixel."""
    low, high = depth, depth
    for axis in (0, 1):
        pad = [(1, 1) if k == axis else (0, 0) for k in (0, 1)]
        a, b = np.pad(low, pad, mode='edge'), np.pad(high, pad, mode='edge')
        before, after = (slice(None, -2), slice(2, None))
        cut = (lambda s: (s, slice(None))) if axis == 0 else (lambda s: (slice(None), s))
        low = np.minimum(np.minimum(a[cut(before)], a[cut(after)]), low)
        high = np.maximum(np.maximum(b[cut(before)], b[cut(after)]), high)
    return low, high


def _quantised(noise: SensorNoise, depth: NDArray[np.float64]) -> NDArray[np.float64]:
    if noise.disparity_step == 0:
        return depth
    disparity = noise.focal_baseline / np.maximum(depth, 0.05)
    steps = np.maximum(np.rint(disparity / noise.disparity_step), 1.0)
    return noise.focal_baseline / (steps * noise.disparity_step)


def _missing_share(
    noise: SensorNoise, cosine: NDArray[np.float64], reflectance: NDArray[np.float64],
    mirror: NDArray[np.bool_], far_side: NDArray[np.bool_],
) -> NDArray[np.float64]:  # fmt: skip
    """Return for each pixel (H, W) the share of its returns that are missing."""
    full = noise.grazing / 3
    graze = np.clip((noise.grazing - cosine) / max(noise.grazing - full, 1e-9), 0.0, 1.0)
    dark = noise.dark_share * np.clip(1 - reflectance / _DARK, 0.0, 1.0)
    share = np.maximum(graze if noise.grazing > 0 else 0.0, dark)
    share = np.maximum(share, np.where(mirror, noise.mirror_share, 0.0))
    return np.maximum(share, np.where(far_side, noise.edge_share, 0.0))


def _patchy(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return uniform numbers (H, W) in 0..1 that are equal within patches."""
    coarse = rng.random((-(-shape[0] // _PATCH), -(-shape[1] // _PATCH)))
    fine = np.repeat(np.repeat(coarse, _PATCH, axis=0), _PATCH, axis=1)
    return fine[: shape[0], : shape[1]]
