"""Kernels are tested where they are: qframe works without the folder that holds them."""

from pathlib import Path

import qframe.compiled

collect_ignore_glob = [] if (Path(qframe.compiled.__file__).parent / "kernels").is_dir() else ["test_*.py"]
