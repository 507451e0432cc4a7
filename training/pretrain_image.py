"""Train a small image encoder of our own, where there is no model hub.

python -m training.pretrain_image config/training/image.yaml run.output=runs/image

What comes out is named vit:runs/image/last.pth in the settings of `training.pretrain`.
"""

import sys

from training.command import run_command
from training.images.config import ImageTrainingConfig
from training.images.task import ImageTask

if __name__ == '__main__':
    sys.exit(run_command('training.pretrain_image', ImageTrainingConfig, ImageTask, sys.argv[1:]))
