"""`python -m training.prepare COMMAND`: fills a data set."""

import sys

if __name__ == '__main__':  # not in worker processes, which import this file
    from training.prepare.command import main

    sys.exit(main())
