"""What every test shares: one thread, and the probe environments."""

import os
import tempfile
from pathlib import Path

import pytest
import torch

from qframe.machine.native_code import CACHE_VARIABLE
from tests import probes

torch.set_num_threads(1)
os.environ.setdefault(CACHE_VARIABLE, str(Path(tempfile.gettempdir()) / "qframe-tests"))
probes.register()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
