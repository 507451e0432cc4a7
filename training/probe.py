"""Tell how good features are on labelled scenes.

python -m training.probe config/training/probe.yaml source.checkpoint=runs/joint/last.pth
"""

import sys
from collections.abc import Sequence

from concerto_ros.errors import ConcertoError
from training.command import read_settings
from training.evaluation.config import ProbeConfig
from training.evaluation.run_probe import run_probe

_PROG, _FAILED = 'training.probe', 2


def main(argv: Sequence[str]) -> int:
    """Run a probe and print its table.

    Args:
        argv: CONFIG.yaml and name=value.

    Returns:
        0, or 2 after an error, told in one sentence.
    """
    try:
        config = read_settings(ProbeConfig, argv, _PROG)
        result = run_probe(config)
    except ConcertoError as err:
        sys.stderr.write(f'{_PROG}: {" ".join(str(err).split())}\n')
        return _FAILED
    sys.stdout.write(f'{result.table()}written to {config.run.output}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
