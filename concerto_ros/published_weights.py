"""The published weights: their names, where they are kept, and the one way to download them.

Nothing is downloaded unless `download_weights` is called, which only `concerto download` and
`load_checkpoint(..., download=True)` do: a robot does not fetch hundreds of megabytes by itself.
One GET of a public file needs no hub client, so this is the standard library alone.
"""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from concerto_ros.box import BOX
from concerto_ros.errors import CheckpointError

LICENCE = (
    'the published weights are licensed under CC-BY-NC-4.0, for non-commercial use only '
    '(https://creativecommons.org/licenses/by-nc/4.0/)'
)
Progress = Callable[[int, int], None]  # bytes on disk, bytes in all

_HUB = 'https://huggingface.co'  # or a mirror of it, in the variable that all its clients read
_TIMEOUT = 30.0  # s without a byte
_PART = 1 << 20  # bytes

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """One file on the hub.

    Attributes:
        name: What people call it here.
        file: Its name on the hub and in the cache.
        megabytes: Its size, rounded.
        repo: The repository on the hub.
    """

    name: str
    file: str
    megabytes: float
    repo: str = 'Pointcept/Concerto'

    @property
    def url(self) -> str:
        """Where the file is; the environment variable HF_ENDPOINT names a mirror."""
        hub = (os.environ.get('HF_ENDPOINT') or _HUB).rstrip('/')
        return f'{hub}/{self.repo}/resolve/main/{self.file}'

    @property
    def path(self) -> Path:
        """Where the file is kept."""
        return cache_folder() / self.file

    @property
    def record(self) -> Path:
        """Where the SHA-256 of its first download is kept, for `sha256sum --check` too."""
        return self.path.with_name(f'{self.file}.sha256')


PUBLISHED = {
    weights.name: weights
    for weights in (
        PublishedWeights(name='tiny', file='concerto_tiny.pth', megabytes=19),
        PublishedWeights(name='small', file='concerto_small.pth', megabytes=155),
        PublishedWeights(name='base', file='concerto_base.pth', megabytes=434),
        PublishedWeights(name='base_origin', file='concerto_base_origin.pth', megabytes=434),
        PublishedWeights(name='base_siglip', file='concerto_base_siglip.pth', megabytes=434),
        PublishedWeights(name='large', file='concerto_large.pth', megabytes=831),
        PublishedWeights(name='large_outdoor', file='concerto_large_outdoor.pth', megabytes=831),
        PublishedWeights(
            name='large_scannet_head',
            file='concerto_large_linear_prob_head_sc.pth',
            megabytes=0.14,
        ),
        PublishedWeights(name='sonata', file='sonata.pth', megabytes=434, repo='facebook/sonata'),
    )
}


def cache_folder() -> Path:
    """Return the folder of downloaded weights, under $XDG_CACHE_HOME or ~/.cache."""
    caches = os.environ.get('XDG_CACHE_HOME', '')
    if not os.path.isabs(caches):  # as the XDG specification says of relative ones
        caches = os.path.expanduser('~/.cache')
    return Path(caches) / 'concerto_ros'


def find_weights(name_or_path: str | Path) -> Path:
    """Return the file of a name; other paths unchanged.

    Names are those in the box, and published ones, whose files are checked against their record.
    A text that is such a name means that; write ./base for a file of your own.

    Raises:
        CheckpointError: The named weights are not in the cache, or damaged there.
    """
    if isinstance(name_or_path, str) and name_or_path in BOX:
        return BOX[name_or_path]
    weights = PUBLISHED.get(name_or_path) if isinstance(name_or_path, str) else None
    if weights is None:
        return Path(name_or_path)
    if not weights.path.is_file():
        raise CheckpointError(
            f'the published weights "{weights.name}" ({weights.megabytes:g} MB) are not on this '
            f'machine: run "concerto download {weights.name}" once, or copy {weights.file} into '
            f'{cache_folder()}'
        )
    if not _is_as_recorded(weights):
        raise CheckpointError(
            f'{weights.path}: differs from what was downloaded (SHA-256 in {weights.record.name}):'
            f' run "concerto download {weights.name}" again'
        )
    return weights.path


def download_weights(name: str, progress: Progress | None = None) -> Path:
    """Download published weights, unless they are here and undamaged; return their file.

    The licence is logged as a warning. What came before an interruption is kept, and the next
    call goes on from there. The SHA-256 must be the one the hub states, and is recorded.

    Args:
        name: A key of `PUBLISHED`.
        progress: Called at the start, also of a resumed download, and after each part.

    Raises:
        CheckpointError: The name is unknown, the hub cannot be reached or sends something else,
            or the cache cannot be written.
    """
    if name not in PUBLISHED:
        raise CheckpointError(
            f'there are no published weights "{name}"; there are {", ".join(PUBLISHED)}'
        )
    weights = PUBLISHED[name]
    _logger.warning('%s', LICENCE)
    if weights.path.is_file() and weights.record.is_file() and _is_as_recorded(weights):
        return weights.path
    part = weights.path.with_name(f'{weights.file}.part')
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.open('ab').close()
    except OSError as err:
        raise CheckpointError(
            f'{part.parent}: cannot be written ({err.strerror}); name another folder in the '
            'environment variable XDG_CACHE_HOME'
        ) from err
    stated = _fetch(weights, part, progress or (lambda done, total: None))
    _keep(weights, part, stated)
    return weights.path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits.

    Raises:
        CheckpointError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open('rb') as file:
            while part := file.read(_PART):
                digest.update(part)
    except OSError as err:
        raise CheckpointError(f'{path}: cannot be read ({err.strerror})') from err
    return digest.hexdigest()


def _is_as_recorded(weights: PublishedWeights) -> bool:
    """Say whether the file is what was downloaded; one that was copied here has no record."""
    if not weights.record.is_file():
        return True
    return weights.record.read_text(encoding='utf-8', errors='replace').split()[:1] == [
        sha256_of(weights.path)
    ]


class _Redirects(HTTPRedirectHandler):
    """Follows the hub to its storage, and keeps the SHA-256 that the hub states on the way."""

    stated = ''

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """See the base class."""
        tag = headers.get('X-Linked-Etag', '').strip('"')
        if re.fullmatch('[0-9a-f]{64}', tag):
            self.stated = tag
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(weights: PublishedWeights, part: Path, progress: Progress) -> str:
    """Bring the rest of a file; return the SHA-256 that the hub states, or an empty text."""
    redirects, done = _Redirects(), part.stat().st_size
    try:
        request = Request(weights.url, headers={'Range': f'bytes={done}-'} if done else {})
        with build_opener(redirects).open(request, timeout=_TIMEOUT) as response:
            _receive(response, part, done, progress)
    except HTTPError as err:
        if not done or err.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _failure(weights, err) from err
        part.write_bytes(b'')  # it is longer than the file on the hub, or as long
        return _fetch(weights, part, progress)
    except (OSError, HTTPException, ValueError) as err:
        raise _failure(weights, err) from err
    return redirects.stated


def _receive(response: HTTPResponse, part: Path, done: int, progress: Progress) -> None:
    """Write what comes, after what is there if the hub agrees to that."""
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        done = 0
    if response.length is None:
        raise ConnectionError('the answer does not state its length')
    total = done + response.length
    free = shutil.disk_usage(part.parent).free
    if free < total - done:
        raise OSError(f'{part.parent} has {free / 1e6:.0f} MB left, {total / 1e6:.0f} are needed')
    progress(done, total)
    with part.open('ab' if done else 'wb') as file:
        while block := response.read(_PART):
            done += file.write(block)
            progress(done, total)
    if done != total:
        raise ConnectionError(f'it ended after {done} of {total} bytes')


def _failure(weights: PublishedWeights, err: Exception) -> CheckpointError:
    reason = getattr(err, 'reason', err) if not isinstance(err, HTTPError) else err
    reason = getattr(reason, 'strerror', None) or reason
    return CheckpointError(
        f'{weights.url} cannot be downloaded ({reason}): try again, what came is kept; or fetch '
        f'it on another machine and copy it to {weights.path}'
    )


def _keep(weights: PublishedWeights, part: Path, stated: str) -> None:
    """Take a complete download into the cache, with its SHA-256."""
    found = sha256_of(part)
    if stated not in ('', found):
        part.unlink()
        raise CheckpointError(
            f'{weights.url}: SHA-256 of what came is {found}, the hub states {stated}: try again'
        )
    weights.record.write_text(f'{found}  {weights.file}\n', encoding='utf-8')
    os.replace(part, weights.path)
