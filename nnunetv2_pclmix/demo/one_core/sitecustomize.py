"""``PYTHON_CPU_COUNT`` for Pythons before 3.13, which do not know it yet. Python imports this file by itself at start.

The demonstration puts this folder, and nothing else, on ``PYTHONPATH``: on a CPU, nnU-Net takes as many threads as
Python counts cores, which slows two trainings side by side down by more than a third.
"""

import os
import sys

if sys.version_info < (3, 13) and os.environ.get("PYTHON_CPU_COUNT", "").isdigit():
    _count = max(1, int(os.environ["PYTHON_CPU_COUNT"]))
    os.cpu_count = lambda: _count
