"""Intrinsic rewards for novelty, added to the environment's own when steps are stored: curiosity."""

from abc import ABC, abstractmethod
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from qframe.envs import derive_seed
from qframe.machine.generators import globally_seeded
from qframe.networks.encoders import EncodedTrunk, FlatEncoder, make_encoder
from qframe.networks.normalization import RunningNorm
from qframe.networks.trunks import ConvTrunk, MLPTrunk, Trunk, fitting_trunk
from qframe.training.running_returns import RunningReturns

CLIPPED = 5.0
"""Bound of normalised observations, in standard deviations."""
LIMIT = 10.0
"""Bound of a normalised bonus: its first estimates of σ rest on few returns."""


class Bonus(ABC):
    """``scale · min(novelty / σ, 10)``, added to the stored reward of every step or stored beside it.

    σ is the running standard deviation of the discounted sums of novelty, ``R ← γ · R + novelty``, which no end of an
    episode resets. See "Exploration by Random Network Distillation", Burda et al., 2018, section 2.4.

    The bonus is computed once, as a step is collected, and stored with its reward: so it works with every replay and
    n-step returns, at the price that the bonus of an old transition is that of the day it was collected. Returns that
    are logged or evaluated never contain it.

    Args:
        scale: factor of the bonus, above 0.
        head: ``shared``: the bonus is added to the reward, and action values contain its return; ``own``: the network
            has outputs of its own for it, which only actors that explore heed.
        gamma: γ of the sums.
        num_envs: E.
        warm_up: frames that are learned from, but neither rewarded nor part of σ.

    Raises:
        ValueError: a scale that is not above 0, or a negative warm-up.
    """

    learns = False
    """Whether it takes gradient steps, which a forked process cannot."""

    def __init__(
        self, *, scale: float, gamma: float, num_envs: int, head: Literal["shared", "own"] = "shared", warm_up: int = 0
    ) -> None:
        if not 0 < scale < np.inf:
            raise ValueError(f"expected scale above 0, got {scale}; for no bonus, set reward=default")
        if warm_up < 0:
            raise ValueError(f"expected warm_up of at least 0, got {warm_up}")
        self.scale, self._num_envs, self.stands_apart = scale, num_envs, head == "own"
        self._returns, self._warming = RunningReturns(num_envs, gamma), warm_up
        self.last = 0.0
        """The mean bonus of the last step."""

    @abstractmethod
    def novelty(self, observation: Tensor | TensorDictBase) -> NDArray[np.float64]:
        """The novelty ``[k]`` of observations ``[k, …]``, from which it learns at once."""

    def __call__(
        self, observation: Tensor | TensorDictBase, valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """The bonus of one step of E environments.

        Args:
            observation: ``[E, …]``, after the step.
            valid: ``[E]``, False where an environment only reset itself, for no bonus; None if none did.
        """
        rows = np.ones(self._num_envs, np.bool_) if valid is None else valid
        bonus = np.zeros(self._num_envs)
        if not rows.any():
            return bonus
        bonus[rows] = self.novelty(observation if valid is None else observation[torch.from_numpy(rows)])
        if self._warming > 0:
            self._warming -= int(rows.sum())
            return np.zeros(self._num_envs)
        self._returns.add(bonus, valid)
        bonus = self.scale * np.minimum(bonus / self._returns.deviation, LIMIT)
        self.last = float(bonus[rows].mean())
        return bonus

    def state_dict(self) -> dict[str, Any]:
        """The statistics; subclasses add their own."""
        return {"statistics": self._returns.state_dict(), "last": self.last, "warming": self._warming}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self._returns.load_state_dict(state["statistics"])
        self.last, self._warming = state["last"], state.get("warming", 0)  # earlier versions had none


class RNDBonus(Bonus):
    """Random network distillation: the error with which a network predicts the outputs of a fixed random one.

    Observations are normalised by their running mean and variance and clipped to ±5. Both networks have the trunk that
    fits the observation; the predictor has two more layers, and takes a step of Adam on every step of the environments.
    See "Exploration by Random Network Distillation", Burda et al., 2018.

    Args:
        observation_space: of one environment.
        scale: factor of the bonus, above 0.
        head: ``shared`` or ``own``; see :class:`Bonus`.
        num_features: outputs of the random network.
        num_cells: units of each hidden layer.
        lr: Adam's step size.
        warm_up: frames that the predictor and the statistics of observations only learn from: the first errors are many
            times larger than any later one, so that σ would be theirs for long (section 2.4 has random steps for it).
        gamma: γ of the sums of novelty.
        num_envs: E.
        seed: of both networks.

    Raises:
        ValueError: a number out of range, or an observation without an encoder.

    >>> bonus = RNDBonus(spaces.Box(0, 1, (3,)), scale=1.0, gamma=0.99, num_envs=2, seed=0)
    >>> seen = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])
    >>> first = bonus.novelty(seen).mean()
    >>> for _ in range(50):
    ...     seen_often = bonus.novelty(seen).mean()
    >>> bool(seen_often < first)
    True
    """

    learns = True

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        *,
        scale: float,
        head: Literal["shared", "own"] = "shared",
        num_features: int = 128,
        num_cells: int = 256,
        lr: float = 1e-4,
        warm_up: int = 0,
        gamma: float,
        num_envs: int,
        seed: int,
    ) -> None:
        super().__init__(scale=scale, head=head, gamma=gamma, num_envs=num_envs, warm_up=warm_up)
        if min(num_features, num_cells) < 1 or not 0 < lr < np.inf:
            numbers = f"num_features={num_features}, num_cells={num_cells}, lr={lr}"
            raise ValueError(f"expected num_features and num_cells of at least 1, and lr above 0, got {numbers}")
        with globally_seeded(derive_seed(seed, "networks")):
            target, predictor = _trunk(observation_space, num_cells), _trunk(observation_space, num_cells)
            self.target = nn.Sequential(target, nn.Linear(num_cells, num_features)).requires_grad_(False)
            hidden = [nn.Linear(num_cells, num_cells), nn.ReLU()]
            self.predictor = nn.Sequential(predictor, *hidden, nn.Linear(num_cells, num_features))
        self.normalize = _Normalize(observation_space)
        self._optimizer = torch.optim.Adam(self.predictor.parameters(), lr=lr)

    @torch.enable_grad()
    def novelty(self, observation: Tensor | TensorDictBase) -> NDArray[np.float64]:
        seen = self.normalize(observation)
        error = mse_loss(self.predictor(seen), self.target(seen), reduction="none").mean(-1)  # [k]
        self._optimizer.zero_grad()
        error.mean().backward()
        self._optimizer.step()
        return error.detach().double().numpy()

    def state_dict(self) -> dict[str, Any]:
        """The statistics of novelty and of observations, both networks, and the optimizer."""
        parts = {"normalize": self.normalize, "target": self.target, "predictor": self.predictor}
        states = {name: part.state_dict() for name, part in parts.items()}
        return super().state_dict() | states | {"optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for name, part in (("normalize", self.normalize), ("target", self.target), ("predictor", self.predictor)):
            part.load_state_dict(state[name])
        self._optimizer.load_state_dict(state["optimizer"])


class _Normalize(nn.Module):
    """Observations with their numbers normalised and clipped; those of a Box all, of others as a network's are."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        super().__init__()
        is_box = isinstance(space, spaces.Box)
        shapes = {(): space.shape} if is_box else make_encoder(space).shapes
        self._paths = list(shapes)
        self.norms = nn.ModuleList(RunningNorm(shape, limit=CLIPPED) for shape in shapes.values())

    @torch.no_grad()
    def forward(self, observation: Any) -> Any:
        """Add observations ``[k, …]`` to the statistics, and normalise them."""
        if isinstance(observation, Tensor):
            return _normalized(self.norms[0], observation) if self._paths == [()] else observation
        seen = observation.copy()
        for path, norm in zip(self._paths, self.norms, strict=True):
            seen.set(path, _normalized(norm, seen.get(path)))
        return seen


def _normalized(norm: Any, entry: Tensor) -> Tensor:
    norm.update(entry)
    return norm(entry)


def _trunk(space: spaces.Space[Any], width: int) -> Trunk:
    """The trunk that fits normalised observations, with this many features."""
    if not isinstance(space, spaces.Box):
        encoder = make_encoder(space)
        return EncodedTrunk(encoder, MLPTrunk((encoder.num_features,), num_cells=[width]))
    option, changes, _ = fitting_trunk(space)
    if option == "mlp":
        return MLPTrunk(space.shape, num_cells=[width, width])
    small = {} if option == "nature" else {"channels": [16, 32], "kernels": [3, 3], "strides": [1, 1]}
    return ConvTrunk(space.shape, **{**small, "num_features": width, "byte_divisor": 1.0, **changes})


class CountBonus(Bonus):
    """``1 / √n`` after the n-th visit of an observation.

    See "Unifying Count-Based Exploration and Intrinsic Motivation", Bellemare et al., 2016. With ``bits``, observations
    are counted by the signs of that many random projections of the normalised numbers, so that similar ones count
    together: "#Exploration", Tang et al., 2017, section 2.2 (SimHash). A count takes some 100 bytes per observation.

    Args:
        observation_space: of one environment.
        scale: factor of the bonus, above 0.
        head: ``shared`` or ``own``; see :class:`Bonus`.
        bits: random projections; None counts equal observations.
        gamma: γ of the sums of novelty.
        num_envs: E.
        seed: of the projections.

    Raises:
        ValueError: a number out of range.

    >>> bonus = CountBonus(spaces.Discrete(9), scale=1.0, gamma=0.99, num_envs=3, seed=0)
    >>> bonus.novelty(torch.tensor([4, 4, 5]))
    array([1.        , 0.70710678, 1.        ])
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        *,
        scale: float,
        head: Literal["shared", "own"] = "shared",
        bits: int | None = None,
        gamma: float,
        num_envs: int,
        seed: int,
    ) -> None:
        super().__init__(scale=scale, head=head, gamma=gamma, num_envs=num_envs)
        if bits is not None and not 1 <= bits <= 256:
            raise ValueError(f"expected bits from 1 to 256, or null, got {bits}")
        self.counts: dict[int, int] = {}
        self._projection: Tensor | None = None
        if bits is not None:
            generator = torch.Generator().manual_seed(derive_seed(seed, "projections"))
            is_box = isinstance(observation_space, spaces.Box)
            self._encoder = FlatEncoder(observation_space.shape) if is_box else make_encoder(observation_space)
            if any(True for _ in self._encoder.parameters()):
                raise ValueError("bits cannot project images inside a Dict or Tuple; set bits=null")
            self._norm = RunningNorm((self._encoder.num_features,), limit=CLIPPED)
            self._projection = torch.randn(self._encoder.num_features, bits, generator=generator)

    @torch.no_grad()
    def novelty(self, observation: Tensor | TensorDictBase) -> NDArray[np.float64]:
        counts = []
        for row in self._rows(observation):
            key = int.from_bytes(blake2b(row, digest_size=8).digest(), "big", signed=True)
            self.counts[key] = self.counts.get(key, 0) + 1
            counts.append(self.counts[key])
        return 1 / np.sqrt(np.array(counts, np.float64))

    def _rows(self, observation: Tensor | TensorDictBase) -> list[bytes]:
        """What is counted, one entry for each observation."""
        if self._projection is not None:
            features = self._encoder(observation)
            self._norm.update(features)
            signs = self._norm(features) @ self._projection > 0  # [k, bits]
            return [row.numpy().tobytes() for row in signs.unbind()]
        leaves: list[Tensor] = [observation] if isinstance(observation, Tensor) else _leaves(observation)
        return [b"|".join(leaf[row].numpy().tobytes() for leaf in leaves) for row in range(len(leaves[0]))]

    def state_dict(self) -> dict[str, Any]:
        """The statistics of novelty, the hashes and their counts, and the statistics of observations."""
        pairs = torch.tensor([*self.counts.items()], dtype=torch.int64).reshape(-1, 2)
        norm = None if self._projection is None else self._norm.state_dict()
        return super().state_dict() | {"counts": pairs, "norm": norm}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.counts = dict(state["counts"].tolist())
        if self._projection is not None:
            self._norm.load_state_dict(state["norm"])


def _leaves(observation: TensorDictBase) -> list[Tensor]:
    return [leaf for _, leaf in sorted(observation.items(True, True), key=lambda item: str(item[0]))]  # pyright: ignore
