"""``python -m qframe``: the ``qframe`` command."""

import sys

from qframe.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
