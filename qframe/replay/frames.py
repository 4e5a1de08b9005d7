"""Replay of stacked frames, each kept once: a million Atari transitions in the room of their frames."""

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.replay.frame_storage import FrameStorage, Place
from qframe.replay.frame_streams import FrameStreams
from qframe.replay.memory import usable_device
from qframe.replay.n_step import check_gamma, distinct_runs
from qframe.replay.rows import ENV, Rows, check_num_envs
from qframe.replay.storage import RowSchema, chosen_streams, take_span
from qframe.replay.transitions import check_settings, check_sizes, joined


class FrameReplayBuffer:
    """The last steps of every environment, sampled uniformly as n-step transitions that are put together when sampled.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015, Methods. A sample has the keys,
    the values and the dtypes that ``ReplayBuffer`` gives, byte for byte; only the room differs: an observation of four
    frames takes a quarter, and the next observation nothing.

    Invariants:
        - Every transition that is complete and whose frames are all there is equally likely.
        - A buffer that loads a state goes on bit for bit as the one that gave it.

    Args:
        capacity: rows kept, of all environments together: a row a step, and ``stack`` more for every episode.
        batch_size: B, of a sample.
        gamma: γ in ``[0, 1]``, per step.
        n_step: n ≥ 1, steps that a transition spans at most.
        stack: frames in an observation, along its first dimension; 1: an observation is one frame.
        storage: where frames are kept, ``memory`` or ``disk``.
        num_envs: streams of steps, those of rows ``env`` in ``0 … num_envs − 1``.
        device: where rows are stored and samples come.
        seed: of the buffer's own generator.

    Raises:
        ValueError: an argument is out of its range.
    """

    draws_alike = True
    observations_per_row = 1
    """How many observations a row keeps whole: its own, of which a stack shares frames."""
    bookkeeping_bytes = 1 + 1
    """What a row takes beside what came: whether it is complete, and whether its environment was abandoned there."""

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
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        check_sizes(capacity, batch_size)
        check_gamma(gamma)
        check_num_envs(num_envs)
        if n_step < 1 or stack < 1:
            raise ValueError(f"expected n_step and stack of at least 1, got {n_step} and {stack}")
        self.capacity, self.batch_size = capacity, batch_size
        self.gamma, self.n_step, self.stack, self.num_envs = gamma, n_step, stack, num_envs
        self.storage = storage
        self.device = usable_device(device)
        self._schema = RowSchema(num_envs, device)
        self._streams = FrameStreams(
            capacity, stack=stack, n_step=n_step, gamma=gamma, num_envs=num_envs, device=device,
            frames=FrameStorage(capacity // num_envs * num_envs, storage, device),
        )
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return self._streams.num_complete

    @torch.no_grad()
    def extend(self, transitions: TensorDict) -> None:
        """Store steps.

        Args:
            transitions: steps ``[k]``, those of one environment in time order, as for ``ReplayBuffer``.

        Raises:
            KeyError: a key is missing or new, compared with the first rows.
            ValueError: a shape or a dtype is not that of the first rows, an observation does not continue the one
                before it, or an "env" is out of its range.
        """
        rows = self._schema.check(transitions)
        env = rows[ENV].numpy(force=True)
        for start, stop in distinct_runs(env):
            self._changed(self._streams.push(take_span(rows, start, stop)))

    def flush(self, env: int | None = None) -> None:
        """End the episodes under way of one or all environments as truncated after their last step."""
        self._changed(self._streams.flush(chosen_streams(env, self.num_envs)))

    def sample(self, batch_size: int | None = None, *, batches: int = 1) -> TensorDict:
        """Transitions ``[batches · B]``, drawn with replacement.

        Args:
            batch_size: B, in place of the buffer's own.
            batches: one after another, the same that as many calls would draw.

        Raises:
            RuntimeError: no transition is complete yet.
        """
        if not len(self):
            raise RuntimeError("expected a transition to sample, got none that is complete; extend first")
        batch_size = self.batch_size if batch_size is None else batch_size
        index, more = joined([self._draw(batch_size) for _ in range(batches)])
        rows = self._streams.read(index.numpy()) | {"index": index.to(self.device)} | more
        return TensorDict(rows, batch_size=[len(index)])

    def update_priority(self, index: Tensor, td_error: Tensor) -> None:
        """Nothing: all transitions are drawn alike. It is here so that a learner need not ask."""

    def anneal(self, fraction: float) -> None:
        """Nothing: no hyperparameter changes during a run. It is here so that a learner need not ask."""

    def state_dict(self, *, live: bool = False) -> dict:
        """The rows and all else that makes what comes next, as tensors and plain values.

        Args:
            live: rows come as pages that are read when they are written to a checkpoint, and are not copied here.
        """
        return {
            "settings": self._settings(),
            "schema": self._schema.state_dict(),
            "streams": self._streams.state_dict(live=live) if self._streams.num_filled else None,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Take over what ``state_dict`` gave.

        Raises:
            ValueError: the state comes from a buffer of other settings.
        """
        check_settings(self._settings(), state["settings"])
        self._schema.load_state_dict(state["schema"])
        if state["streams"] is not None:
            self._streams.load_state_dict(state["streams"])
        self.generator.set_state(state["generator"].cpu())

    def _settings(self) -> dict[str, float | None]:
        names = ("capacity", "gamma", "n_step", "stack", "num_envs")
        return {name: getattr(self, name) for name in names}

    def _draw(self, batch_size: int) -> tuple[Tensor, Rows]:
        """Complete rows ``[B]``: of rows drawn alike, those that are complete; few are not."""
        row = self._streams.nth_filled(self._integers(self._streams.num_filled, 2 * batch_size))
        drawn = row[self._streams.complete[row]][:batch_size]
        if len(drawn) < batch_size:
            every = self._streams.complete.nonzero()[0]
            drawn = np.concatenate([drawn, every[self._integers(len(every), batch_size - len(drawn))]])
        return torch.from_numpy(drawn), {}

    def _integers(self, high: int, count: int) -> np.ndarray:
        return torch.randint(high, (count,), generator=self.generator).numpy()

    def _changed(self, rows: np.ndarray) -> None:
        """Take note of rows that have become complete, or no longer are."""
