"""The folder of a run, and comparisons of several runs. Called, ``qframe.runs()`` is a table of the runs in folders."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import qframe
from qframe.runs.folder import RunFolder

__all__ = [
    "RunFolder",
]


class _Callable(ModuleType):
    def __call__(self, *folders: str | Path) -> list[dict[str, Any]]:
        return qframe.run_table(*folders)


sys.modules[__name__].__class__ = _Callable  # importing this package takes the place of the function qframe.runs
