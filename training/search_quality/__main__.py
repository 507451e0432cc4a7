"""Measure what a robot answers about rooms whose truth is known.

python -m training.search_quality config/training/search_rooms.yaml semantics.checkpoint=... \
    semantics.translator=...
"""

import sys
from collections.abc import Sequence

from training.command import run_once
from training.search_quality.config import SearchQualityConfig
from training.search_quality.run import run_search_quality


def main(argv: Sequence[str]) -> int:
    """Run the task of the settings and print its table. See `run_once`."""
    return run_once('training.search_quality', SearchQualityConfig, run_search_quality, argv)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
