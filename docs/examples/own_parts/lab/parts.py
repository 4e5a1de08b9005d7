"""One small class for each extension point. The base classes' docstrings are the contracts."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor, nn

from qframe.estimators.protocol import Batch, Bootstrap, Values
from qframe.exploration import Exploration
from qframe.functional.backup import Backup
from qframe.heads import ScalarHead
from qframe.networks import QNet, Trunk
from qframe.objectives import DQNLoss
from qframe.replay import ProportionalPriorities
from qframe.training import Callback, EvaluationResult, TrainingRun


class Walk(gymnasium.Env):
    """env: any Gymnasium environment; ``env.kwargs`` are its constructor's arguments. All draws come from np_random."""

    def __init__(self, length: int = 6) -> None:
        self.length = length
        self.observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(self.length // 2))
        return self._observation(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place = max(0, self.place + (1 if action else -1))
        return self._observation(), -0.1, self.place == self.length, False, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.place / self.length, 1.0], np.float32)


class Negated(gymnasium.ObservationWrapper):
    """env.wrappers: environment → environment, with its arguments after the environment."""

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return 1.0 - observation


class Sines(nn.Module):
    """trunk: a module observation ``[*B, …]`` → features ``[*B, H]``; its first argument is an observation's shape."""

    def __init__(self, shape: tuple[int, ...], width: int = 32) -> None:
        super().__init__()
        self.linear = nn.Linear(shape[0], width)

    def forward(self, observation: Tensor) -> Tensor:
        return self.linear(observation).sin()


class Scaled(QNet):
    """network: takes a trunk, ``make_head`` and ``action_space``; ``predict`` gives ``[*B, …]`` → ``[*B, A, N]``."""

    def __init__(self, trunk: Trunk, make_head: Any, *, action_space: Any, scale: float = 2.0) -> None:
        super().__init__(trunk, make_head, action_space=action_space)
        self.scale = scale

    def predict(self, observation: Any, taus: Tensor | None = None) -> Any:
        prediction = super().predict(observation, taus)
        return prediction._replace(out=self.scale * prediction.out)


class LogCosh(ScalarHead):
    """head: owns the last layer, features ``[*B, H]`` → ``[*B, A, N]``, and the loss ``[*B]`` against its target."""

    def loss(self, prediction: Any, target: Tensor) -> tuple[Tensor, Tensor]:
        error = target - prediction.out.squeeze(-1)
        return torch.cosh(error.clamp(-10, 10)).log(), error.detach()


class OneStep:
    """estimator: which bootstraps a transition has; here the values of the target network at its own best action."""

    requires: frozenset[str] = frozenset()

    def __call__(self, batch: Batch, values: Values) -> Bootstrap:
        return Bootstrap(values.target.argmax(-1), Backup(batch.reward, batch.discount))


class Summed(DQNLoss):
    """loss: a tensordict of transitions → a tensordict with ``loss`` and metrics."""

    def forward(self, tensordict: Any = None, **given: Any) -> Any:
        return super().forward(tensordict, **given)


class Alternating(Exploration):
    """exploration: greedy indices ``[E]`` → those to take, drawn from a generator of its own, which it saves."""

    has_probability = False

    def __init__(self, action_space: Any, *, num_envs: int, share: float = 0.3, seed: int = 0) -> None:
        self.num_actions, self.share = action_space.num_actions, share
        self.generator = torch.Generator().manual_seed(seed)

    def explore(self, action: Tensor, mask: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        explores = torch.rand(action.shape, generator=self.generator) < self.share
        return torch.where(explores, (action + 1) % self.num_actions, action)

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.generator.set_state(state_dict["generator"])


class Capped(ProportionalPriorities):
    """priorities: how often a row is drawn, from its |δ|."""

    def update(self, row: np.ndarray, td_error: np.ndarray) -> None:
        super().update(row, np.minimum(td_error, 1.0))


class SignSGD(torch.optim.Optimizer):
    """optimizer.algorithm: ``(parameters, lr=…)`` → an optimizer of torch whose step needs no closure."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(group["lr"] * parameter.grad.sign())


class Lowest(Callback):
    """runner.callbacks: called at start, step, evaluation, save and end; keeps the lowest reward of the run."""

    def __init__(self) -> None:
        self.lowest = float("inf")

    def step(self, run: TrainingRun, transitions: TensorDict) -> None:
        self.lowest = min(self.lowest, transitions["next", "reward"].min().item())

    def evaluation(self, run: TrainingRun, result: EvaluationResult) -> None:
        run.log({"lab/lowest_reward": self.lowest})

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.lowest = state["lowest"]


class TextFile:
    """logger.also: a record besides ``metrics.jsonl``; only ``open`` may stop a run."""

    def __init__(self, name: str = "scores.txt") -> None:
        self.name = name

    def open(self, opening: Any) -> None:
        self.path = opening.folder / self.name

    def log(self, frames: int, values: Mapping[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(f"{frames} {values.get('train/episode_return')}\n")

    def log_network(self, frames: int, network: Any) -> None: ...

    def finish(self, summary: Mapping[str, Any]) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...
