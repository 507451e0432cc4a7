"""What made a scene: its source and the options, so that no other passes for the same."""

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from concerto_ros.errors import ConfigError
from training.datasets.layout import cloud_folder
from training.made_by import difference, has_record
from training.prepare.scene import SceneJob

_log = logging.getLogger(__name__)


def made_by(job: SceneJob) -> dict[str, str]:
    """Return the fields of a job by dotted names.

    Of a file or folder there are its absolute path, the bytes in it and the newest time of change
    [ns since 1970].
    """
    return dict(_named(job, ''))


def record_file(root: Path, split: str, scene: str) -> Path:
    """Return where it is kept what made a scene."""
    return root / 'made_by' / split / f'{scene}.json'


def check_made_by(jobs: Iterable[SceneJob], root: Path, split: str) -> None:
    """Compare jobs with the complete scenes of their names, and tell which scenes have no record.

    Raises:
        ConfigError: A scene was made from another source or with other options.
    """
    num_unknown = 0
    others: dict[Path, str] = {}
    for job in jobs:
        record = record_file(root, split, job.name)
        if not has_record(record):
            num_unknown += 1
        elif how := difference(record, made_by(job)):
            others[cloud_folder(root, split, job.name)] = how
    if num_unknown:
        _log.warning(
            '%d scenes of %s are kept as they are; nothing tells what made them',
            num_unknown, root / split,
        )  # fmt: skip
    if others:
        folder, how = next(iter(others.items()))
        more = f' and {len(others) - 1} more' if len(others) > 1 else ''
        raise ConfigError(
            f'{folder}{more} was made otherwise: {how}; choose another --output or --split, or '
            'delete what is to be made anew'
        )


def _named(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Path):
        value = _identity(value)
    elif dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if not isinstance(value, Mapping):
        yield name, str(value)
        return
    for key, part in value.items():
        yield from _named(part, f'{name}.{key}' if name else key)


def _identity(source: Path) -> dict[str, Any]:
    files = [source] if source.is_file() else [f for f in source.rglob('*') if f.is_file()]
    states = [file.stat() for file in files]
    return {
        'path': str(source.resolve()),
        'bytes': sum(state.st_size for state in states),
        'changed_ns': max((state.st_mtime_ns for state in states), default=0),
    }
