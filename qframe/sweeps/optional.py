"""Packages that only some sweeps need."""

import importlib
from types import ModuleType

from qframe.errors import UserError


def imported(package: str, *, extra: str) -> ModuleType:
    """The package.

    Args:
        package: to import.
        extra: of qframe that brings it.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        message = f"expected the package '{package}', which is not installed ({error})"
        raise UserError(f"{message}; pip install 'qframe[{extra}]'") from error
