"""A long run that detects leaks: the growth of memory, descriptors and threads of its processes.

``python scripts/soak.py [--minutes 30] [OVERRIDES…]`` trains CartPole with evaluations, TensorBoard, a pipelined
collector and a checkpoint about every 10 seconds, and reads the resources of all its processes every 5 seconds.
Readings with more processes than usual (during an evaluation) and the first sixth are left out. The exit status is 1 if
memory grows by 1 MB a minute or more, or if the fewest descriptors or threads differ between the two halves.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

WORDS = (  # noqa: SIM905 (words as on the command line)
    """
experiment=cartpole_dqn collector=pipelined total_frames=1e9 replay.capacity=20000 checkpoint.every=4000
evaluation.every=20000 logger.every=2000
"""
).split()
EVERY = 5.0
"""Seconds between two readings."""


class Reading(NamedTuple):
    """The resources that the processes of a run hold at a moment."""

    seconds: float
    megabytes: float
    """Resident, of all processes; what they share counts once."""
    descriptors: int
    threads: int
    processes: int


def read(group: int, seconds: float) -> Reading:
    """The resources of all processes of a group."""
    memory = descriptors = threads = processes = 0
    for process in processes_of(group):
        with contextlib.suppress(OSError):  # it ended meanwhile
            rollup = (process / "smaps_rollup").read_text()
            memory += int(rollup.partition("\nPss:")[2].split()[0])
            descriptors += len(list((process / "fd").iterdir()))
            threads += len(list((process / "task").iterdir()))
            processes += 1
    return Reading(seconds, memory / 1024, descriptors, threads, processes)


def processes_of(group: int) -> Iterator[Path]:
    """The folders in ``/proc`` of all processes of a group."""
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if os.getpgid(int(path.name)) == group and (path / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                yield path


def watch(run: subprocess.Popen[bytes], seconds: float) -> list[Reading]:
    """Read the resources of a run until it ends."""
    started, readings = time.monotonic(), list[Reading]()
    while run.poll() is None:
        time.sleep(EVERY)
        now = time.monotonic() - started
        if now > 2 * seconds + 300:
            run.kill()
        if (found := read(run.pid, now)).processes:
            readings.append(found)
            if len(readings) % 12 == 1:
                print(f"{now:7.0f} s  {found.megabytes:7.1f} MB  {found.descriptors} descriptors  "
                      f"{found.threads} threads  {found.processes} processes", flush=True)  # fmt: skip
    return readings


def between_evaluations(readings: list[Reading]) -> list[Reading]:
    """The readings with the usual number of processes: an evaluation may briefly have more."""
    usual = statistics.mode(found.processes for found in readings) if readings else 0
    return [found for found in readings if found.processes == usual]


def main() -> int:
    """Run, measure, and compare with the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--folder", type=Path, default=Path("outputs/soak"))
    parser.add_argument("words", nargs="*", help="further overrides")
    arguments = parser.parse_args()
    seconds, folder = 60 * arguments.minutes, arguments.folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    words = [*WORDS, f"runner.stop.wall_seconds={seconds}", f"hydra.run.dir={folder}", *arguments.words]
    run = subprocess.Popen([sys.executable, "-m", "qframe", "train", *words], start_new_session=True,
                           stdout=subprocess.DEVNULL)  # fmt: skip
    readings = between_evaluations([found for found in watch(run, seconds) if seconds / 6 < found.seconds < seconds])
    if run.returncode != 0 or len(readings) < 3:
        print(f"the run ended with status {run.returncode} after {len(readings)} readings")
        return 1
    times, memory = (np.asarray(column) for column in list(zip(*readings, strict=True))[:2])
    slope = 60 * np.polyfit(times, memory, 1)[0]
    minutes = (times[-1] - times[0]) / 60
    growth = f"{memory[0]:.1f} to {memory[-1]:.1f} MB, {slope:+.3f} MB/min"
    print(f"{len(readings)} readings over {minutes:.1f} minutes: {growth}")
    counts = {name: {getattr(found, name) for found in readings} for name in ("descriptors", "threads")}
    print(", ".join(f"{name} {min(found)} to {max(found)}" for name, found in counts.items()))
    half = len(readings) // 2  # a file that is open while it is written is no leak
    halves = readings[:half], readings[half:]
    least = [[min(getattr(found, name) for found in part) for name in counts] for part in halves]
    return int(slope >= 1 or least[0] != least[1])


if __name__ == "__main__":
    sys.exit(main())
