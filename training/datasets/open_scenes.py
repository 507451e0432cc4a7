"""Finds what `data.splits` names."""

from pathlib import Path

from concerto_ros.errors import ConfigError
from training.config import DataConfig
from training.datasets.parts import SampleParts, TokenSource
from training.datasets.patch_grid import PatchGrid
from training.datasets.samples import SceneDataset
from training.datasets.shards import SHARD_PATTERN, read_shards
from training.datasets.split_files import read_split


def open_scenes(
    data: DataConfig, grid: PatchGrid, tokens: TokenSource | None = None
) -> SceneDataset:
    """Return all samples of all splits, in their order.

    Args:
        data: Of which `splits`, `shard_cache` and `max_images` matter.
        grid: Of the image encoder.
        tokens: Gives tokens instead of images; None: images are decoded.

    Raises:
        ConfigError: No split is named, or one is neither a list nor shards.
        SourceError: A split cannot be read.
    """
    names = [name.strip() for name in data.splits.split(',') if name.strip()]
    if not names:
        raise ConfigError(
            'data.splits names no data: set it to ROOT/splits/NAME.json, or several by commas'
        )
    samples = [sample for name in names for sample in _read(name, data.shard_cache)]
    return SceneDataset(samples, grid, data.max_images, tokens)


def _read(name: str, cache: str) -> list[SampleParts]:
    if name.endswith(SHARD_PATTERN):
        return list(read_shards(name, cache))
    if name.endswith('.json'):
        return list(read_split(Path(name)))
    raise ConfigError(f'data.splits should name NAME.json or NAME{SHARD_PATTERN}, got "{name}"')
