"""Tell how good features are on labelled scenes.

python -m training.probe config/training/probe.yaml source.checkpoint=runs/joint/last.pth
"""

import sys
from collections.abc import Sequence

from training.command import run_once
from training.evaluation.config import ProbeConfig
from training.evaluation.run_probe import run_probe


def main(argv: Sequence[str]) -> int:
    """Run a probe and print its table. See `run_once`."""
    return run_once('training.probe', ProbeConfig, run_probe, argv)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
