"""Freed memory is kept: it stays the process's, to be taken again without page faults."""

import os
import subprocess
import sys

import pytest

MEASURED = """
import pathlib, sys, torch
from qframe.machine.allocator import keep_freed_memory

def resident():
    return int(pathlib.Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) * 1024

if sys.argv[1] == "kept":
    keep_freed_memory()
torch.ones(2**21)
before = resident()
for _ in range(2):
    arrays = [torch.ones(2**21) for _ in range(16)]  # 8 MB each
    del arrays
print(resident() - before)
"""


# glibc raises this threshold by itself with what is freed: then what is given back depends on the heap's last bytes
FIRST_THRESHOLD = {"MALLOC_MMAP_THRESHOLD_": str(128 * 2**10)}


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_is_freed_stays_resident():
    kept, given_back = (
        int(
            subprocess.run(
                [sys.executable, "-c", MEASURED, how], capture_output=True, check=True, env=os.environ | FIRST_THRESHOLD
            ).stdout
        )
        for how in ("kept", "given back")
    )
    assert given_back < 32 * 2**20 < 100 * 2**20 < kept  # of 134 MB that are taken and freed
