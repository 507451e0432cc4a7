"""What made a result, kept beside it, so that nothing else passes for it later."""

import json
from collections.abc import Mapping
from pathlib import Path

from training.datasets.whole_file import written_whole

_NOTHING = 'not there'


def write_made_by(path: Path, made_by: Mapping[str, str]) -> None:
    """Write a record: values by their names."""
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(made_by, indent=1))


def has_record(path: Path) -> bool:
    """Tell whether a result has a record; those of earlier versions and of others have none."""
    return path.is_file()


def difference(path: Path, made_by: Mapping[str, str]) -> str:
    """Say how a record differs from what would make the result now; empty if in nothing."""
    before = json.loads(path.read_text())
    names = [name for name in {**before, **made_by} if before.get(name) != made_by.get(name)]
    return ', '.join(
        f'{name} was {before.get(name, _NOTHING)} and is now {made_by.get(name, _NOTHING)}'
        for name in names
    )
