"""Train the map from the features of a backbone to the space of a text encoder.

python -m training.translate config/training/translate.yaml source.checkpoint=runs/joint/last.pth
"""

import sys
from collections.abc import Sequence

from training.command import run_once
from training.translation.config import TranslateConfig
from training.translation.run_translate import run_translate


def main(argv: Sequence[str]) -> int:
    """Train a translator and print its table. See `run_once`."""
    return run_once('training.translate', TranslateConfig, run_translate, argv)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
