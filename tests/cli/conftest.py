import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "config"))

from toy import toy  # noqa: E402, F401
