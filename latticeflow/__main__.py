"""``python -m latticeflow`` is the ``latticeflow`` command."""

import sys

from latticeflow.cli import main

sys.exit(main())
