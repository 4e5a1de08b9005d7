"""What starts without waiting for torch."""

import subprocess
import sys

import pytest

SLOW = "{'torch', 'tensordict', 'gymnasium'}"


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "head"]])
def test_commands_that_only_tell_import_neither_torch_nor_tensordict_nor_gymnasium(words):
    code = f"import sys; from qframe.cli.main import main; main({words}); print('found', {SLOW} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "found set()", done.stdout + done.stderr
