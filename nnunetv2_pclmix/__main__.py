"""``python -m nnunetv2_pclmix``: the same as the command ``nnUNetv2_pclmix``."""

import sys

from nnunetv2_pclmix.cli import main

if __name__ == "__main__":
    sys.exit(main())
