"""The files that ship: weights with the commands that made them, and their scores."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from concerto_ros.box import BOX, HEAD, NAME, TRANSLATOR
from concerto_ros.errors import ConcertoError
from concerto_ros.weights_file import read_weights_file, write_weights
from training.box.config import BoxConfig
from training.box.stages import stages

_MEANS = ('miou_of_present', 'macc_of_present', 'allacc')


def pack(config: BoxConfig) -> str:
    """Write the files of the box, and return what they say of themselves.

    Each has the scores, and of each command the arguments, versions and git hash.

    Raises:
        ConcertoError: A file cannot be read or written.
    """
    origin = {'metrics': metrics(config), 'made_by': made_by(config)}
    parts = {
        NAME: config.backbone,
        HEAD: config.folder / 'head' / 'head.safetensors',
        TRANSLATOR: config.translator,
    }
    lines = []
    for name, part in parts.items():
        target = Path(config.jobs.ship) / BOX[name].name
        weights = read_weights_file(part)
        write_weights(target, weights.config, weights.tensors, {**weights.origin, **origin})
        lines.append(f'{target}  {target.stat().st_size / 1e6:.2f} MB')
    return '\n'.join([*lines, json.dumps(origin['metrics'], indent=1)])


def made_by(config: BoxConfig) -> dict[str, Any]:
    """Return of each command its arguments, and what it says of its versions."""
    return {
        job.name: {'command': ' '.join(job.arguments), **_code(job.done)}
        for stage in stages(config)
        for job in stage
    }


def metrics(config: BoxConfig) -> dict[str, Any]:
    """Return the scores on test rooms: labels beside two references, and searches."""
    labels = {
        name: {mean: _results(config, name)[mean] for mean in _MEANS}
        for name in ('head', 'raw', 'random')
    }
    threshold = _results(config, 'threshold')
    return {
        'labels': labels,
        'search': {
            group: {title: s['value'] for title, s in of_group.items() if s['count']}
            for group, of_group in _results(config, 'search')['shares'].items()
        },
        'calibration_error': threshold['calibration_error'],
    }


def _results(config: BoxConfig, name: str) -> dict[str, Any]:
    return _read(config.folder / name / 'results.json')


def _code(done: Path) -> Mapping[str, Any]:
    """Return versions and git hash of what wrote a file, as far as it says them."""
    if done.name == 'results.json':
        return dict(_read(done).get('code', {}))
    return read_weights_file(done).origin.get('source', {}) if done.suffix == '.pth' else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as err:
        raise ConcertoError(f'{path}: cannot be read ({err}); delete it and run again') from err
    return content
