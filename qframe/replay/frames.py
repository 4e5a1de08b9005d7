"""Replay of stacked frames, each stored once: a million Atari transitions in the memory of their frames."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.replay.base import ReplayBase
from qframe.replay.n_step import distinct_runs
from qframe.replay.protocol import Priorities, Settings
from qframe.replay.rows import (
    DISCOUNT,
    DONE,
    ENV,
    INDEX,
    NEXT_OBSERVATION,
    OBSERVATION,
    REWARD,
    STEPS,
    TERMINATED,
    TRUNCATED,
    Rows,
    chosen_envs,
    take_span,
)
from qframe.replay.stacked_storage import NotStacked
from qframe.replay.storage import FrameStorage, Place, TensorStorage


class FrameReplayBuffer(ReplayBase):
    """The last steps of every environment, drawn as n-step transitions that are assembled when they are read.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015, Methods. A sample has the keys,
    values and dtypes of ``ReplayBuffer``'s, byte for byte; only memory differs: an observation of four frames takes a
    quarter of the memory, and the next observation none. ``len`` counts the transitions that can be drawn, and
    ``extend`` raises ``NotStacked`` if an observation does not continue the one before it.

    Invariants:
        - Without priorities every transition that is complete and whose frames are all stored is equally likely.
        - A replay that loads a state continues bit for bit like the one that saved it.

    Args:
        capacity: rows kept, of all environments together: one per step, and ``stack`` more per episode.
        batch_size: B, transitions of a sample.
        gamma: γ in ``[0, 1]``, per step.
        n_step: n ≥ 1, most steps of a transition.
        stack: frames in an observation, along its first dimension; 1: an observation is one frame.
        storage: where frames are kept, ``memory`` or ``disk``.
        num_envs: number of environments, numbered ``0 … num_envs − 1`` under "env".
        priorities: how often each transition is drawn; None draws uniformly.
        device: where rows are stored and samples arrive.
        seed: of the generator that draws rows.

    Raises:
        ValueError: an argument is out of range.
    """

    shares_frames = True
    layout_bytes = 1 + 1
    """Whether the row is complete, and whether its environment was abandoned there."""

    def __init__(
        self,
        capacity: int,
        batch_size: int,
        *,
        gamma: float,
        n_step: int = 1,
        stack: int = 4,
        storage: Place = "memory",
        num_envs: int = 1,
        priorities: Priorities | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        super().__init__(
            capacity, batch_size, gamma=gamma, num_envs=num_envs, priorities=priorities, device=device, seed=seed
        )
        if n_step < 1 or stack < 1:
            raise ValueError(f"expected n_step and stack of at least 1, got {n_step} and {stack}")
        self.n_step, self.stack, self.storage = n_step, stack, storage
        self._streams = FrameStreams(
            capacity, stack=stack, n_step=n_step, gamma=gamma, num_envs=num_envs, device=device,
            frames=FrameStorage(capacity // num_envs * num_envs, storage, device),
        )
        if priorities is not None:
            priorities.allocate(self._num_rows)

    def observation_bytes(self, size: int) -> int:
        return size // self.stack  # the newest frame

    def __len__(self) -> int:
        return self._streams.num_complete

    @torch.no_grad()
    def extend(self, transitions: TensorDict) -> None:
        rows = self._schema.check(transitions)
        env = rows[ENV].numpy(force=True)
        for start, stop in distinct_runs(env):
            self._reprioritize(self._streams.push(take_span(rows, start, stop)))

    def flush(self, env: int | None = None) -> None:
        self._reprioritize(self._streams.flush(chosen_envs(env, self.num_envs)))

    def sample(
        self, batch_size: int | None = None, *, batches: int = 1, reuse: TensorDict | None = None
    ) -> TensorDict:
        index, more = self.draw(batch_size, batches=batches)
        rows = self._streams.read(index.numpy(force=True)) | {INDEX: index} | more
        return TensorDict(rows, batch_size=index.shape)

    @property
    def _num_rows(self) -> int:
        return len(self._streams.complete)

    def _settings(self) -> Settings:
        return super()._settings() | {"n_step": self.n_step, "stack": self.stack}

    def _not_overwritten(self, row: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kept = self._streams.complete[row]
        return row[kept], error[kept]

    def _filled(self) -> np.ndarray:
        return self._streams.filled()

    def _layout_state(self, *, live: bool) -> dict[str, Any]:
        return {"streams": self._streams.state_dict(live=live) if self._streams.num_filled else None}

    def _load_layout(self, state: Mapping[str, Any]) -> None:
        if state["streams"] is not None:
            self._streams.load_state_dict(state["streams"])

    def _draw_uniformly(self, count: int) -> np.ndarray:
        """Complete rows, drawn by rejection, as most rows are complete."""
        row = self._streams.nth_filled(self._integers(self._streams.num_filled, 2 * count))
        drawn = row[self._streams.complete[row]][:count]
        if len(drawn) < count:
            every = self._streams.complete.nonzero()[0]
            drawn = np.concatenate([drawn, every[self._integers(len(every), count - len(drawn))]])
        return drawn

    def _reprioritize(self, rows: np.ndarray) -> None:
        """Give complete rows the priority of new ones, and remove that of the others."""
        if self.priorities is not None:
            is_complete = self._streams.complete[rows]
            self.priorities.remove(rows[~is_complete])
            self.priorities.add(complete := rows[is_complete])
            if self._starts_from_td_error and len(complete):
                self._update_new(complete, self._streams.fold(complete))


class FrameStreams:
    """A ring of rows per environment. A row is a step and the newest frame of its observation.

    An observation is ``stack`` frames along its first dimension, and each step adds one; with ``stack`` 1 it is the
    frame itself. The frames before an episode's first step, and the one after its last, are rows without a step. So an
    observation is always ``stack`` consecutive rows, however the environment fills its first one.

    Invariants:
        - A row is *complete* if an n-step transition can be read from it: n steps follow, or the episode's end, and
          none of its frames is overwritten.
        - A transition equals, byte for byte, that of an ``NStepFold`` which was given the same steps, except those that
          only mark the end of an abandoned episode: there the step before is the last.

    Args:
        capacity: rows of all environments together; each has ``capacity // num_envs``.
        stack: frames in an observation ≥ 1.
        n_step: n ≥ 1, most steps of a transition.
        gamma: γ in ``[0, 1]``, per step.
        num_envs: number of rings.
        frames: storage of the frames.
        device: device of everything else.

    Raises:
        ValueError: a ring is too short for a transition.
    """

    def __init__(
        self,
        capacity: int,
        *,
        stack: int,
        n_step: int,
        gamma: float,
        num_envs: int,
        frames: FrameStorage,
        device: torch.device | str,
    ) -> None:
        shortest, length = n_step + 2 * stack + 1, capacity // num_envs
        if length < shortest:
            raise ValueError(
                f"expected a capacity of at least num_envs · (n_step + 2 · stack + 1) = {num_envs * shortest}, got "
                f"{capacity}; raise it"
            )
        self.length, self.stack, self.n_step, self.gamma, self.num_envs = length, stack, n_step, gamma, num_envs
        self._frames, self._steps = frames, TensorStorage(num_envs * length, device, is_paged=True)
        self._cursor = np.zeros(num_envs, np.int64)  # the row of each ring that is written next
        self._written = np.zeros(num_envs, np.int64)  # filled rows of each ring
        self._taken = np.zeros(num_envs, np.int64)  # steps so far of the current episode
        self._cut = np.zeros(num_envs * length, np.bool_)  # after this step the environment was abandoned
        self.complete = np.zeros(num_envs * length, np.bool_)
        self.num_complete = 0

    def push(self, rows: Rows) -> np.ndarray:
        """Store one step of each of several environments.

        Args:
            rows: steps ``[k]`` of k different environments, checked by a ``RowSchema``.

        Returns:
            The rows whose completeness may have changed.

        Raises:
            ValueError: an observation does not continue the one before it.
        """
        env = rows[ENV].numpy(force=True)
        observation, following = rows[OBSERVATION], rows[NEXT_OBSERVATION]
        starts = self._taken[env] == 0
        if not self._continues(env, starts, observation, following):
            return self._push_others(rows)
        changed = [self._begin(env[starts], observation[torch.from_numpy(starts)])]
        at = self._rows(env, self._cursor[env])  # the newest frame is there already
        self._steps.write(self._index(at), {key: leaf for key, leaf in rows.items() if key not in _NOT_STEPS})
        self._taken[env] += 1
        changed.append(self._claim(env, self._cursor[env] + 1, self._newest(following)))
        self._cursor[env] = (self._cursor[env] + 1) % self.length
        ended = (rows[TERMINATED] | rows[TRUNCATED]).numpy(force=True)[:, 0]
        changed += [self._complete(env[self._taken[env] >= self.n_step], self.n_step), self._end(env[ended])]
        return np.concatenate(changed)

    def _push_others(self, rows: Rows) -> np.ndarray:
        """Push all steps except those that only mark the end of an abandoned episode: truncated, without a new frame.

        The collector adds such a step after an environment's process has died, or has returned numbers that are not
        finite; the step before is the last.
        """
        observation, following = rows[OBSERVATION], rows[NEXT_OBSERVATION]
        stays = (observation == following).flatten(1).all(-1)
        is_other = (observation[:, 1:] != following[:, :-1]).flatten(1).any(-1)
        is_cut = stays & is_other & (rows[TRUNCATED] & ~rows[TERMINATED])[:, 0]
        if not is_cut.any():
            raise NotStacked(
                f"an observation is not the one before it shifted by a new frame (stack = {self.stack}); use "
                "replay=transitions, which stores whole observations"
            )
        changed = self.flush(rows[ENV][is_cut].numpy(force=True))
        if is_cut.all():
            return changed
        return np.concatenate([changed, self.push({key: leaf[~is_cut] for key, leaf in rows.items()})])

    def flush(self, env: np.ndarray) -> np.ndarray:
        """End the current episodes of these environments: open n-step windows are truncated there.

        Returns:
            The rows whose completeness may have changed.
        """
        env = env[self._taken[env] > 0]
        if not len(env):
            return env
        self._cut[self._rows(env, self._cursor[env] - 1)] = True
        return self._end(env)

    def read(self, row: np.ndarray) -> Rows:
        """The transitions that begin at complete rows ``row`` ``[B]``."""
        env, place = np.divmod(row, self.length)
        found = self.fold(row)
        used = found[STEPS].squeeze(-1).numpy(force=True)
        return {OBSERVATION: self._observe(env, place), NEXT_OBSERVATION: self._observe(env, place + used)} | found

    def fold(self, row: np.ndarray) -> Rows:
        """The same without observations."""
        env, place = np.divmod(row, self.length)
        ahead = self._rows(env[:, None], place[:, None] + np.arange(self.n_step))  # [B, n]
        steps = self._steps_used(ahead)  # [B]
        used = steps.numpy(force=True)
        last = self._steps.read(self._index(self._rows(env, place + used - 1)))
        first = self._steps.read(self._index(row))
        found = {key: (last if key[0] == "next" else first)[key] for key in first}
        found[REWARD] = self._return(ahead, steps, found[REWARD].dtype)
        ends_early = (steps < self.n_step).unsqueeze(-1)
        found[TRUNCATED] = found[TRUNCATED] | (ends_early & ~found[TERMINATED])
        found[DONE] = found[DONE] | ends_early
        powers = [self.gamma**k for k in range(self.n_step + 1)]
        discount = torch.tensor(powers, dtype=found[REWARD].dtype, device=found[REWARD].device)[steps]
        found[DISCOUNT] = torch.where(found[TERMINATED], 0.0, discount.unsqueeze(-1))
        found[STEPS] = steps.unsqueeze(-1)
        return found

    def filled(self) -> np.ndarray:
        """The filled rows, ring by ring."""
        return (np.arange(self.length) < self._written[:, None]).reshape(-1).nonzero()[0]

    def nth_filled(self, number: np.ndarray) -> np.ndarray:
        """``filled()[number]``, without listing all rows."""
        ends = self._written.cumsum()
        env = ends.searchsorted(number, side="right")
        return env * self.length + number - (ends - self._written)[env]

    @property
    def num_filled(self) -> int:
        """Number of filled rows."""
        return int(self._written.sum())

    def state_dict(self, *, live: bool) -> dict:
        """Everything, as tensors; frames and steps as pages if ``live``."""
        filled = self.filled()
        return {
            "frames": self._frames.pages() if live else self._frames.read(torch.from_numpy(filled)),
            "steps": self._steps.pages() if live else self._steps.read(self._index(filled)),
            "complete": torch.from_numpy(self.complete[filled]),
            "cut": torch.from_numpy(self._cut[filled]),
            "cursor": torch.tensor(self._cursor),
            "written": torch.tensor(self._written),
            "taken": torch.tensor(self._taken),
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore what ``state_dict`` returned."""
        self._cursor, self._written, self._taken = (
            state[name].numpy(force=True).copy() for name in ("cursor", "written", "taken")
        )
        filled = self.filled()
        self.complete[:] = self._cut[:] = False
        self._cut[filled] = state["cut"].numpy(force=True)
        self.complete[filled] = state["complete"].numpy(force=True)
        self.num_complete = int(self.complete.sum())
        self._frames.restore(torch.from_numpy(filled), state["frames"])
        self._steps.restore(self._index(filled), state["steps"])

    def _begin(self, env: np.ndarray, observation: Tensor) -> np.ndarray:
        """Write the frames of an episode's first observation; the cursor ends on the newest."""
        changed = [np.zeros(0, np.int64)]
        for age in range(self.stack if len(env) else 0):
            frame = observation[:, age] if self.stack > 1 else observation
            changed.append(self._claim(env, self._cursor[env] + (age > 0), frame))
            self._cursor[env] = (self._cursor[env] + (age > 0)) % self.length
        return np.concatenate(changed)

    def _end(self, env: np.ndarray) -> np.ndarray:
        """Complete the open rows of ended episodes; the frame after the last step keeps a row of its own."""
        changed = [self._complete(env[self._taken[env] >= back], back) for back in range(1, self.n_step)]
        self._cursor[env] = (self._cursor[env] + 1) % self.length
        self._taken[env] = 0
        return np.concatenate([np.zeros(0, np.int64), *changed])

    def _complete(self, env: np.ndarray, back: int) -> np.ndarray:
        """Mark the step taken ``back`` steps ago as complete, 1 being the last."""
        row = self._rows(env, self._cursor[env] - back)
        self.num_complete += len(row)
        self.complete[row] = True
        return row

    def _claim(self, env: np.ndarray, place: np.ndarray, frame: Tensor) -> np.ndarray:
        """Overwrite the oldest row of a ring by a frame: the transitions that needed it are no longer complete."""
        row = self._rows(env, place)
        self._frames.write(torch.from_numpy(row), frame)
        self._cut[row] = False
        self._written[env] = np.maximum(self._written[env], place % self.length + 1)
        gone = self._rows(env[:, None], place[:, None] + np.arange(self.stack)).reshape(-1)
        self.num_complete -= int(self.complete[gone].sum())
        self.complete[gone] = False
        return gone

    def _observe(self, env: np.ndarray, place: np.ndarray) -> Tensor:
        """The observations at places ``[B]`` of rings, ``[B, stack, …]``, or ``[B, …]`` for a stack of 1."""
        if self.stack == 1:
            return self._frames.read(torch.from_numpy(self._rows(env, place)))
        rows = self._rows(env[:, None], place[:, None] + np.arange(1 - self.stack, 1))  # [B, stack]
        frames = self._frames.read(torch.from_numpy(rows.reshape(-1)))
        return frames.view(*rows.shape, *frames.shape[1:])

    def _steps_used(self, ahead: np.ndarray) -> Tensor:
        """k ≤ n, the steps up to the episode's end, ``[B]``."""
        ended = self._steps.column(DONE, self._index(ahead)).view(ahead.shape) | self._index(self._cut[ahead])
        return torch.where(ended.any(-1), ended.to(torch.int8).argmax(-1) + 1, self.n_step)

    def _return(self, ahead: np.ndarray, steps: Tensor, dtype: torch.dtype) -> Tensor:
        """``Σ_{i<k} γⁱ r_i``, added in float64 in time order and rounded once, ``[B, R]``."""
        reward = self._steps.column(REWARD, self._index(ahead)).view(*ahead.shape, -1).double()
        total = torch.zeros_like(reward[:, 0])
        for i in range(self.n_step):
            total = torch.where((steps > i).unsqueeze(-1), total + self.gamma**i * reward[:, i], total)
        return total.to(dtype)

    def _continues(self, env: np.ndarray, starts: np.ndarray, observation: Tensor, following: Tensor) -> bool:
        """Whether every observation is the one before it and a new frame."""
        if self.stack > 1 and observation.shape[1:2] != (self.stack,):
            raise NotStacked(
                f"expected observations of {self.stack} frames along their first dimension, got shape "
                f"{[*observation.shape[1:]]}; set replay.stack"
            )
        shifts = self.stack == 1 or torch.equal(observation[:, 1:], following[:, :-1])
        if not starts.all():
            newest = self._frames.read(torch.from_numpy(self._rows(env, self._cursor[env])[~starts]))
            shifts = shifts and torch.equal(newest, self._newest(observation[torch.from_numpy(~starts)]))
        return shifts

    def _newest(self, observation: Tensor) -> Tensor:
        return observation[:, -1] if self.stack > 1 else observation

    def _rows(self, env: np.ndarray, place: np.ndarray) -> np.ndarray:
        return env * self.length + place % self.length

    def _index(self, row: np.ndarray) -> Tensor:
        return torch.from_numpy(row).to(self._steps.device)


_NOT_STEPS = {ENV, OBSERVATION, NEXT_OBSERVATION}
