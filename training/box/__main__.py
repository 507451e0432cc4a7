"""Make the model in the box: from seeds to the files that ship, with their scores in them.

python -m training.box config/training/box.yaml

Renders rooms, pretrains jointly in 2D and 3D, tunes the encoder with the labels of rooms, rounds
it to half precision, trains class head and translator on the rounded file, fits the threshold of
searches, measures all of it on rooms that are reserved for that, and writes the files into the
package. What is done stays done: the same command goes on where it stopped.
"""

import sys
from collections.abc import Sequence

from training.box.config import BoxConfig
from training.box.pack import pack
from training.box.stages import stages
from training.jobs.stages import run_resumable, run_stages


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit status; see `run_resumable`."""
    return run_resumable('training.box', BoxConfig, _make, argv)


def _make(config: BoxConfig) -> str:
    jobs = config.jobs
    run_stages(stages(config), config.folder, parallel=jobs.parallel, threads=jobs.threads)
    return pack(config)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
