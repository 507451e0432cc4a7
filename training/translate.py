"""Train the map from the features of a backbone to the space of a text encoder.

python -m training.translate config/training/translate.yaml source.checkpoint=runs/joint/last.pth
"""

import logging
import sys
from collections.abc import Sequence

from concerto_ros.errors import ConcertoError
from training.command import read_settings
from training.stopping import StopRequestedError, stop_at_once
from training.translation.config import TranslateConfig
from training.translation.run_translate import run_translate

_PROG, _FAILED, _STOPPED = 'training.translate', 2, 143


def main(argv: Sequence[str]) -> int:
    """Train a translator and print its table.

    Args:
        argv: CONFIG.yaml and name=value.

    Returns:
        0, 2 after an error, told in one sentence, or 143 if a signal stopped it.
    """
    logging.basicConfig(
        level=logging.INFO, format='%(asctime)s %(message)s', datefmt='%H:%M:%S', stream=sys.stdout
    )
    try:
        config = read_settings(TranslateConfig, argv, _PROG)
        with stop_at_once():
            result = run_translate(config)
    except StopRequestedError:
        sys.stderr.write(f'{_PROG}: stopped by a signal; the same command starts anew\n')
        return _STOPPED
    except ConcertoError as err:
        sys.stderr.write(f'{_PROG}: {" ".join(str(err).split())}\n')
        return _FAILED
    sys.stdout.write(f'{result.table()}{result.for_the_node()}written to {config.run.output}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
