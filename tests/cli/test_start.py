"""What starts without waiting for torch."""

import subprocess
import sys

import pytest

SLOW = "{'torch', 'tensordict', 'gymnasium'}"


@pytest.mark.parametrize(
    "words",
    [
        ["--help"], ["list"], ["list", "head"], ["list", "head/scalar"], ["train", "--help"], ["export", "--help"],
        ["train", "--foo"], ["trian"], ["train", "optimzer.lr=1"], ["check", "optimizer.lrr=1", "seed=3"],
        ["check", "head=quantil"], ["train", "experiment=cartpol_dqn"], ["completion", "query", "qframe train head=q"],
        ["resume", "no"], ["eval", "no"], ["export", "no"], ["rerun", "no"], ["bench", "nope"],
        ["train", "seed=x"], ["check", "total_frames=0", "gamma=2"], ["train", "seed=1,2"], ["check", "device=gpu"],
        ["diff", "no", "no"], ["compare", "no"], ["runs"],
    ],
)  # fmt: skip
def test_help_lists_and_mistyped_names_import_neither_torch_nor_tensordict_nor_gymnasium(words):
    code = f"import sys; from qframe.cli.main import main; main({words}); print('found', {SLOW} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "found set()", done.stdout + done.stderr
