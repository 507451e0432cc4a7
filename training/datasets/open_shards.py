"""Opens tar shards for access by name, where they lie or copied to a local folder."""

import struct
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from wids.wids_dl import download_file
from wids.wids_mmtar import MMIndexedTar

from concerto_ros.errors import SourceError
from training.datasets.whole_file import written_whole

_MOST_OPEN = 64  # shards mapped into memory at once, per process


@dataclass(frozen=True, slots=True)
class Shard:
    """A tar file that is opened when it is first needed.

    Attributes:
        address: Path, or address of the internet.
        cache: Folder for a local copy; empty: read where it lies.
    """

    address: str
    cache: str

    def has(self, member: str) -> bool:
        """Tell whether it holds a file.

        Raises:
            SourceError: The shard is missing or damaged.
        """
        return member in _opened(self).by_name

    def read(self, member: str) -> bytes | None:
        """Return a file, or None if there is none of that name.

        Raises:
            SourceError: The shard is missing or damaged.
        """
        return bytes(_opened(self).get_by_name(member)[1]) if self.has(member) else None


def fetch(address: str, cache: str) -> Path:
    """Return a local file of what is at an address, copied only once.

    Args:
        address: Path, or address of the internet.
        cache: Folder of the copies; empty: the address is a path.

    Raises:
        SourceError: It cannot be copied.
    """
    if not cache:
        return Path(address)
    local = Path(cache) / f'{sha256(address.encode()).hexdigest()[:16]}-{Path(address).name}'
    if not local.exists():
        try:
            with written_whole(local) as unfinished:
                download_file(address, str(unfinished))
        except (OSError, AssertionError, ValueError) as err:  # AssertionError: a command failed
            raise SourceError(f'{address} cannot be copied to {cache} ({err})') from err
    return local


@lru_cache(maxsize=_MOST_OPEN)
def _opened(shard: Shard) -> MMIndexedTar:
    path = fetch(shard.address, shard.cache)
    try:
        return MMIndexedTar(str(path))
    except (OSError, ValueError, struct.error) as err:
        raise SourceError(
            f'{path} is no shard that can be read ({err}); copy it again, or write it again with '
            'training.datasets.shard_writer'
        ) from err
