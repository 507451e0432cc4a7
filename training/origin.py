"""What made a result: settings, versions, git hash."""

import subprocess
from pathlib import Path
from typing import Any

import torch

from concerto_ros import __version__
from concerto_ros.config.tree import Value, flatten


def settings_of(config: Any) -> dict[str, Value]:
    """Return all settings by dotted name."""
    return {p.name: p.value for p in flatten(config)}


def source_of_run() -> dict[str, str]:
    """Return what made a checkpoint: versions and, in a checkout, the git hash."""
    command = ['git', 'describe', '--always', '--dirty', '--abbrev=12']
    try:
        git = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        git = 'unknown'
    return {'concerto_ros': __version__, 'git': git, 'torch': str(torch.__version__)}
