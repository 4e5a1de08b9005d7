"""Kill a run's actors at random moments, and compare the run with one that was left alone: ``--kills 20``.

Networks, optimizer and replay of the last checkpoints must be equal, bit for bit.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.fingerprint import fingerprint

WORDS = (  # noqa: SIM905 (words as on the command line)
    """
collector=ray collector.actors=2 collector.steps=8 env.num_envs=4 runner.learning_starts=200 runner.every=16
runner.updates=4 trunk.num_cells=[32] replay.batch_size=32 replay.capacity=1000 checkpoint.every=1000
evaluation.every=100000 evaluation.final_episodes=2 logger.every=500
"""
).split()
EQUAL = ("best", "learner", "replay")


def start(folder: Path, frames: int, words: list[str]) -> "subprocess.Popen[bytes]":
    """Start a run in a process of its own."""
    last = (f"total_frames={frames}", *words, f"hydra.run.dir={folder}")
    return subprocess.Popen([sys.executable, "-m", "qframe", "train", *WORDS, *last], stdout=subprocess.DEVNULL)


def actors(root: int) -> list[int]:
    """The processes of actors below a process."""
    parent, name = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            parent[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            name[int(entry.name)] = (entry / "cmdline").read_bytes()
        except (ValueError, OSError):  # no process, or one that has ended meanwhile
            continue

    def is_below(pid: int) -> bool:
        return pid == root or (pid in parent and is_below(parent[pid]))

    return [pid for pid in parent if name[pid].startswith(b"ray::Actor") and is_below(pid)]


def main() -> int:
    """Run both; 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--pause", type=float, default=5.0, help="mean seconds between kills")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    rng, base = random.Random(0), Path(tempfile.mkdtemp())
    start(base / "whole", arguments.frames, arguments.words).wait()
    run, killed = start(base / "killed", arguments.frames, arguments.words), 0
    while run.poll() is None:
        time.sleep(rng.uniform(0, 2 * arguments.pause))
        file = base / "killed" / "metrics.jsonl"
        if killed < arguments.kills and file.is_file() and (found := actors(run.pid)):
            os.kill(rng.choice(found), signal.SIGKILL)
            killed += 1
    one, other = (fingerprint(base / name) for name in ("whole", "killed"))
    last = json.loads((base / "killed" / "metrics.jsonl").read_text().splitlines()[-2])
    restarts = sum(value for key, value in last.items() if key.endswith("/restarts"))
    different = [part for part in EQUAL if one[part] != other[part]]
    print(f"{killed} kills, {restarts} restarts logged: {'equal' if not different else f'different {different}'}")
    shutil.rmtree(base)
    return int(bool(different) or killed < arguments.kills)


if __name__ == "__main__":
    sys.exit(main())
