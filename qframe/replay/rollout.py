"""Rollouts: the latest steps of every environment, learned from in a few passes and then replaced by newer ones."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.replay.protocol import Settings
from qframe.replay.rows import INDEX, NEXT_PREDICTION, Rows
from qframe.replay.slices import SliceReplayBuffer


class RolloutBuffer(SliceReplayBuffer):
    """The last ``steps`` steps of every environment, served in minibatches of whole sequences: learning without replay.

    See "Simplifying Deep Temporal Difference Learning", Gallici et al., 2024, algorithm 1 (PQN).

    The rollout ``[E, steps]`` is cut into sequences of T = ``slice_length`` consecutive steps. A pass serves every
    sequence once, in random order, ``minibatches`` batches of B steps; after ``epochs`` passes the environments take
    the next ``steps`` steps, which replace these. A sample has the keys of ``SliceReplayBuffer``'s. Episodes may end
    within a sequence: "done" marks the ends, and returns are cut there.

    With ``reuse_values`` all targets bootstrap on the values of the network that acted: the learner writes them once
    per rollout, and a sample holds them as ("next", "prediction"). Otherwise every update computes them again, with the
    newest network, which costs a forward pass.

    Args:
        steps: steps of each environment in a rollout.
        minibatches: batches in a pass, B = ``steps · num_envs / minibatches``.
        epochs: passes over a rollout.
        slice_length: T, steps of a sequence; None is ``steps``.
        reuse_values: whether a rollout needs predictions (``unpredicted``) before it is sampled.
        gamma: γ in ``[0, 1]``, per step.
        num_envs: E, number of environments, numbered ``0 … E − 1`` under "env".
        device: where rows are stored and samples arrive.
        seed: of the generator that orders sequences.

    Raises:
        ValueError: an argument is out of range, or ``slice_length`` or ``minibatches`` does not divide the rollout.
    """

    def __init__(
        self,
        steps: int,
        *,
        minibatches: int,
        epochs: int,
        gamma: float,
        slice_length: int | None = None,
        reuse_values: bool = False,
        num_envs: int = 1,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        for name, number in (("steps", steps), ("minibatches", minibatches), ("epochs", epochs)):
            if number < 1:
                raise ValueError(f"expected {name} of at least 1, got {number}")
        slice_length = steps if slice_length is None else slice_length
        if slice_length < 1 or steps % slice_length:
            raise ValueError(
                f"slice_length={slice_length} does not divide the rollout's {steps} steps; use a divisor of {steps}"
            )
        sequences = num_envs * steps // slice_length
        if sequences % minibatches:
            raise ValueError(
                f"{minibatches} minibatches do not divide the rollout's {sequences} sequences ({num_envs} environments "
                f"× {steps} steps / slice_length={slice_length}); use a divisor of {sequences}"
            )
        super().__init__(
            steps * num_envs, steps * num_envs // minibatches,
            slice_length=slice_length, gamma=gamma, num_envs=num_envs, device=device, seed=seed,
        )  # fmt: skip
        self.round = self.round_of({"steps": steps, "minibatches": minibatches, "epochs": epochs}, num_envs)
        self._left = np.zeros(0, np.int64)  # the first rows of the sequences left in this pass
        self.reuses_values = reuse_values
        self._prediction: Tensor | None = None  # [rows, …], of the next observations

    @staticmethod
    def round_of(settings: Mapping[str, Any], num_envs: int) -> tuple[int, int]:
        """Frames of a rollout and updates taken on it, of a buffer with these arguments."""
        return settings["steps"] * num_envs, settings["minibatches"] * settings["epochs"]

    @torch.no_grad()
    def extend(self, transitions: TensorDict) -> None:
        """Store steps, which begin or continue a rollout; :meth:`SliceReplayBuffer.extend` says how."""
        super().extend(transitions)
        self._left, self._prediction = self._left[:0], None

    @property
    def unpredicted(self) -> TensorDict | None:
        """All rows, if their values are to be reused and were not written since the last step."""
        is_needed = self.reuses_values and self._prediction is None and len(self)
        if not is_needed:
            return None
        every = torch.arange(self._num_rows, device=self.device)
        return TensorDict(self._read(every), [self._num_rows])  # pyright: ignore[reportArgumentType]

    def write_prediction(self, prediction: Tensor) -> None:
        self._prediction = prediction.to(self.device)

    def sample(
        self, batch_size: int | None = None, *, batches: int = 1, reuse: TensorDict | None = None
    ) -> TensorDict:
        """Read sequences; :meth:`SliceReplayBuffer.sample` says how."""
        sample = super().sample(batch_size, batches=batches)
        if self._prediction is not None:
            sample.set(NEXT_PREDICTION, self._prediction[sample[INDEX]])
        return sample

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """While active, draws leave no trace: afterwards the replay draws as if there had been none."""
        left, prediction = self._left, self._prediction
        try:
            with super().unchanged():
                yield
        finally:
            self._left, self._prediction = left, prediction

    def _draw(self, batch_size: int) -> tuple[Tensor, Rows]:
        """The next sequences of the pass; a pass that lacks some of a batch is completed from the next one."""
        self._check_multiple(batch_size)
        count = batch_size // self.slice_length
        while len(self._left) < count:
            self._num_fitting()
            first = self._sequences()
            order = torch.randperm(len(first), generator=self.generator).numpy()
            self._left = np.concatenate([self._left, first[order]])
        first, self._left = self._left[:count], self._left[count:]
        return self._slices(first), {}

    def _sequences(self) -> np.ndarray:
        """First rows of the sequences, environment by environment; each ends with its environment's newest step."""
        env, number = np.divmod(np.arange(self._num_rows // self.slice_length), self._length // self.slice_length)
        held = number < self._size[env] // self.slice_length
        env, number = env[held], number[held]
        newest = env * self._length + (self._cursor[env] - 1) % self._length
        return self._moved(newest, 1 - (number + 1) * self.slice_length)

    def _settings(self) -> Settings:
        return super()._settings() | {"slice_length": self.slice_length, "reuse_values": self.reuses_values}

    def _layout_state(self, *, live: bool) -> dict[str, Any]:
        own = {"left": torch.from_numpy(self._left), "prediction": self._prediction}
        return super()._layout_state(live=live) | own

    def _load_layout(self, state: Mapping[str, Any]) -> None:
        super()._load_layout(state)
        self._left, prediction = state["left"].numpy(force=True), state["prediction"]
        self._prediction = None if prediction is None else prediction.to(self.device)
