"""TokenCache: tokens of images on disk, so that no image is encoded twice."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from concerto_ros.errors import ConfigError, SourceError
from training.datasets.images import read_square
from training.datasets.parts import NO_ARRAY, DataFile
from training.datasets.patch_grid import PatchGrid
from training.datasets.whole_file import written_whole
from training.distributed import rank
from training.image_encoders.encoder import ImageEncoder
from training.image_encoders.file_digests import FileDigests


class TokenCache:
    """A folder of tokens; many processes may read and write it at once.

    An image is known by its bytes, so folders may move and shards may be cut anew, and an encoder
    by its architecture and weights, so its file may move, too. Tokens of another architecture, of
    other weights or of another image size lie in another folder. The umask says who may read.

    Args:
        folder: `cross_modal.token_cache`; shared by all encoders and data sets.
        encoder: Whose tokens these are.
        image_size: S.
    """

    def __init__(self, folder: Path | str, encoder: ImageEncoder, image_size: int) -> None:
        name = re.sub(r'[^\w.-]+', '_', encoder.architecture)[:80]
        self._folder = Path(folder) / f'{name}-{image_size}-{encoder.fingerprint()}'
        self._digests = FileDigests(Path(folder) / 'digests')

    def get(self, file: DataFile) -> NDArray[np.float16] | None:
        """Return (T, D) tokens of an image; None if they are not known, or damaged.

        Raises:
            SourceError: The image cannot be read.
        """
        return _load(self._place(file))

    def __contains__(self, file: DataFile) -> bool:
        """Tell whether `get` has tokens, without reading them."""
        return _load(self._place(file), mmap_mode='r') is not None

    def put(self, file: DataFile, tokens: NDArray) -> None:
        """Keep (T, D) tokens of an image; they appear whole or not at all.

        Raises:
            SourceError: The image cannot be read.
            ConfigError: The folder cannot be written.
        """
        place = self._place(file)
        try:
            with written_whole(place) as unfinished, unfinished.open('wb') as stream:
                np.save(stream, tokens.astype(np.float16))
        except OSError as err:
            raise ConfigError(
                f'tokens cannot be written to "cross_modal.token_cache" {self._folder} '
                f'({err.strerror}): make room, or choose another folder'
            ) from err

    def _place(self, file: DataFile) -> Path:
        digest = self._digests.of(file)
        return self._folder / digest[:2] / f'{digest[2:]}.npy'


def _load(path: Path, mmap_mode: Literal['r'] | None = None) -> NDArray[np.float16] | None:
    try:
        tokens: NDArray[np.float16] = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except NO_ARRAY:
        return None
    return tokens


def fill_cache(
    cache: TokenCache,
    files: Sequence[DataFile],
    encoder: ImageEncoder,
    image_size: int,
    batch_size: int,
) -> list[str]:
    """Encode all images that a cache does not know yet, and tell how far it is.

    They are encoded in float32 whatever the precision of the run, so that runs of any precision,
    on any device, share the tokens; only without a cache are they encoded in that of the run.

    Args:
        cache: Of this encoder and size.
        files: Images; the middle square of each is used, as in training.
        encoder: On the device where it shall run.
        image_size: S.
        batch_size: Images at a time.

    Returns:
        One sentence for each image that cannot be read.

    Raises:
        ConfigError: The folder cannot be written.
    """
    grid = PatchGrid(image_size=image_size, patch_size=encoder.patch_size)
    failed: list[str] = []
    squares = _unknown_squares(cache, files, grid, failed)
    for batch in _batches(squares, batch_size):
        pixels = torch.from_numpy(np.stack([square for _, square in batch]))
        images = pixels.to(encoder.mean.device).permute(0, 3, 1, 2) / 255
        tokens = encoder(images).half().cpu().numpy()
        for (file, _), row in zip(batch, tokens, strict=True):
            cache.put(file, row)
    return failed


Square = tuple[DataFile, NDArray[np.uint8]]


def _unknown_squares(
    cache: TokenCache, files: Sequence[DataFile], grid: PatchGrid, failed: list[str]
) -> Iterator[Square]:
    is_mute = rank() > 0 or None  # None: the bar is for terminals only
    for file in tqdm(files, unit='image', disable=is_mute):
        try:
            if file not in cache:
                yield file, read_square(file, grid).pixels
        except SourceError as err:
            failed.append(str(err))


def _batches(items: Iterator[Square], size: int) -> Iterator[list[Square]]:
    batch: list[Square] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
