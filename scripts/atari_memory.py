"""The memory of a million Atari transitions, as the kernel counts it: ``python scripts/atari_memory.py [OVERRIDES…]``.

Trains Pong (84 × 84 × 4) until a prioritized replay of a million rows is full, with updates, evaluations and a
checkpoint, which takes some 20 minutes on two cores, and prints the peak memory of the process. The exit status is 1 if
it exceeds 7.6 GB, or with ``replay.storage=disk`` if more than 1.5 GB are not backed by files.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = (  # noqa: SIM905 (words as on the command line)
    """
experiment=pong_dqn_full priorities=proportional replay.capacity=1M total_frames=1010000 runner.every=512
runner.updates=4 evaluation.every=250k evaluation.episodes=1 evaluation.num_envs=1 evaluation.final_episodes=1
checkpoint.every=1M logger.every=10k device=cpu
"""
).split()
BAR, DISK_BAR = 7.6, 1.5
OUTPUTS = Path("outputs")  # its checkpoint takes 7 GB of the disk for a moment
EVERY = 1.0
"""Seconds between two readings."""


def gigabytes(process: int, entry: str) -> float:
    """An entry of the kernel's status of a process, in 10⁹ bytes; 0 if the process is gone."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(rf"{entry}:\s+(\d+) kB", text)
    return int(found[1]) * 1024 / 1e9 if found else 0.0


def main(words: list[str]) -> int:
    """Train, measure, and compare with the limits."""
    OUTPUTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUTPUTS) as folder:
        command = [sys.executable, "-m", "qframe", "train", *WORDS, f"hydra.run.dir={folder}/run", *words]
        run, resident, anonymous = subprocess.Popen(command), 0.0, 0.0
        while run.poll() is None:
            resident = max(resident, gigabytes(run.pid, "VmHWM"))
            anonymous = max(anonymous, gigabytes(run.pid, "RssAnon"))
            time.sleep(EVERY)
    print(f"at most {resident:.3f} GB resident, {anonymous:.3f} GB of them anonymous")
    within = anonymous <= DISK_BAR if "replay.storage=disk" in words else resident <= BAR
    return int(run.returncode != 0 or not within)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
