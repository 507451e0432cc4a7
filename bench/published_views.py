"""The published loader's steps from a scene to its views, restated plainly; a reference to time.

Included, as sections 4.5, 4.6 and 7.2 of the specification of Concerto list them: correspondences
as a dense array over all points and images that follows every choice of points; hashed voxels
with an index sort; a deep copy of the sample before the views; photometric steps on rows of three;
for each of the six views a full index sort of the cloud by distance; spatial steps one by one on
rows of three, with noise in float64; elastic distortion by scipy's filter and interpolator; image
blur as a 9 x 9 convolution; tensors of each view.

Left out, as nobody would call them a reference: the loops in Python over every point (an unused
offset, a sum over the covered points). Files are read by neither side.

Source: Concerto (arXiv 2510.23607); own words, no code of it.
"""

import copy
from typing import Any

import numpy as np
import torch
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import convolve
from torch.nn import functional

from training.config import TrainingConfig
from training.structures import SceneSample

Data = dict[str, Any]
_FNV_OFFSET, _FNV_PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)
_POINT_KEYS = ('coord', 'color', 'normal', 'origin_coord', 'correspondence')
_NUM_LOCAL = 4
_GREY = np.array([0.2989, 0.587, 0.114])


def published_views(
    sample: SceneSample, rng: np.random.Generator, config: TrainingConfig
) -> list[Data]:
    """Return the two global and four local views, feature and correspondence tensors of each.

    Args:
        sample: One scene.
        rng: Draws everything.
        config: Of which the voxel size and the points of the principal view matter.
    """
    data: Data = {
        'coord': sample.coord.copy(),
        'color': sample.color.copy(),
        'normal': sample.normal.copy(),
        'correspondence': dense_correspondence(sample),
        'images': _images(sample, rng),
    }
    data = _grid_sample(data, config.data.voxel_size, rng)
    for key in ('color', 'normal'):
        _drop(data[key], rng)
    data['origin_coord'] = data['coord'].copy()
    return _multi_view(data, config.views.max_points, rng)


def dense_correspondence(sample: SceneSample) -> np.ndarray:
    """Return (N, I, 2) float32, the patch of each point in each image, -1 where it is not seen."""
    links = sample.links
    num_images = max(len(sample.images), len(sample.tokens))
    dense = np.full((len(sample.coord), num_images, 2), -1, dtype=np.float32)
    dense[links.point, links.image] = links.patch
    return dense


def _images(sample: SceneSample, rng: np.random.Generator) -> torch.Tensor:
    """Return augmented images, or their tokens if those are given instead."""
    if len(sample.tokens):
        return torch.from_numpy(sample.tokens)
    return _augment_images(torch.from_numpy(sample.images).permute(0, 3, 1, 2) / 255, rng)


def _multi_view(data: Data, max_points: int, rng: np.random.Generator) -> list[Data]:
    plain = copy.deepcopy(data)
    data['color'] = _augment_color(data['color'], rng)
    size = min(max_points, len(data['coord']))
    seen = (data['correspondence'] != -1).any(2)
    in_all = seen.all(1)
    middle = data['coord'][in_all].mean(0) if in_all.any() else rng.choice(data['coord'])
    principal, rows = _crop(data, middle, size)
    kept = (principal['correspondence'] != -1).any((0, 2))
    data['images'], plain['images'] = data['images'][kept], plain['images'][kept]
    principal['correspondence'] = principal['correspondence'][:, kept]
    views = [principal]
    views.append(_crop(data, rng.choice(principal['coord']), int(rng.uniform(0.4, 1) * size))[0])
    covered = np.zeros(len(rows), dtype=bool)
    for _ in range(_NUM_LOCAL):
        middle = principal['coord'][rng.choice(np.flatnonzero(~covered))]
        view, chosen = _crop(plain, middle, int(rng.uniform(0.1, 0.4) * size))
        covered |= np.isin(rows, chosen)
        covered &= not covered.all()
        view['color'] = _augment_color(view['color'], rng)
        views.append(view)
    return [_tensors(_augment_space(view, rng)) for view in views]


def _crop(data: Data, middle: np.ndarray, size: int) -> tuple[Data, np.ndarray]:
    rows = np.argsort(np.square(data['coord'] - middle).sum(1))[:size]
    return {key: data[key][rows] for key in _POINT_KEYS}, rows


def _tensors(view: Data) -> Data:
    parts = [torch.from_numpy(np.float32(view[key])) for key in ('coord', 'color', 'normal')]
    return {
        'feat': torch.cat(parts, dim=1),
        'coord': parts[0],
        'origin_coord': torch.from_numpy(view['origin_coord']),
        'correspondence': torch.from_numpy(view['correspondence']),
    }


def _grid_sample(data: Data, voxel_size: float, rng: np.random.Generator) -> Data:
    grid = np.floor(data['coord'] / voxel_size).astype(np.int64)
    grid = (grid - grid.min(0)).astype(np.uint64)
    key = np.full(len(grid), _FNV_OFFSET)
    for axis in range(3):
        key = key * _FNV_PRIME ^ grid[:, axis]
    order = np.argsort(key)
    _, count = np.unique(key[order], return_counts=True)
    first = np.cumsum(count) - count
    rows = order[first + rng.integers(0, count.max(), len(count)) % count]
    return {key: value if key == 'images' else value[rows] for key, value in data.items()}


def _drop(values: np.ndarray, rng: np.random.Generator) -> None:
    if rng.random() < 0.2:
        values[:] = 0
    if rng.random() < 0.5:
        values[rng.choice(len(values), int(0.2 * len(values)), replace=False)] = 0


def _augment_images(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    if rng.random() < 0.95:
        images = (images + torch.from_numpy(rng.uniform(0, 0.05, (3, 1, 1))).float()).clamp(0, 1)
    if rng.random() < 0.5:
        line = torch.exp(-0.5 * (torch.arange(-4, 5) / rng.uniform(0.1, 2)) ** 2)
        kernel = torch.outer(line, line).div(line.sum() ** 2).expand(3, 1, 9, 9)
        padded = functional.pad(images, (4, 4, 4, 4), mode='reflect')
        images = functional.conv2d(padded, kernel.contiguous(), groups=3)
    return images


def _augment_color(color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Jitter and tint (N, 3) colours in 0..255, and return them in 0..1."""
    for step in rng.permutation(4):
        if rng.random() < 0.8:
            color = (_brightness, _contrast, _saturation, _hue)[step](color, rng)
    if rng.random() < 0.95:
        color = np.clip(color + rng.uniform(-0.05, 0.05, 3) * 255, 0, 255)
    return color / 255


def _brightness(color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(color * rng.uniform(0.6, 1.4), 0, 255)


def _contrast(color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    factor = rng.uniform(0.6, 1.4)
    return np.clip(factor * color + (1 - factor) * (color @ _GREY).mean(), 0, 255)


def _saturation(color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    factor = rng.uniform(0.8, 1.2)
    return np.clip(factor * color + (1 - factor) * (color @ _GREY)[:, None], 0, 255)


def _hue(color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """To hue, saturation and value, and back."""
    color = color / 255
    value, low = color.max(1), color.min(1)
    chroma = value - low
    safe = np.where(chroma == 0, 1, chroma)
    red, green, blue = color.T
    hue = np.select(
        [value == red, value == green],
        [(green - blue) / safe, 2 + (blue - red) / safe],
        4 + (red - green) / safe,
    )
    hue = (hue / 6 + rng.uniform(-0.02, 0.02)) % 1
    saturation = np.where(value == 0, 0, chroma / np.where(value == 0, 1, value))
    sector, rest = np.divmod(hue * 6, 1)
    p = value * (1 - saturation)
    q = value * (1 - saturation * rest)
    t = value * (1 - saturation * (1 - rest))
    sector = sector.astype(int) % 6
    choices = [
        (value, t, p),
        (q, value, p),
        (p, value, t),
        (p, q, value),
        (t, p, value),
        (value, p, q),
    ]
    return 255 * np.stack(
        [np.choose(sector, [choice[channel] for choice in choices]) for channel in range(3)], 1
    )


def _augment_space(view: Data, rng: np.random.Generator) -> Data:
    coord, normal = view['coord'], view['normal']
    low, high = coord.min(0), coord.max(0)
    coord = coord - [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]]
    coord = coord * rng.uniform(0.9, 1.1)
    for axis, limit in ((2, np.pi), (0, np.pi / 64), (1, np.pi / 64)):
        if rng.random() < 0.8:
            R = _rotation(axis, rng.uniform(-limit, limit))
            pivot = np.zeros(3) if axis == 2 else (coord.min(0) + coord.max(0)) / 2
            coord = np.dot(coord - pivot, R.T) + pivot
            normal = np.dot(normal, R.T)
    for axis in (0, 1):
        if rng.random() < 0.5:
            coord[:, axis] *= -1
            normal[:, axis] *= -1
    coord = coord + np.clip(0.005 * rng.standard_normal(coord.shape), -0.02, 0.02)
    if rng.random() < 0.95:
        for spacing, amplitude in ((0.2, 0.4), (0.8, 1.6)):
            coord = _elastic(coord, spacing, amplitude, rng)
    return {**view, 'coord': coord, 'normal': normal}


def _rotation(axis: int, angle: float) -> np.ndarray:
    i, j = (axis + 1) % 3, (axis + 2) % 3
    R = np.eye(3)
    R[i, i] = R[j, j] = np.cos(angle)
    R[j, i], R[i, j] = np.sin(angle), -np.sin(angle)
    return R


def _elastic(
    coord: np.ndarray, spacing: float, amplitude: float, rng: np.random.Generator
) -> np.ndarray:
    low = coord.min(0)
    num_nodes = ((coord - low).max(0) // spacing).astype(int) + 3
    noise = rng.standard_normal((*num_nodes, 3)).astype(np.float32)
    for _ in range(2):
        for axis in range(3):
            shape = np.ones(4, dtype=int)
            shape[axis] = 3
            noise = convolve(noise, np.full(shape, 1 / 3, np.float32), mode='constant', cval=0)
    nodes = [
        np.linspace(start, stop, count)
        for start, stop, count in zip(
            low - spacing, low + spacing * (num_nodes - 2), num_nodes, strict=True
        )
    ]
    field = RegularGridInterpolator(nodes, noise, bounds_error=False, fill_value=0)
    return coord + field(coord) * amplitude
