"""``python -m latticeflow`` is the ``latticeflow`` command."""

import sys

from latticeflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
