"""Running contestants in turn: each is a process of its own that ends with one line of JSON, its measurements."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv-peers"
CONTESTANTS = Path(__file__).parent / "contestants"


@dataclass(frozen=True)
class Contestant:
    """One side of a comparison.

    Args:
        name: in the table.
        venv: of a peer, under ``.venv-peers``; None: the project's own.
        script: a file of ``contestants``.
        arguments: its arguments; "{seed}" in them becomes a seed of the repeat's own: 1, 2 and so on.
        threads: of its numerical libraries.
        cores: its processes share the first of this many; 0: all of the machine's.
        every: it runs in one repeat of this many; the slowest peers would take hours otherwise.
    """

    name: str
    venv: str | None
    script: str
    arguments: tuple[str, ...] = ()
    threads: int = 1
    cores: int = 0
    every: int = 1

    def command(self, seed: int) -> list[str]:
        """How its process is started."""
        python = sys.executable if self.venv is None else str(PEERS / self.venv / "bin" / "python")
        arguments = [argument.replace("{seed}", str(seed)) for argument in self.arguments]
        return [python, str(CONTESTANTS / self.script), *arguments]


@dataclass
class Bar:
    """The ratio of one measurement of ``own`` to that of ``peer`` that is to be reached.

    Args:
        own: a contestant's name.
        peer: another's.
        number: the measurement that is compared.
        at_least: the ratio to reach; greater is better.
        inverse: whether a smaller number is better: the ratio is then the peer's over our own.
    """

    own: str
    peer: str
    number: str
    at_least: float
    inverse: bool = True


@dataclass
class Workload:
    """Contestants that do the same work, and the bars between them."""

    title: str
    contestants: Sequence[Contestant]
    bars: Sequence[Bar] = ()
    same: Sequence[str] = ()
    """Numbers that agree within 0.1 % over all contestants that have as many frames."""
    notes: str = ""


def run(contestant: Contestant, seed: int) -> dict[str, Any]:
    """One process by a seed: its measurements, ``process_seconds`` from start to end, and ``processor_seconds``.

    Raises:
        RuntimeError: it is not installed, or failed; the message ends with its last output.
    """
    limits = {name: str(contestant.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    environment = os.environ | limits | {"PYTHONPATH": str(ROOT) if contestant.venv is None else ""}
    command = contestant.command(seed)
    if not Path(command[0]).is_file():
        raise RuntimeError(f"expected {contestant.name} in {PEERS / str(contestant.venv)}; make peers puts it there")
    started, earlier = time.monotonic(), _processor_seconds()
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, preexec_fn=partial(_pin, contestant.cores)
    )
    if done.returncode:
        raise RuntimeError(f"{contestant.name} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
    measured = json.loads(done.stdout.strip().splitlines()[-1])
    took = {"process_seconds": time.monotonic() - started, "processor_seconds": _processor_seconds() - earlier}
    return measured | {name: round(seconds, 3) for name, seconds in took.items()}


def _pin(cores: int) -> None:
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def _processor_seconds() -> float:
    """Of all processes started from here that have ended, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def interleaved(workload: Workload, repeats: int, *, only: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """Every contestant in turn, ``repeats`` times, so that all meet the same moods of the machine."""
    results: dict[str, list[dict[str, Any]]] = {}
    for repeat in range(repeats):
        for contestant in workload.contestants:
            if repeat % contestant.every or (only and contestant.name not in only):
                continue
            try:
                measured = run(contestant, 1 + repeat)
            except RuntimeError as failure:  # the others continue
                print(f"  {repeat + 1}/{repeats}  {failure}", flush=True)
                continue
            results.setdefault(contestant.name, []).append(measured)
            print(f"  {repeat + 1}/{repeats}  {contestant.name:<28} {_shown(measured)}", flush=True)
    return results


def ratio(bar: Bar, results: dict[str, list[dict[str, Any]]]) -> dict[str, Any] | None:
    """The ratio of medians, and the range of the ratios of the repeats; None where one side did not run.

    Where one side sat repeats out, its median stands beside every repeat of the other.
    """
    if bar.own not in results or bar.peer not in results:
        return None
    own, peer = ([float(row[bar.number]) for row in results[name]] for name in (bar.own, bar.peer))
    if len(own) != len(peer):
        repeats = max(len(own), len(peer))
        own, peer = (side if len(side) == repeats else [statistics.median(side)] * repeats for side in (own, peer))
    sides = (peer, own) if bar.inverse else (own, peer)
    of_repeats = [a / b for a, b in zip(*sides, strict=True)]
    middle = statistics.median(sides[0]) / statistics.median(sides[1])
    return {
        "own": bar.own, "peer": bar.peer, "number": bar.number, "at_least": bar.at_least, "ratio": round(middle, 3),
        "lowest": round(min(of_repeats), 3), "highest": round(max(of_repeats), 3), "reached": middle >= bar.at_least,
    }  # fmt: skip


def differing(workload: Workload, results: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What was to be the same for all contestants, and is not within 0.1 %, in words."""
    differences = []
    for name in workload.same:
        values = {who: statistics.median(row[name] for row in rows) for who, rows in results.items()}
        if values and max(values.values()) > 1.001 * min(values.values()):
            differences.append(f"{name} differ: " + ", ".join(f"{who} {value:,.0f}" for who, value in values.items()))
    return differences


def medians(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of every number over the repeats."""
    names = [name for name, value in rows[0].items() if isinstance(value, int | float)]
    return {name: round(statistics.median(row[name] for row in rows), 6) for name in names}


def _shown(measured: dict[str, Any]) -> str:
    return "  ".join(f"{name} {value:,.6g}" for name, value in measured.items() if isinstance(value, int | float))
