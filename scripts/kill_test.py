"""Kill runs at random moments, resume them, and compare them with a run that was never killed; see ``--help``.

kills     SIGKILL at moments drawn over a run's whole wall time, saves included, for every head, priorities, n-step and
          collector in turn; the same command with ``resume=auto`` then finishes it. Fingerprints must be equal.
memories  the same for networks with a memory.
processes the same for runs of several processes: actors on Ray, and two learners.
compiled  the same with ``compile=true`` on longer runs, after each process has written its first checkpoint.
saves     SIGKILL while saving in a loop; a whole checkpoint must remain.
damage    a bit flipped or a file cut short at a random place of the newest checkpoint; the older one must be used.
syscalls  SIGKILL by strace at each system call of a save; the old or the new checkpoint must be whole.
repeat    the same run again and again, logging and evaluating often or never, sync and async; all must be equal.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import torch

from qframe.checkpoints import Checkpoints, load_checkpoint
from qframe.checkpoints.save import checkpoints_in
from qframe.cli.main import main as qframe

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.fingerprint import fingerprint

SMALL = (  # noqa: SIM905 (words as on the command line)
    """
total_frames=800 runner.learning_starts=200 runner.every=16 runner.updates=4 trunk.num_cells=[32]
replay.batch_size=32 replay.capacity=1000 checkpoint.every=150 evaluation.every=300 evaluation.episodes=2
evaluation.final_episodes=2 logger.every=100
"""
).split()
CHOICES = (
    ("head=scalar", "head=categorical", "head=quantile"),
    ("priorities=none", "priorities=proportional"),
    ("replay.n_step=1", "replay.n_step=3"),
    ("collector=sync", "collector=pipelined"),
)
MEMORIES = ("memory=lstm", "memory.hidden_size=16", "memory.inputs=[action,reward]", "replay.burn_in=2")
PROCESSES = (
    ("collector=ray", "collector.actors=2", "collector.steps=8", "env.num_envs=4", "priorities=proportional"),
    ("learner=parallel", "learner.force=true", "env.num_envs=4", "priorities=proportional"),
)
COMPILED = ("compile=true", "total_frames=20000", "checkpoint.every=700", "evaluation.every=4000", "logger.every=900")


def forked(work: Callable[[], object]) -> int:
    """Do some work silently in a forked process with a process group of its own; returns its number."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        os._exit(int(bool(work())))
    except BaseException:
        os._exit(70)


def train(folder: Path, words: tuple[str, ...]) -> int:
    """Start or resume a run in a forked process; returns its number."""
    return forked(lambda: qframe(["train", *SMALL, *words, "resume=auto", f"hydra.run.dir={folder}"]))


def ended(child: int) -> int:
    """Wait for a process; returns its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def memories(base: Path, count: int, rng: random.Random) -> Iterator[bool]:
    """Whether each killed and resumed run of a network with a memory equals the one that was never killed."""
    return kills(base, count, rng, always=MEMORIES)


def processes(base: Path, count: int, rng: random.Random) -> Iterator[bool]:
    """Whether each killed and resumed run of several processes equals the one that was never killed."""
    return kills(base, count, rng, choices=PROCESSES, awaits_checkpoints=True)


def compiled(base: Path, count: int, rng: random.Random) -> Iterator[bool]:
    """Whether each killed and resumed run of compiled updates equals the one that was never killed."""
    return kills(base, count, rng, always=COMPILED, awaits_checkpoints=True)


def kills(
    base: Path, count: int, rng: random.Random, *, always: tuple[str, ...] = (), awaits_checkpoints: bool = False,
    choices: Iterable[tuple[str, ...]] = tuple(itertools.product(*CHOICES)),
) -> Iterator[bool]:
    """Whether each killed and resumed run equals the one that was never killed."""
    references: dict[tuple[str, ...], tuple[dict[str, str], float]] = {}
    cases = [words + always for words in choices]
    if always:
        rng.shuffle(cases)
    for number, words in enumerate(itertools.islice(itertools.cycle(cases), count)):
        if words not in references:
            started, folder = time.monotonic(), base / f"whole-{len(references)}"
            assert ended(train(folder, words)) == 0, words
            seconds = learning_seconds(folder) if awaits_checkpoints else time.monotonic() - started
            references[words] = (fingerprint(folder), seconds)
        expected, seconds = references[words]
        folder, times = base / f"killed-{number}", 0
        while True:
            child = train(folder, words)
            if awaits_checkpoints and times < 3:
                await_checkpoint(child, folder / "checkpoints")
            time.sleep(rng.uniform(0, seconds) if times < 3 else 3600 * (times > 9))
            ended_child, status = os.waitpid(child, os.WNOHANG if times < 3 else 0)
            if ended_child:
                status = os.waitstatus_to_exitcode(status)
                break
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            times += 1
        found = fingerprint(folder) if status == 0 else {}
        differing = [part for part in expected if found.get(part) != expected[part]]
        print(f"{number + 1:4} {' '.join(words)}: {times} kills, {differing or 'equal'}", flush=True)
        if not differing:  # others are kept, to be compared with whole-N
            shutil.rmtree(folder)
        yield not differing


def learning_seconds(folder: Path) -> float:
    """Seconds from a run's first log to its last."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    times = [row["time/wall_seconds"] for row in rows if "time/wall_seconds" in row]
    return times[-1] - times[0]


def await_checkpoint(child: int, folder: Path) -> None:
    """Wait until a process has written a checkpoint, or has ended."""
    before = checkpoints_in(folder)[-1:]
    is_over = partial(os.waitid, os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    while checkpoints_in(folder)[-1:] == before and is_over() is None:
        time.sleep(0.05)


def some_state(number: int) -> dict[str, dict[str, object]]:
    """A state as large as a small run's."""
    numbers = {str(i): torch.full((20_000,), float(number + i)) for i in range(20)}
    return {"run": {"frames": number}, "learner": dict(numbers), "replay": dict(numbers)}


def save_forever(folder: Path, first: int) -> None:
    """Save until killed."""
    checkpoints = Checkpoints(every=1, keep=2)
    if first:
        checkpoints.resume_from(checkpoints_in(folder)[-1].name)
    for number in itertools.count(first):
        checkpoints.save(folder, number, some_state(number))


def is_whole(folder: Path) -> bool:
    """Whether there is a whole checkpoint with the values saved in it; damaged ones beside it do not matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = load_checkpoint(folder)
    number = state["run"]["frames"]
    return all(torch.equal(state["replay"][key], leaf) for key, leaf in some_state(number)["replay"].items())  # pyright: ignore


def saves(base: Path, count: int, rng: random.Random) -> Iterator[bool]:
    """Whether there is a whole checkpoint after each kill."""
    for number in range(count):
        folder = base / f"saves-{number}"
        child = forked(lambda folder=folder: save_forever(folder, 0))
        while not checkpoints_in(folder):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        yield is_whole(folder)


def damage(base: Path, count: int, rng: random.Random) -> Iterator[bool]:
    """Whether each damage is detected and the older checkpoint used."""
    folder = base / "damage"
    assert ended(train(folder, ())) == 0
    older, newest = checkpoints_in(folder / "checkpoints")
    files = sorted(newest.iterdir())
    for number in range(count):
        file = files[number % len(files)] if number < 4 * len(files) else rng.choices(
            files, [path.stat().st_size for path in files])[0]  # fmt: skip
        content, place = file.read_bytes(), rng.randrange(file.stat().st_size)
        flipped = content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
        file.write_bytes(content[:place] if number % 2 else flipped)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            used = load_checkpoint(folder / "checkpoints")["name"]
        file.write_bytes(content)
        yield used == older.name and "skipped damaged checkpoints" in str(caught[0].message)


CALLS = [
    "openat", "read", "write", "lseek", "ioctl", "fcntl", "newfstatat", "getdents64", "fsync", "close", "mkdir",
    "rename", "unlink", "unlinkat", "rmdir",
]


def syscalls(base: Path, count: int, rng: random.Random) -> Iterator[bool]:
    """Whether there is a whole checkpoint after a kill at the first, second, … call of each kind in a save."""
    for name in CALLS:
        for number in itertools.count(1):
            folder = base / f"{name}-{number}"
            checkpoints = Checkpoints(every=1, keep=2)
            for frames in (0, 1):
                checkpoints.save(folder, frames, some_state(frames))
            save = partial(checkpoints.save, folder, 2, some_state(2))
            status = killed_at(f"{name}:signal=SIGKILL:when={number}", save)
            kept = is_whole(folder)
            shutil.rmtree(folder)
            if status >= 0:  # the save made fewer calls than this number
                print(f"{name}: {number - 1} calls", flush=True)
                break
            yield kept


def killed_at(call: str, work: Callable[[], object]) -> int:
    """Do some work in a process that strace kills at ``name:signal=SIGKILL:when=n``; returns its exit status."""
    wait, begin = os.pipe()
    child = forked(lambda: os.read(wait, 1) and work() and None)
    words = ["strace", "-qq", "-o", "/dev/null", "-e", f"inject={call}", "-p", str(child)]
    tracer = subprocess.Popen(words, stderr=subprocess.PIPE)
    while f"TracerPid:\t{tracer.pid}" not in Path(f"/proc/{child}/status").read_text():
        time.sleep(0.005)
        if tracer.poll() is not None:
            os.kill(child, signal.SIGKILL)
            raise SystemExit(f"strace: {tracer.stderr.read().decode()}")  # pyright: ignore[reportOptionalMemberAccess]
    os.write(begin, b"!")
    os.close(begin)
    os.close(wait)
    status = ended(child)
    tracer.wait()
    return status


def repeat(base: Path, count: int, rng: random.Random) -> Iterator[bool]:
    """Whether every repetition has the same networks and replay."""
    often, never = ("logger.every=70", "evaluation.every=90"), ("logger.every=100000", "evaluation.every=100000")
    variants = ((), ("env.vectorization=async",), often, never)
    expected: dict[str, str] = {}
    for number in range(count):
        folder = base / f"repeat-{number}"
        assert ended(train(folder, variants[number % len(variants)])) == 0
        state = load_checkpoint(folder / "checkpoints")
        weights = torch.cat([leaf.flatten().double() for leaf in state["learner"]["loss"].values()])
        found = {"replay": fingerprint(folder)["replay"], "weights": str(weights.numpy().tobytes())}
        expected = expected or found
        yield found == expected


def main() -> int:
    """Run one of the tests and count its successes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tests = ("kills", "memories", "processes", "compiled", "saves", "damage", "syscalls", "repeat")
    parser.add_argument("test", choices=tests)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("outputs/kill_test"))
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    test, rng = globals()[arguments.test], random.Random(arguments.seed)
    results = list(test(arguments.folder.absolute(), arguments.count, rng))
    print(f"{arguments.test}: {sum(results)} of {len(results)}")
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
