"""What every test shares: one thread, the probe environments, and a faster Hydra and garbage collector."""

import gc
import os
import tempfile
from pathlib import Path

import pytest
import torch

from qframe.machine.native_code import CACHE_VARIABLE
from tests import fast_hydra, probes

torch.set_num_threads(1)
os.fsync = lambda file: None  # no test survives a power cut, and waiting for disks takes a tenth of the time
os.environ.setdefault(CACHE_VARIABLE, str(Path(tempfile.gettempdir()) / "qframe-tests"))
probes.register()
fast_hydra.install()
gc.disable()  # while the tests are collected: what is imported stays


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_runtest_teardown(item, nextitem):
    """Full collections look only at what the tests of one file left."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
