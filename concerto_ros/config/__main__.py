"""Print config/concerto.yaml, every parameter with its default."""

import sys

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import dump_yaml

sys.stdout.write(dump_yaml(ConcertoConfig()))
