"""The same as ``qframe train``."""

import sys

from qframe.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
