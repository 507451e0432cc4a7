"""Print every parameter: as config/concerto.yaml, or with --table as in README.md."""

import sys

from concerto_ros.config.schema import ConcertoConfig
from concerto_ros.config.tree import dump_table, dump_yaml

dump = dump_table if '--table' in sys.argv[1:] else dump_yaml
sys.stdout.write(dump(ConcertoConfig()))
