"""`python -m training.prepare COMMAND`: fills a data set."""

import sys

from training.prepare.command import main

if __name__ == '__main__':  # not in worker processes, which import this file
    sys.exit(main())
