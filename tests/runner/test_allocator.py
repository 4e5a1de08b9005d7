"""Freed memory is kept: what is taken again costs no page faults."""

import subprocess
import sys

import pytest

MEASURED = """
import resource, sys, torch
from qframe.runner.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
faults = []
for _ in range(20):
    arrays = [torch.ones(2**21) for _ in range(4)]  # 8 MB each
    del arrays
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_is_freed_is_taken_again_without_page_faults():
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", MEASURED, how], capture_output=True, check=True).stdout)
        for how in ("kept", "given back")
    )
    assert kept <= 4096 < given_back  # 8,192 pages are freed and taken each time
