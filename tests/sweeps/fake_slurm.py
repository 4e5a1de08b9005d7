"""Slurm's commands for jobs of one task on this machine, as far as submitit calls them: one script under five names.

A job is a folder below ``$FAKE_SLURM`` with its ``script``, its ``state``, and the ``pid`` of its task. ``scancel``
sends SIGTERM as Slurm does first; ``scontrol requeue`` lets the batch script run once more under the same number.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

NAMES = ("sbatch", "srun", "sacct", "scancel", "scontrol")
ROOT = Path(os.environ.get("FAKE_SLURM", "."))


def install(folder: Path) -> Path:
    """Put the commands into a folder, to be first on ``PATH``."""
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def sbatch(script: str) -> None:
    number = str(1 + sum(path.is_dir() for path in ROOT.iterdir()))
    folder = ROOT / number
    folder.mkdir()
    (folder / "script").write_text(Path(script).read_text())
    (folder / "state").write_text("PENDING")
    with (folder / "batch.log").open("w") as log:
        subprocess.Popen([sys.executable, __file__, "batch", number], stdout=log, stderr=log, start_new_session=True)
    print(f"Submitted batch job {number}")


def batch(number: str) -> None:
    folder = ROOT / number
    while True:
        (folder / "state").write_text("RUNNING")
        with (folder / "starts").open("a") as starts:
            starts.write("+")
        code = subprocess.call(["bash", folder / "script"], env=os.environ | {"SLURM_JOB_ID": number})
        if not (folder / "requeue").is_file():
            break
        (folder / "requeue").unlink()
    if (folder / "state").read_text() == "RUNNING":
        (folder / "state").write_text("COMPLETED" if code == 0 else "FAILED")


def srun(*words: str) -> None:
    number = os.environ["SLURM_JOB_ID"]
    out, error = (words[words.index(name) + 1] for name in ("--output", "--error"))
    numbers = {"SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_PROCID": "0"}
    for stream, text in ((1, out), (2, error)):
        os.dup2(os.open(text.replace("%j", number).replace("%t", "0"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    (ROOT / number / "pid").write_text(str(os.getpid()))
    command = words[words.index("--error") + 2 :]
    os.execvpe(command[0], command, os.environ | numbers | {"SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "here"})


def sacct(*words: str) -> None:
    print("JobID|State|NodeList")
    for number in (word for word, before in zip(words[1:], words, strict=False) if before == "-j"):
        print(f"{number}|{(ROOT / number / 'state').read_text()}|here")


def scancel(number: str, *words: str) -> None:
    sent = signal.Signals[f"SIG{words[1].removeprefix('SIG')}"] if words else signal.SIGTERM
    if not words:
        (ROOT / number / "state").write_text("CANCELLED")
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(int((ROOT / number / "pid").read_text()), sent)


def scontrol(action: str, number: str) -> None:
    assert action == "requeue"
    (ROOT / number / "requeue").touch()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
