"""Tell how good features are on labelled scenes.

python -m training.probe config/training/probe.yaml source.checkpoint=runs/joint/last.pth
"""

import logging
import sys
from collections.abc import Sequence

from concerto_ros.errors import ConcertoError
from training.command import read_settings
from training.evaluation.config import ProbeConfig
from training.evaluation.run_probe import run_probe
from training.stopping import StopRequestedError, stop_at_once

_PROG, _FAILED, _STOPPED = 'training.probe', 2, 143


def main(argv: Sequence[str]) -> int:
    """Run a probe and print its table.

    Args:
        argv: CONFIG.yaml and name=value.

    Returns:
        0, 2 after an error, told in one sentence, or 143 if a signal stopped it.
    """
    logging.basicConfig(
        level=logging.INFO, format='%(asctime)s %(message)s', datefmt='%H:%M:%S', stream=sys.stdout
    )
    try:
        config = read_settings(ProbeConfig, argv, _PROG)
        with stop_at_once():
            result = run_probe(config)
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
