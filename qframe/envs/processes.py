"""Environments in separate processes: one that dies or hangs is restarted, and its episode is truncated."""

import atexit
import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from inspect import signature
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.vector.async_vector_env import AsyncState, _async_worker
from gymnasium.vector.utils import CloudpickleWrapper, concatenate, iterate
from numpy.typing import NDArray

from qframe.envs.masks import MASK
from qframe.envs.protocol import FaultyEnvironment

UNLIKE = "its copies must all have the same spaces, but bounds, sizes or kinds differ"
_DIES_WITH_PARENT = 1  # Linux's PR_SET_PDEATHSIG


class SupervisedEnvs(AsyncVectorEnv):
    """Gymnasium's vector environment of processes, which are supervised.

    A process that has ended, or that does not answer within ``timeout`` seconds, is replaced by a new one. The learner
    sees a truncated step with reward 0 and an unchanged observation; the next episode has its own seed as always. An
    exception raised by an environment is different: it is raised here.

    Args:
        make: functions that make the environments.
        timeout: seconds that a step or a reset may take; None: no limit, and nothing is replaced.
        max_restarts: number of times that processes may be replaced in a run, summed over environments.

    Raises:
        FaultyEnvironment: an environment that cannot be made, or whose spaces differ from the first one's; by ``reset``
            and ``step``, a process that ended or hung after ``max_restarts`` restarts, or without ``timeout``.
    """

    def __init__(
        self, make: Sequence[Callable[[], gym.Env[Any, Any]]], *, timeout: float | None, max_restarts: int
    ) -> None:
        self.restarts, self._has_failed = 0, False
        self.stays_in_process = timeout is not None  # only the process that started a worker can replace it
        self._masks: list[dict[str, Any]] = [{} for _ in make]
        self._timeout, self._max_restarts = timeout, max_restarts
        # A process killed while it writes would leave shared memory half written, so with restarts none is shared.
        super().__init__(make, shared_memory=timeout is None, autoreset_mode=AutoresetMode.DISABLED)

    def _check_spaces(self) -> None:
        """Check that every process has made its environment, all with the same spaces."""
        self._at_exit = partial(_kill, self.processes)  # before Python waits for them: they ignore SIGTERM
        atexit.register(self._at_exit)
        try:
            super()._check_spaces()
        except (OSError, EOFError) as gone:
            self.close(terminate=True)
            raise FaultyEnvironment(
                f"one of {self.num_envs} environments could not be made in its process, for the reason printed above; "
                "fix the environment, or set env.vectorization=sync"
            ) from gone
        except RuntimeError as unlike:
            self.close(terminate=True)
            raise FaultyEnvironment(f"{UNLIKE}; fix the environment") from unlike

    def step_async(self, actions: Any) -> None:
        """Send every process its action; a process that has ended is noticed when its answer is awaited."""
        for index, action in enumerate(iterate(self.action_space, actions)):
            self._send(index, ("step", action))
        self._state = AsyncState.WAITING_STEP

    def step_wait(self, timeout: float | None = None) -> tuple[Any, ...]:
        """The step of every environment."""
        kept = list(iterate(self.observation_space, deepcopy(self.observations)))
        answers = self._answers(range(self.num_envs))
        cut = {i: (kept[i], 0.0, False, True, self._masks[i]) for i in answers if answers[i] is None}
        steps = [cut.get(index) or answers[index] for index in range(self.num_envs)]
        infos: dict[str, Any] = {}
        for index, step in enumerate(steps):
            infos = self._merge_info(infos, step[4], index)
        self._concatenate([step[0] for step in steps])
        reward, terminated, truncated = (np.array([step[place] for step in steps]) for place in (1, 2, 3))
        return deepcopy(self.observations), np.asarray(reward, np.float64), terminated, truncated, infos

    def reset_async(self, seed: Any = None, options: dict[str, Any] | None = None) -> None:
        """Reset the environments that ``options["reset_mask"]`` selects, or all; the others stay as they are."""
        options = dict(options or {})
        mask = options.pop("reset_mask", np.ones(self.num_envs, dtype=np.bool_))
        seeds = seed if isinstance(seed, list) else [None if seed is None else seed + i for i in range(self.num_envs)]
        self._asked = {int(index): {"seed": seeds[index], "options": options} for index in np.flatnonzero(mask)}
        for index, choices in self._asked.items():
            self._send(index, ("reset", choices))
        self._state = AsyncState.WAITING_RESET

    def reset_wait(self, timeout: float | None = None) -> tuple[Any, dict[str, Any]]:
        """The observations after the reset; a process that was replaced meanwhile resets again."""
        kept = list(iterate(self.observation_space, deepcopy(self.observations)))
        answers = self._answers(self._asked)
        while replaced := [index for index, answer in answers.items() if answer is None]:
            for index in replaced:
                self._send(index, ("reset", self._asked[index]))
            answers |= self._answers(replaced)
        infos: dict[str, Any] = {}
        for index, (_, info) in answers.items():
            infos = self._merge_info(infos, info, index)
        self._concatenate([answers[i][0] if i in answers else kept[i] for i in range(self.num_envs)])
        return deepcopy(self.observations), infos

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """Close; if a process has ended or did not answer, all are killed at once."""
        is_whole = all(process.is_alive() for process in self.processes) and not self._has_failed
        if terminate or not is_whole:
            _kill(self.processes)
            self._state = AsyncState.DEFAULT
        atexit.unregister(self._at_exit)
        super().close_extras(timeout, terminate or not is_whole)

    def _merge_info(self, infos: dict[str, Any], info: dict[str, Any], index: int) -> dict[str, Any]:
        """Add the infos of one more environment; its mask is kept for a step in which its process is replaced."""
        self._masks[index] = {MASK: info[MASK]} if MASK in info else {}
        return self._add_info(infos, info, index)

    def _send(self, index: int, message: tuple[str, Any]) -> None:
        with suppress(OSError):
            self.parent_pipes[index].send(message)

    def _answers(self, indices: Iterable[int]) -> dict[int, Any]:
        """The answers of processes, by index; None for a process that has been replaced."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        self._state = AsyncState.DEFAULT
        answers = {index: self._answer(index, deadline) for index in indices}
        self._raise_if_errors([success for _, success in answers.values()])
        return {index: answer for index, (answer, _) in answers.items()}

    def _answer(self, index: int, deadline: float | None) -> tuple[Any, bool]:
        pipe = self.parent_pipes[index]
        try:
            if deadline is None or pipe.poll(max(0.0, deadline - time.monotonic())):
                return pipe.recv()
            self._restart(index, f"did not answer within {self._timeout:g} seconds")
        except (EOFError, OSError):
            self._restart(index, "ended")
        return None, True

    def _restart(self, index: int, failure: str) -> None:
        self._has_failed = self._timeout is None or self.restarts == self._max_restarts
        if self._timeout is None:
            remedy = "to restart such processes, set env.timeout to the seconds that a step may take"
            raise FaultyEnvironment(f"environment {index}: its process {failure}; {remedy}")
        if self.restarts == self._max_restarts:
            raise FaultyEnvironment(
                f"environment {index}: its process {failure}, after {self.restarts} restarts; fix the environment, or "
                "raise env.timeout or env.max_restarts"
            )
        self.restarts += 1
        self.processes[index].kill()
        self.processes[index].join()
        self.parent_pipes[index].close()
        context: Any = multiprocessing.get_context(self.context)
        self.parent_pipes[index], child = context.Pipe()
        given = (index, CloudpickleWrapper(self.env_fns[index]), child, self.parent_pipes[index], None)
        given = (*given, self.error_queue, self.autoreset_mode, None)[: len(signature(_async_worker).parameters)]
        self.processes[index] = context.Process(target=_async_worker, args=given, daemon=True)
        self.processes[index].start()
        child.close()

    def _concatenate(self, observations: Sequence[NDArray[Any]]) -> None:
        if not self.shared_memory:
            self.observations = concatenate(self.single_observation_space, observations, self.observations)


def _kill(processes: Sequence[multiprocessing.Process]) -> None:
    for process in processes:
        process.kill()


def in_worker(make: Callable[[], Any]) -> Callable[[], Any]:
    """``make``, for a worker process that ignores signals and dies with its parent.

    Ctrl-C, ``timeout`` and job queues signal a whole group of processes. The training process then saves a checkpoint,
    for which it needs its environments. If it is killed itself, nothing else would end the workers.
    """
    return partial(_make, os.getpid(), make)


def _make(creator: int, make: Callable[[], Any]) -> Any:
    if os.getpid() != creator:
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
        try:
            return make()
        except Exception as error:  # the training process sees only that this one ended
            print(f"qframe: an environment's process failed: {error}", file=sys.stderr, flush=True)
            raise SystemExit(2) from error
    return make()
