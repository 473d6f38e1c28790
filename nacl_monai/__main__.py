"""``python -m nacl_monai`` is ``nacl-monai``."""

import sys

from nacl_monai.cli import main

if __name__ == "__main__":
    sys.exit(main())
