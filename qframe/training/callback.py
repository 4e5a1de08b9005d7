"""Callbacks: code of the user's own that runs with the training loop, and resumes with it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tensordict import TensorDict
from torch import Tensor

from qframe.envs.checks import raised
from qframe.errors import RunError
from qframe.networks.protocol import TrainedNetwork
from qframe.training.evaluation import EvaluationResult

if TYPE_CHECKING:
    from pathlib import Path

    from qframe.training.runner import Runner

PLAIN = (bool, int, float, str, bytes, type(None))
"""The types of single values that a checkpoint holds, besides tensors."""


class TrainingRun:
    """A run as a callback sees it.

    Args:
        runner: of the run.
    """

    def __init__(self, runner: "Runner") -> None:
        self._runner = runner

    @property
    def frames(self) -> int:
        """Environment steps so far, summed over environments."""
        return self._runner.frames

    @property
    def total_frames(self) -> int:
        """Frames to train for."""
        return self._runner.total_frames

    @property
    def updates(self) -> int:
        """Gradient steps so far."""
        return self._runner.learner.updates

    @property
    def network(self) -> TrainedNetwork:
        """The online network."""
        return self._runner.network

    @property
    def config(self) -> Mapping[str, Any]:
        """The config, resolved; ``config["seed"]`` is the run's seed."""
        return self._runner.folder.config

    @property
    def folder(self) -> "Path":
        """The run's folder, in which a callback may write files with names of its own."""
        return self._runner.folder.path

    def log(self, values: Mapping[str, float]) -> None:
        """Write metrics at this frame, to all records; from ``start`` to the end of training.

        Args:
            values: by ``group/name``.

        Raises:
            ValueError: a name without a group.
        """
        for name in values:
            if not all(name.partition("/")):
                raise ValueError(f"expected names of metrics as group/name, got {name!r}")
        self._runner.logger.log(self.frames, {name: float(value) for name, value in values.items()})

    def say(self, text: str) -> None:
        """Print a line."""
        self._runner.report.say(f"{self.frames:>10,} frames  {text}")

    def stop(self, reason: str) -> None:
        """End the run early, as finished, after the work that is due at this frame.

        Args:
            reason: for the summary.
        """
        self._runner.stop.reason = reason


class Callback:
    """Base class of callbacks: override the methods that are needed. ``runner.callbacks`` names the classes.

    A callback may read everything, write files in ``run.folder``, log metrics, print, and stop the run. It must not
    change networks, transitions, or the runner's parts: updates may be compiled, and steps may be taken in another
    process, so a change would be lost or take effect late. It draws from a generator of its own, which it saves.

    With ``state_dict``, a resumed run calls the callback as the run that was never stopped would have: once for every
    step and every evaluation, with the state of the checkpoint. A signal that stops a run causes one more ``save``.

    An exception from a callback ends the run, as failed; the last checkpoint stays as it is.
    """

    def start(self, run: TrainingRun) -> None:
        """Called before the first step, in every process of the run: ``run.frames`` is above 0 if it resumes."""

    def step(self, run: TrainingRun, transitions: TensorDict) -> None:
        """Called after every step of the environments.

        Args:
            run: the run, whose ``frames`` include this step.
            transitions: of this step, ``[k ≤ E]``, as they were stored; not to be changed.
        """

    def evaluation(self, run: TrainingRun, result: EvaluationResult) -> None:
        """Called after every periodic evaluation.

        Args:
            run: the run.
            result: the returns and lengths of the evaluated episodes.
        """

    def save(self, run: TrainingRun) -> None:
        """Called before a checkpoint is written, which then holds the state that this leaves."""

    def end(self, run: TrainingRun, summary: Mapping[str, Any]) -> None:
        """Called once the run has finished and its folder is complete; metrics can no longer be logged.

        Args:
            run: the run.
            summary: the content of ``summary.json``.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything that the callback resumes from: tensors, numbers, text, lists, tuples and dicts."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``; called before ``start``."""


class Callbacks:
    """The callbacks of a run, called in order.

    Args:
        callbacks: objects, or classes that need no arguments.
        runner: of the run.
    """

    def __init__(self, callbacks: Sequence[Callback | type[Callback]], runner: "Runner") -> None:
        self._all = [callback() if isinstance(callback, type) else callback for callback in callbacks]
        self._run = TrainingRun(runner)

    def __bool__(self) -> bool:
        return bool(self._all)

    def call(self, hook: str, *given: Any) -> None:
        """Call a method of every callback.

        Raises:
            RunError: one raised an exception.
        """
        for callback in self._all:
            self._guarded(callback, hook, lambda method: method(self._run, *given))

    def state_dict(self) -> list[dict[str, Any]]:
        """The state of each, with the name of its class.

        Raises:
            RunError: a state that a checkpoint cannot hold, or an exception of a callback.
        """
        states = []
        for callback in self._all:
            state = self._guarded(callback, "state_dict", lambda method: method())
            if (odd := _odd(state)) is not None:
                raise RunError(
                    f"callback {_name(callback)}: its state_dict holds a {odd}, which no checkpoint can; use tensors, "
                    "numbers, text, lists, tuples and dicts"
                )
            states.append({"class": _name(callback), "state": state})
        return states

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> list[str]:
        """Resume from ``states``.

        Returns:
            The classes whose state belongs to no callback of this run.
        """
        left = list(states)
        for callback in self._all:
            found = next((saved for saved in left if saved["class"] == _name(callback)), None)
            if found is not None:
                left.remove(found)
                state = found["state"]
                self._guarded(callback, "load_state_dict", lambda method, state=state: method(state))
        return [saved["class"] for saved in left]

    def _guarded(self, callback: Callback, hook: str, act: Callable[[Any], Any]) -> Any:
        try:
            return act(getattr(callback, hook))
        except (Exception, SystemExit) as error:
            message = f"callback {_name(callback)} failed in {hook} at {self._run.frames:,} frames: {raised(error)}"
            raise RunError(message) from error


def _name(callback: Callback) -> str:
    kind = type(callback)
    return f"{kind.__module__}.{kind.__qualname__}"


def _odd(state: Any) -> str | None:
    """The type of the first value that a checkpoint cannot hold; None if there is none.

    >>> _odd({"seen": [1, 2.0]}), _odd({"seen": {3}})
    (None, 'set')
    """
    if isinstance(state, dict | list | tuple):
        values = [*state, *state.values()] if isinstance(state, dict) else state
        return next((odd for odd in map(_odd, values) if odd is not None), None)
    return None if type(state) in PLAIN or isinstance(state, Tensor) else type(state).__name__
