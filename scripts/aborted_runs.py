"""Abort runs of several processes at random moments, and look for what they leave: ``--count 50``.

Each run, with actors on Ray or with two learners in turn, is ended by SIGINT, SIGTERM or SIGKILL of its first process,
between its start and some seconds of training. All processes that descend from it, which a variable of their
environment shows, and all shared memory must be gone within ``--limit`` seconds: those of Ray notice a killed run late.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = (  # noqa: SIM905 (words as on the command line)
    """
total_frames=1000000 env.num_envs=4 runner.learning_starts=200 runner.every=16 runner.updates=4 trunk.num_cells=[32]
replay.batch_size=32 replay.capacity=1000 checkpoint.every=1000 evaluation.every=100000
"""
).split()
KINDS = (
    ("collector=ray", "collector.actors=2", "collector.steps=8"),
    ("learner=parallel", "learner.force=true"),
    ("collector=pipelined",),
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
MARK = "QFRAME_ABORTED_RUN"


def descendants(mark: str) -> list[int]:
    """The processes with this value of the variable in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except (ValueError, OSError):  # no process, one of somebody else, or one that has ended meanwhile
            continue
    return found


def seconds_left(mark: str, shared: set[str], limit: float) -> float | None:
    """The seconds until nothing is left of a run; None if something is after the limit."""
    started = time.monotonic()
    while descendants(mark) or set(os.listdir("/dev/shm")) - shared:
        if time.monotonic() - started > limit:
            return None
        time.sleep(0.2)
    return time.monotonic() - started


def main() -> int:
    """Abort the runs; 1 if one left something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=25.0, help="most seconds before a run is aborted")
    parser.add_argument("--limit", type=float, default=90.0, help="seconds after which nothing may be left")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it, and so would runs
    rng, base, faults = random.Random(arguments.seed), Path(tempfile.mkdtemp()), 0
    slowest = dict.fromkeys(SIGNALS, 0.0)
    for number in range(arguments.count):
        words, sent = KINDS[number % len(KINDS)], rng.choice(SIGNALS)
        mark, shared = f"{os.getpid()}-{number}", set(os.listdir("/dev/shm"))
        run = subprocess.Popen(
            [sys.executable, "-m", "qframe", "train", *WORDS, *words, f"hydra.run.dir={base / mark}"],
            env={**os.environ, MARK: mark}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(rng.uniform(0.5, arguments.seconds))
        run.send_signal(sent)
        status = run.wait()
        left = seconds_left(mark, shared, arguments.limit)
        faults += left is None
        slowest[sent] = max(slowest[sent], left or 0.0)
        end = f"nothing left after {left:.1f} s" if left is not None else f"left: {descendants(mark)}"
        print(f"{number + 1:4} {words[0]} {sent.name}: exit status {status}, {end}", flush=True)
        for process in descendants(mark):
            os.kill(process, signal.SIGKILL)
    longest = ", ".join(f"{sent.name} {seconds:.0f} s" for sent, seconds in slowest.items())
    print(f"{arguments.count - faults} of {arguments.count} runs left nothing; longest time to the end: {longest}")
    shutil.rmtree(base)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
