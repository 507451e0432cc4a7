"""Judge a 3D encoder by frozen features of all its levels.

python -m training.evaluate config/training/evaluate_rooms.yaml encoder.name=concerto:FILE
"""

import sys
from collections.abc import Sequence

from training.command import run_once
from training.protocol.config import ProtocolConfig
from training.protocol.run import run_protocol


def main(argv: Sequence[str]) -> int:
    """Run the protocol and print its table. See `run_once`."""
    return run_once('training.evaluate', ProtocolConfig, run_protocol, argv)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
