"""Where the time of a frame goes: the parts of a run, their methods timed."""

import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from qframe.training.runner import Runner


class Profile:
    """Times what the parts of a run do, each without what it calls of the others.

    Its figures are logged with the others as ``profile/…``, in microseconds per frame, and told as a table at the end.
    On a GPU they say how long work takes to launch. What a collector does in a worker is ``wait``, as far as it is
    waited for.

    Args:
        runner: whose parts' methods are replaced.
    """

    def __init__(self, runner: Runner) -> None:
        self._seconds: dict[str, float] = {}
        self._logged: dict[str, float] = {}
        self._logged_at = self._frames = runner.frames
        self._inner = [0.0]  # seconds of timed calls within the one that runs
        self._runner = runner
        for phase, part, method in _phases(runner):
            setattr(part, method, self._timed(phase, getattr(part, method)))
        log, tell = runner.logger.log, runner.report.stop
        runner.logger.log = lambda frames, values: log(frames, values | self._since(frames, values))
        runner.report.stop = lambda: (tell(), self._tell())[0]
        self._started, self._told = time.perf_counter(), False

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

    def _since(self, frames: int, values: dict[str, float]) -> dict[str, float]:
        """Microseconds per frame since the last log of training."""
        if "time/updates" not in values or frames <= self._logged_at:
            return {}
        new = {phase: seconds - self._logged.get(phase, 0.0) for phase, seconds in self._seconds.items()}
        per_frame = 1e6 / (frames - self._logged_at)
        self._logged, self._logged_at = dict(self._seconds), frames
        return {f"profile/{phase}": seconds * per_frame for phase, seconds in new.items()}

    def _tell(self) -> None:
        """The table, once."""
        frames = self._runner.frames - self._frames
        if self._told or not frames:
            return
        self._told = True
        for line in self.table(frames, time.perf_counter() - self._started):
            self._runner.report.say(line)

    def table(self, frames: int, total: float) -> Iterator[str]:
        """A line for every phase, of ``frames`` frames in ``total`` seconds."""
        known = sorted(self._seconds.items(), key=lambda item: -item[1])
        yield f"{'profile':<12}{'seconds':>10}{'share':>8}{'µs per frame':>14}"
        for phase, seconds in (*known, ("the rest", total - sum(self._seconds.values()))):
            yield f"{phase:<12}{seconds:>10.2f}{seconds / total:>8.1%}{seconds / frames * 1e6:>14.1f}"


def _phases(runner: Runner) -> Iterator[tuple[str, Any, str]]:
    """Names of phases, and the methods that they are."""
    collector, learner, optimizer = runner.collector, runner.learner, runner.learner.optimizer
    if "act" in dir(collector):
        yield from (("act", collector, "act"), ("env", collector.envs, "step"), ("collect", collector, "collect"))
    else:
        yield from (("wait", collector, "_receive"), ("collect", collector, "collect"))
    if learner.compiled is not None:
        yield "graph", learner.compiled, "run"
    else:
        yield from (("forward", learner.loss, "forward"), ("backward", optimizer, "minimize"))
        yield "optimizer", optimizer.wrapped, "step"
    yield from (
        ("store", runner.replay, "extend"),
        ("sample", runner.replay, "sample"),
        ("priorities", runner.replay, "update_priority"),
        ("update", learner, "learn"),
        ("log", runner.logger, "log"),
        ("evaluate", runner.evaluation, "play"),
        ("save", runner.checkpoints, "save"),
    )
