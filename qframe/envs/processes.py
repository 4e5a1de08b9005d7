"""Environments in a process each: one that dies or hangs is started again, and its episode ends as truncated."""

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

UNLIKE = "expected all its copies to have the same spaces, got one whose bounds, sizes or kinds are others"
_DIES_WITH_PARENT = 1  # Linux's PR_SET_PDEATHSIG


class SupervisedEnvs(AsyncVectorEnv):
    """Gymnasium's vector environment of processes, with an eye on each.

    A process that has ended, or that does not answer within ``timeout`` seconds, is replaced by a new one. What the
    learner sees of it is a last step without reward that stays where it was, truncated; the next episode has its own
    seed as ever. An error that an environment raises is no such case: it is raised here.

    Args:
        make: functions that make the environments.
        timeout: seconds that a step or a reset may take; None: as long as it likes, and nothing is replaced.
        max_restarts: how often a process may be replaced in this run, all environments together.

    Raises:
        FaultyEnvironment: an environment that cannot be made, or has other spaces than the first; by ``reset`` and
            ``step``, one restart more than ``max_restarts``, or one without a ``timeout``.
    """

    def __init__(
        self, make: Sequence[Callable[[], gym.Env[Any, Any]]], *, timeout: float | None, max_restarts: int
    ) -> None:
        self.restarts, self._has_failed = 0, False
        self.stays_in_process = timeout is not None  # a process is replaced by the one that began it
        self._masks: list[dict[str, Any]] = [{} for _ in make]
        self._timeout, self._max_restarts = timeout, max_restarts
        # A process that is killed while it writes would leave shared memory half written, so none is shared then.
        super().__init__(make, shared_memory=timeout is None, autoreset_mode=AutoresetMode.DISABLED)

    def _check_spaces(self) -> None:
        """Every process has made its environment, all with the same spaces."""
        self._at_exit = partial(_kill, self.processes)  # before Python waits for them: they take no notice of SIGTERM
        atexit.register(self._at_exit)
        try:
            super()._check_spaces()
        except (OSError, EOFError) as gone:
            self.close(terminate=True)
            raise FaultyEnvironment(
                f"expected {self.num_envs} environments in a process each, got one that could not be made, for the "
                "reason above; mend the environment, or set env.vectorization=sync"
            ) from gone
        except RuntimeError as unlike:
            self.close(terminate=True)
            raise FaultyEnvironment(f"{UNLIKE}; mend the environment") from unlike

    def step_async(self, actions: Any) -> None:
        """Tell every process its action; one that is gone is found when its answer is waited for."""
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
            infos = self._noted(infos, step[4], index)
        self._put_together([step[0] for step in steps])
        reward, terminated, truncated = (np.array([step[place] for step in steps]) for place in (1, 2, 3))
        return deepcopy(self.observations), np.asarray(reward, np.float64), terminated, truncated, infos

    def reset_async(self, seed: Any = None, options: dict[str, Any] | None = None) -> None:
        """Ask those for a reset that ``options["reset_mask"]`` names, or all; the others are left alone."""
        options = dict(options or {})
        mask = options.pop("reset_mask", np.ones(self.num_envs, dtype=np.bool_))
        seeds = seed if isinstance(seed, list) else [None if seed is None else seed + i for i in range(self.num_envs)]
        self._asked = {int(index): {"seed": seeds[index], "options": options} for index in np.flatnonzero(mask)}
        for index, choices in self._asked.items():
            self._send(index, ("reset", choices))
        self._state = AsyncState.WAITING_RESET

    def reset_wait(self, timeout: float | None = None) -> tuple[Any, dict[str, Any]]:
        """The observations after the reset; a process that was replaced meanwhile is asked again."""
        kept = list(iterate(self.observation_space, deepcopy(self.observations)))
        answers = self._answers(self._asked)
        while replaced := [index for index, answer in answers.items() if answer is None]:
            for index in replaced:
                self._send(index, ("reset", self._asked[index]))
            answers |= self._answers(replaced)
        infos: dict[str, Any] = {}
        for index, (_, info) in answers.items():
            infos = self._noted(infos, info, index)
        self._put_together([answers[i][0] if i in answers else kept[i] for i in range(self.num_envs)])
        return deepcopy(self.observations), infos

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """Close; where a process has ended, or did not answer, none is waited for."""
        is_whole = all(process.is_alive() for process in self.processes) and not self._has_failed
        if terminate or not is_whole:
            _kill(self.processes)
            self._state = AsyncState.DEFAULT
        atexit.unregister(self._at_exit)
        super().close_extras(timeout, terminate or not is_whole)

    def _noted(self, infos: dict[str, Any], info: dict[str, Any], index: int) -> dict[str, Any]:
        """The infos with one more; its action mask stays that of a process that is replaced."""
        self._masks[index] = {MASK: info[MASK]} if MASK in info else {}
        return self._add_info(infos, info, index)

    def _send(self, index: int, message: tuple[str, Any]) -> None:
        with suppress(OSError):
            self.parent_pipes[index].send(message)

    def _answers(self, indices: Iterable[int]) -> dict[int, Any]:
        """What these processes answer, by index; None where one has been replaced."""
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

    def _restart(self, index: int, what: str) -> None:
        self._has_failed = self._timeout is None or self.restarts == self._max_restarts
        if self._timeout is None:
            remedy = "to have it started again, set env.timeout to the seconds that a step may take"
            raise FaultyEnvironment(f"environment {index}: its process {what}; {remedy}")
        if self.restarts == self._max_restarts:
            raise FaultyEnvironment(
                f"environment {index}: its process {what}, after {self.restarts} restarts; mend the environment, or "
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

    def _put_together(self, observations: Sequence[NDArray[Any]]) -> None:
        if not self.shared_memory:
            self.observations = concatenate(self.single_observation_space, observations, self.observations)


def _kill(processes: Sequence[multiprocessing.Process]) -> None:
    for process in processes:
        process.kill()


def in_worker(make: Callable[[], Any]) -> Callable[[], Any]:
    """``make`` for a vector environment of processes.

    Ctrl-C, ``timeout`` and queues signal a whole group of processes: the one that trains then saves a checkpoint, for
    which it needs its environments. Where it is killed itself, nothing would end them.
    """
    return partial(_make, os.getpid(), make)


def _make(creator: int, make: Callable[[], Any]) -> Any:
    if os.getpid() != creator:
        for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM)):
            signal.signal(number, signal.SIG_IGN)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
        try:
            return make()
        except Exception as error:  # the one that trains sees that this process ended, and not why
            print(f"qframe: the process of an environment: {error}", file=sys.stderr, flush=True)
            raise SystemExit(2) from error
    return make()
