"""What made a figure, and where figures are written."""

import json
from pathlib import Path
from typing import Any

from concerto_ros import box
from concerto_ros.published_weights import find_weights, sha256_of
from concerto_ros.semantics import Translator
from training.origin import settings_of, source_of_run
from training.search_quality.config import SearchQualityConfig


def record(config: SearchQualityConfig) -> dict[str, Any]:
    """Return settings, versions, git hash, SHA-256 of each file of weights, and the threshold.

    The threshold is that of the settings, else that of the translator; 0: of neither.

    Raises:
        CheckpointError: A file of weights is not there.
    """
    checkpoint, translator = config.semantics.checkpoint, translator_file(config)
    head = box.resolve(config.semantics.head, checkpoint, box.HEAD)
    named = {'checkpoint': checkpoint, 'head': head, 'translator': translator}
    weights = {kind: sha256_of(find_weights(path)) for kind, path in named.items() if path}
    min_score = config.search.min_score
    if not min_score and translator:
        min_score = Translator.load(translator).min_score
    return {
        'min_score': min_score,
        'code': source_of_run(),
        'weights': weights,
        'settings': settings_of(config),
    }


def translator_file(config: SearchQualityConfig) -> str:
    """Return the translator that the node takes; empty if none."""
    s = config.semantics
    return box.resolve(s.translator, s.checkpoint, box.TRANSLATOR)


def write(folder: Path, table: str, content: dict[str, Any]) -> None:
    """Write table.md and results.json."""
    (folder / 'table.md').write_text(table)
    (folder / 'results.json').write_text(json.dumps(content, indent=1) + '\n')
