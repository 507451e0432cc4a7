"""Pretrain the backbone on points and images, or on points alone.

python -m training.pretrain config/training/joint.yaml run.output=runs/a
torchrun --nproc-per-node 8 -m training.pretrain config/training/joint.yaml
"""

import sys

from training.command import run_command
from training.config import TrainingConfig
from training.joint_task import JointTask

if __name__ == '__main__':
    sys.exit(run_command('training.pretrain', TrainingConfig, JointTask, sys.argv[1:]))
