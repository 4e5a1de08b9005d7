"""Profiling: how the time of a frame is divided among the parts of a run."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

from qframe.training.collector import Collector
from qframe.training.runner import Runner


class Profile:
    """Times the parts of a run, each without its calls of the others.

    The figures are logged as ``profile/…``, in microseconds per frame, and printed as a table at the end. On a GPU they
    are the times it takes to launch the work. Of a collector in a worker only ``wait``, the time spent waiting for it,
    is known.

    Args:
        runner: the methods of its parts are replaced by timed ones.
    """

    def __init__(self, runner: Runner) -> None:
        self._seconds: dict[str, float] = {}
        self._logged: dict[str, float] = {}
        self._logged_at = self._frames = runner.frames
        self._inner = [0.0]  # seconds of timed calls inside the current one
        self._runner = runner
        for phase, part, method in _phases(runner):
            setattr(part, method, self._timed(phase, getattr(part, method)))
        log, stop = runner.logger.log, runner.report.stop
        runner.logger.log = lambda frames, values: log(frames, {**values, **self._since(frames, values)})
        runner.report.stop = lambda: (stop(), self._report())[0]
        self._started, self._is_reported = time.perf_counter(), False

    def _timed(self, phase: str, method: Callable[..., Any]) -> Callable[..., Any]:
        self._seconds.setdefault(phase, 0.0)

        @wraps(method)
        def timed(*arguments: Any, **options: Any) -> Any:
            self._inner.append(0.0)
            started = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                seconds = time.perf_counter() - started
                self._seconds[phase] += seconds - self._inner.pop()
                self._inner[-1] += seconds

        return timed

    def _since(self, frames: int, values: Mapping[str, float]) -> dict[str, float]:
        """Microseconds per frame since the last log of training."""
        if "time/updates" not in values or frames <= self._logged_at:
            return {}
        new = {phase: seconds - self._logged.get(phase, 0.0) for phase, seconds in self._seconds.items()}
        per_frame = 1e6 / (frames - self._logged_at)
        self._logged, self._logged_at = dict(self._seconds), frames
        return {f"profile/{phase}": seconds * per_frame for phase, seconds in new.items()}

    def _report(self) -> None:
        """Print the table, once."""
        frames = self._runner.frames - self._frames
        if self._is_reported or not frames:
            return
        self._is_reported = True
        for line in self.table(frames, time.perf_counter() - self._started):
            self._runner.report.say(line)

    def table(self, frames: int, total: float) -> Iterator[str]:
        """The lines of the table, one per phase, for ``frames`` frames in ``total`` seconds."""
        known = sorted(self._seconds.items(), key=lambda item: -item[1])
        yield f"{'profile':<12}{'seconds':>10}{'share':>8}{'µs per frame':>14}"
        for phase, seconds in (*known, ("other", total - sum(self._seconds.values()))):
            yield f"{phase:<12}{seconds:>10.2f}{seconds / total:>8.1%}{seconds / frames * 1e6:>14.1f}"


def _phases(runner: Runner) -> Iterator[tuple[str, Any, str]]:
    """The name, part and method of each phase."""
    collector, learner, optimizer = runner.collector, runner.learner, runner.learner.optimizer
    if isinstance(collector, Collector):
        yield from (("act", collector, "act"), ("env", collector.envs, "step"))
    else:
        yield "wait", collector, "_receive"
    if learner.compiled is not None:
        yield "graph", learner.compiled, "run"
    else:
        yield from (("forward", learner.loss, "forward"), ("backward", optimizer, "minimize"))
        yield "optimizer", optimizer.wrapped, "step"
    yield from (
        ("collect", collector, "collect"),
        ("store", runner.replay, "extend"),
        ("sample", runner.replay, "sample"),
        ("priorities", runner.replay, "update_priority"),
        ("update", learner, "learn"),
        ("log", runner.logger, "log"),
        ("evaluate", runner.evaluation, "play"),
        ("save", runner.checkpoints, "save"),
    )
