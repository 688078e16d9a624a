"""`python -m kerascli`, for programs that start Python modules, such as `torchrun`."""

import sys

from kerascli.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
