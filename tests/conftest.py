"""Settings of all tests."""

import os

# Small matrices: more threads only wait for each other, the more so where tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
