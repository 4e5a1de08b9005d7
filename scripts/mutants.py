"""Put small faults into the mathematics, one at a time, and list those that no test detects.

    python scripts/mutants.py                                  every function of qframe/functional
    python scripts/mutants.py qframe/modules/greedy.py         or of the files named
    python scripts/mutants.py --tests tests/modules -j 2 qframe/modules/greedy.py

The tests are collected once; every mutant is a fork of that process in which one function's code is replaced. Run by
hand: it takes minutes.
"""

import argparse
import ast
import importlib
import os
import pickle
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
from mutation_rules import Mutant, functions, mutants  # noqa: E402

LIMIT = 300  # seconds for the tests of one mutant; a mutant that takes longer counts as noticed


class Mutants:
    """A pytest plugin that runs the collected tests once per mutant, each time up to the first failure."""

    def __init__(self, files: list[Path], jobs: int) -> None:
        self.todo = [(path, mutant) for path in files for mutant in _mutants_of(path)]
        self.jobs = jobs
        self.survivors: list[tuple[Path, Mutant]] = []
        self.first: dict[str, list[int]] = {}  # tests that noticed faults, by function, the last one first
        self.running: dict[int, tuple[int, Path, Mutant]] = {}  # by the pipe's read end: pid and mutant

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Time all tests, then run them on every mutant, first those that detected similar ones, then the quickest."""
        if session.testsfailed or not session.items:
            return True
        self.items = session.items
        self.callers = self._survey()
        start, total = time.time(), len(self.todo)
        for number, (path, mutant) in enumerate(self.todo):
            while len(self.running) >= self.jobs:
                self._collect()
            self._start(path, mutant)
            if number % 50 == 49:
                seconds, surviving = time.time() - start, len(self.survivors)
                print(f"{number + 1}/{total} after {seconds:.0f} s, {surviving} survive", flush=True)
        while self.running:
            self._collect()
        print(f"{total} mutants, {total - len(self.survivors)} noticed, {len(self.survivors)} survive:")
        for path, mutant in self.survivors:
            print(f"{path.relative_to(ROOT)}:{mutant.line} {mutant.function}: {mutant.before}  →  {mutant.after}")
        return True

    def _survey(self) -> dict[tuple[str, str], list[int]]:
        """The tests that call each function, the quickest first, by file and the function's name."""
        _, read = _forked(lambda: [_surveyed(item) for item in self.items])
        found = _receive(read)
        os.wait()
        if found is None:
            sys.exit("a test fails without a mutation; run the tests with pytest first")
        print(f"{len(self.items)} tests in {sum(s for s, _ in found):.0f} s; {len(self.todo)} mutants", flush=True)
        callers: dict[tuple[str, str], list[int]] = {}
        for number in sorted(range(len(found)), key=lambda number: found[number][0]):
            for called in found[number][1]:
                callers.setdefault(called, []).append(number)
        return callers

    def _start(self, path: Path, mutant: Mutant) -> None:
        callers = self.callers.get((str(path), mutant.function.split(".")[-1]), [])
        likely = self.first.get(mutant.function, [])
        order = [*likely, *(number for number in callers if number not in likely)]

        def noticed_by() -> int | None:
            signal.alarm(LIMIT)
            _apply(path, mutant)
            return next((number for number in order if not _passes(self.items[number])), None)

        pid, read = _forked(noticed_by)
        self.running[read] = pid, path, mutant

    def _collect(self) -> None:
        for read in select.select(list(self.running), [], [])[0]:
            pid, path, mutant = self.running.pop(read)
            noticed_by = _receive(read, default=-1)  # nothing comes from a process that crashed or took too long
            os.waitpid(pid, 0)
            if noticed_by is None:
                self.survivors.append((path, mutant))
            elif noticed_by >= 0:
                seen = self.first.setdefault(mutant.function, [])
                seen[:] = [noticed_by, *(number for number in seen if number != noticed_by)]


def _mutants_of(path: Path) -> list[Mutant]:
    tree = ast.parse(path.read_text())
    return [mutant for name, function in functions(tree) for mutant in mutants(name, function)]


def _apply(path: Path, mutant: Mutant) -> None:
    """Replace the code of the imported function, so that every module that imported it has the mutant."""
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    owner: Any = module
    *classes, name = mutant.function.split(".")
    for part in classes:
        owner = getattr(owner, part)
    living = vars(owner)[name]
    living = getattr(living, "fget", None) or getattr(living, "__func__", living)
    mutant.tree.decorator_list = []
    code = compile(ast.Module([mutant.tree], []), str(path), "exec")
    inner = next(constant for constant in code.co_consts if isinstance(constant, CodeType))
    if not isinstance(living, FunctionType) or inner.co_freevars != living.__code__.co_freevars:
        raise TypeError(f"cannot replace the code of {mutant.function}")
    living.__code__ = inner


def _passes(item: pytest.Item) -> bool:
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def _surveyed(item: pytest.Item) -> tuple[float, set[tuple[str, str]]]:
    """How long a test takes, in seconds, and the functions of the package that it calls, by file and name."""
    called: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and "/qframe/" in frame.f_code.co_filename:
            called.add((frame.f_code.co_filename, frame.f_code.co_name))

    start = time.time()
    sys.setprofile(note)
    passes = _passes(item)
    sys.setprofile(None)
    if not passes:
        raise AssertionError(f"{item.nodeid} fails without a fault")
    return time.time() - start, called


def _forked(work: Callable[[], Any]) -> tuple[int, int]:
    """Do some work in a copy of this process, which ends without cleaning up: its pid, and where its result comes."""
    read, write = os.pipe()
    if pid := os.fork():
        os.close(write)
        return pid, read
    try:
        os.write(write, pickle.dumps(work()))
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
    os._exit(0)


def _receive(read: int, default: Any = None) -> Any:
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    return pickle.loads(data) if data else default


def main() -> None:
    """Read the command line, collect the tests and run the mutants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="default: qframe/functional/*.py")
    parser.add_argument("--tests", nargs="+", default=["tests/functional", "tests/oracles"])
    parser.add_argument("-j", "--jobs", type=int, default=2)
    options = parser.parse_args()
    files = [path.resolve() for path in options.files] or sorted((ROOT / "qframe/functional").glob("[!_]*.py"))
    os.chdir(ROOT)
    plugin = Mutants(files, options.jobs)
    pytest.main(["-q", "-p", "no:cacheprovider", "-s", *options.tests], plugins=[plugin])
    sys.exit(bool(plugin.survivors))


if __name__ == "__main__":
    main()
