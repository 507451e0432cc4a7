"""Keeps results of one encoder from being replaced by those of another."""

import json
from collections.abc import Mapping
from pathlib import Path

from concerto_ros.config.tree import Value
from concerto_ros.errors import ConfigError

RESULTS = 'results.json'
_HARMLESS = ('run.output', 'run.device', 'run.num_threads', 'run.published')  # others: new scores
_TOLD = 3  # settings that a message names
_CURE = 'name another folder by run.output, or delete this one'


def refuse_other_results(folder: Path, settings: Mapping[str, Value]) -> None:
    """Refuse a folder that holds results of other settings; those of the same are replaced.

    Args:
        folder: `run.output`.
        settings: Effective ones by dotted name.

    Raises:
        ConfigError: Its results were made by others, or by something else than this command.
    """
    path = folder / RESULTS
    if not path.exists():
        return
    try:
        before: Mapping[str, Value] = dict(json.loads(path.read_text())['settings'])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ConfigError(f'"run.output": {path} is not of training.evaluate: {_CURE}') from err
    told = [
        f'{name} was {before.get(name, "not there")} and is now {settings.get(name, "not there")}'
        for name in {**before, **settings}
        if name not in _HARMLESS and before.get(name) != settings.get(name)
    ]
    if told:
        more = f' and {len(told) - _TOLD} more' if len(told) > _TOLD else ''
        raise ConfigError(
            f'"run.output" {folder} holds other results: {", ".join(told[:_TOLD])}{more}; {_CURE}'
        )
