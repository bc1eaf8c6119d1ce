"""``python -m benchmarks.accuracy`` from the repository root, or ``python benchmarks/accuracy`` from anywhere."""

import sys
from pathlib import Path

if not __package__:  # run by its path: Python then searches this folder instead of the repository
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.accuracy.cli import main

if __name__ == "__main__":
    sys.exit(main())
