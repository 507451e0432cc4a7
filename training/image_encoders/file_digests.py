"""FileDigests: what is in a file, without reading it each time."""

import hashlib
import re
import time
from contextlib import suppress
from pathlib import Path

from concerto_ros.errors import SourceError
from training.datasets.file_state import FileState, state_of
from training.datasets.parts import REPAIR, DataFile
from training.datasets.whole_file import written_whole

# Times of files are as coarse as this [ns]; until then a file may change and look the same.
_SETTLED = 2_000_000_000
_DIGEST = re.compile('[0-9a-f]{32}')


class FileDigests:
    """Digests of the bytes of files; many processes may ask at once.

    A digest is remembered in a small file that is named by place and state of the file it was
    made of.

    Args:
        folder: Where digests are remembered; if it cannot be written, they are not.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, file: DataFile) -> str:
        """Return 32 hexadecimal digits that differ for other bytes.

        Raises:
            SourceError: The file cannot be read.
        """
        try:
            state = state_of(file)
            return self._remembered(file, state) or self._read(file, state)
        except OSError as err:
            raise SourceError(f'{file} cannot be read ({err}); {REPAIR}') from err

    def _remembered(self, file: DataFile, state: FileState) -> str | None:
        with suppress(OSError):
            text = self._place(file, state).read_text(errors='replace')
            return text if _DIGEST.fullmatch(text) else None
        return None

    def _read(self, file: DataFile, state: FileState) -> str:
        is_settled = time.time_ns() - max(state.modified, state.changed) > _SETTLED
        with file.open('rb') as stream:
            digest = hashlib.blake2b(stream.read(), digest_size=16).hexdigest()
        if is_settled:
            with suppress(OSError), written_whole(self._place(file, state)) as unfinished:
                unfinished.write_text(digest)
        return digest

    def _place(self, file: DataFile, state: FileState) -> Path:
        facts = repr((str(file), *state))
        name = hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()
        return self._folder / name[:2] / name[2:]
