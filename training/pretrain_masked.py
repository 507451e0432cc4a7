"""Pretrain a network by masked scene modelling, on points alone.

python -m training.pretrain_masked config/training/msm_rooms.yaml run.output=runs/msm

Starting it again with the same `run.output` goes on exactly where it stopped. What it leaves is
read by `training.evaluate` and, of network.kind concerto, by `training.export` and the node.
"""

import sys

from training.command import run_command
from training.masked_scene.config import MaskedConfig
from training.masked_scene.task import MaskedTask

if __name__ == '__main__':
    sys.exit(run_command('training.pretrain_masked', MaskedConfig, MaskedTask, sys.argv[1:]))
