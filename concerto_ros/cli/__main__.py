"""`python -m concerto_ros.cli` is `concerto`."""

import sys

from concerto_ros.cli import main

sys.exit(main())
