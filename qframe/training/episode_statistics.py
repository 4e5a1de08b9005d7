"""Statistics of training episodes: their returns and lengths, and the numbers of their infos."""

import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Finished(NamedTuple):
    """Training episodes that have ended since the last log."""

    returns: list[float]
    lengths: list[int]  # in frames
    infos: dict[str, list[float]]  # by key of log_info: the last number of each episode that gave one, or ∞ for another


class EpisodeStatistics:
    """Returns and lengths of the training episodes that have ended since the last call of ``take``.

    Args:
        num_envs: E.
        log_info: keys of the K numbers that each step reports from the infos.
    """

    def __init__(self, num_envs: int, log_info: Sequence[str] = ()) -> None:
        self.running_return = np.zeros(num_envs)
        """Of each environment's running episode, ``[E]``."""
        self._running_length = np.zeros(num_envs, dtype=np.int64)
        self.returns: list[float] = []
        self.lengths: list[int] = []
        self.infos: dict[str, list[float]] = {key: [] for key in log_info}
        self._running_info = np.full((num_envs, len(log_info)), np.nan)

    def add(
        self,
        reward: NDArray[np.floating],
        done: NDArray[np.bool_],
        valid: NDArray[np.bool_] | None,
        info: NDArray[np.float64] | None = None,
    ) -> None:
        """Count one step of every environment.

        Args:
            reward: ``[E]``.
            done: ``[E]``, where an episode ended.
            valid: ``[E]``, False where an environment only reset itself; None if none did.
            info: ``[E, K]``, NaN where the infos had no such key.
        """
        if info is not None:
            self._add_info(info, done, valid)
        self.running_return += reward if valid is None else reward * valid
        self._running_length += 1 if valid is None else valid
        if done.any():
            self.returns += self.running_return[done].tolist()
            self.lengths += self._running_length[done].tolist()
            self.running_return[done] = 0
            self._running_length[done] = 0

    def _add_info(
        self, info: NDArray[np.float64], done: NDArray[np.bool_], valid: NDArray[np.bool_] | None
    ) -> None:
        given = ~np.isnan(info) if valid is None else ~np.isnan(info) & valid[:, None]
        self._running_info[given] = info[given]
        if done.any():
            for key, last in zip(self.infos, self._running_info[done].T, strict=True):
                self.infos[key] += last[~np.isnan(last)].tolist()
            self._running_info[done] = np.nan

    def take(self) -> Finished:
        """The episodes that have ended; they are then forgotten."""
        finished = Finished(self.returns, self.lengths, self.infos)
        self.returns, self.lengths, self.infos = [], [], {key: [] for key in self.infos}
        return finished

    def abandon(self) -> None:
        """Forget the running episodes."""
        self.running_return[:], self._running_length[:], self._running_info[:] = 0, 0, np.nan

    def state_dict(self) -> dict[str, Any]:
        """The running episodes, and those not yet taken."""
        running = {"return": self.running_return.tolist(), "length": self._running_length.tolist()}
        infos = {
            key: {"running": last.tolist(), "finished": self.infos[key]}
            for key, last in zip(self.infos, self._running_info.T, strict=True)
        }
        return {"running": running, "returns": self.returns, "lengths": self.lengths, "infos": infos}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self.running_return[:], self._running_length[:] = state["running"]["return"], state["running"]["length"]
        self.returns, self.lengths = list(state["returns"]), list(state["lengths"])
        for column, key in enumerate(self.infos):
            if (info := state.get("infos", {}).get(key)) is not None:  # else it was not logged before
                self._running_info[:, column], self.infos[key] = info["running"], list(info["finished"])


class RecentEpisodes:
    """The running mean of the returns of the last 100 training episodes, and the longest of all, as of the last log."""

    def __init__(self) -> None:
        self._returns: deque[float] = deque(maxlen=100)
        self.longest = 0
        """Steps of the longest training episode."""

    @property
    def mean_return(self) -> float | None:
        """The mean of their returns; None before the first episode has ended."""
        return float(statistics.mean(self._returns)) if self._returns else None

    def add(self, returns: Sequence[float], lengths: Sequence[int]) -> None:
        """Add the episodes that have ended since the last call."""
        self._returns.extend(returns)
        self.longest = max(self.longest, *lengths, 0)

    def state_dict(self) -> dict[str, Any]:
        """The returns and the length."""
        return {"returns": list(self._returns), "longest": self.longest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self._returns.extend(state["returns"])
        self.longest = state["longest"]


def info_means(infos: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The mean of each key's finite numbers, if it has any.

    >>> info_means({"level": [1.0, 4.0, math.inf], "name": [math.inf]})
    {'level': 2.5}
    """
    finite = {key: [number for number in numbers if math.isfinite(number)] for key, numbers in infos.items()}
    return {key: float(statistics.mean(numbers)) for key, numbers in finite.items() if numbers}


class InfoNotes:
    """The means of the numbers that ``log_info`` names, and notes on its mistakes, each given once.

    Args:
        keys: of the infos.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        self._found, self._odd = set[str](), set[str]()
        self._has_warned = not keys

    def means(self, infos: Mapping[str, Sequence[float]], group: str) -> dict[str, float]:
        """The mean over episodes of each key, as ``group/info/key``; of finite numbers alone.

        Args:
            infos: by key, the number of every episode that gave a value: ∞ if it was not one finite number.
            group: ``train`` or ``eval``.
        """
        self._found |= {key for key, numbers in infos.items() if numbers}
        return {f"{group}/info/{key}": mean for key, mean in info_means(infos).items()}

    def odd(self, infos: Mapping[str, Sequence[float]]) -> str | None:
        """A note on keys whose values are not numbers; None if there are none but those noted before."""
        odd = {key for key, numbers in infos.items() if not all(map(math.isfinite, numbers))} - self._odd
        self._odd |= odd
        named = ", ".join(key for key in self._keys if key in odd)
        note = f"env.log_info: {named} held a value that is not one finite number; such values are left out"
        return note if odd else None

    def missing(self, info_keys: Callable[[], Sequence[str]]) -> str | None:
        """At the first evaluation, a warning of the keys that no info has held so far.

        Args:
            info_keys: finds the keys that could have been meant.
        """
        missing = [key for key in self._keys if key not in self._found]
        is_first, self._has_warned = not self._has_warned, True
        if not is_first or not missing:
            return None
        held = ", ".join(info_keys()) or "none"
        return f"env.log_info: no info has held {', '.join(missing)} so far; numbers in the infos of a step: {held}"

    def state_dict(self) -> dict[str, Any]:
        """The keys found and noted so far."""
        return {"found": sorted(self._found), "odd": sorted(self._odd), "warned": self._has_warned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self._found, self._odd, self._has_warned = set(state["found"]), set(state["odd"]), state["warned"]
