"""Building the parts of a config one after another: which part is given what, and every fault on the way."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from qframe.actions import ActionSpace, make_action_space
from qframe.compiled.cuda_graph import check_capturable
from qframe.compiled.update import autocast_type
from qframe.config.auto import pick_device, resolved
from qframe.config.combinations import refused
from qframe.config.parts import Parts
from qframe.config.signature import Checker
from qframe.config.targets import instantiate
from qframe.envs import Envs, GymnasiumEnvs, derive_seed
from qframe.errors import ConfigError, Fault
from qframe.networks import EncodedTrunk, Trunk, make_encoder
from qframe.networks.encoders import check_box
from qframe.objectives import DQNLoss
from qframe.optimizer.pure_steps import pure_step
from qframe.training.runner import check_numbers
from qframe.training.schedule import Schedule

PROVIDED: dict[str, frozenset[str]] = {
    "action_space": frozenset({"space"}),
    "network": frozenset({"trunk", "make_head", "spec"}),
    "trunk": frozenset({"observation_shape", "observation_dtype"}),
    "head": frozenset({"features", "num_actions"}),
    "loss": frozenset({"value_network", "action_space", "joint", "gamma", "seed"}),
    "target": frozenset({"loss"}),
    "replay": frozenset({"gamma", "num_envs", "seed"}),
    "exploration": frozenset({"spec", "num_envs", "num_members", "seed"}),
    "reward": frozenset({"gamma", "num_envs"}),
    "collector": frozenset(
        {"envs", "network", "exploration", "action_space", "reward", "returns", "device", "stores_probability"}
    ),
    "optimizer": frozenset({"parameters"}),
    "optimizer.algorithm": frozenset({"params", "lr"}),
    "runner": frozenset(
        {
            "collector", "learner", "replay", "evaluation", "checkpoints", "logger", "folder", "total_frames", "seed",
            "report", "started",
        }
    ),
    "evaluation": frozenset({"envs", "action_space", "seed"}),
}
"""Constructor parameters that the builder fills in, by place: they do not stand in a config."""


STAND_INS = {"seed": 0, "device": "cpu", "gamma": 0.5, "total_frames": 1_000_000_000}
"""Sound settings in place of faulty ones, so that the faults of the parts can be found as well."""


class Assembly:
    """Builds parts one after another and keeps the faults, so that all are told at once.

    Args:
        config: the whole config.
        broken: groups and settings that are known to have faults: they, and what depends on them, are passed over.
    """

    def __init__(self, config: Mapping[str, Any], broken: AbstractSet[str] = frozenset()) -> None:
        self.config = resolved({**config, **{key: STAND_INS[key] for key in STAND_INS.keys() & broken}})[0]
        self.faults: list[Fault] = []
        self.device = pick_device(self.config["device"])
        self._broken = broken

    def part(self, group: str, *ingredients: Any, node: Mapping[str, Any] | None = None, **provided: Any) -> Any:
        """The part that a group describes; None where it is refused or an ingredient was."""
        is_broken = group.split(".")[0] in self._broken
        if is_broken or any(ingredient is None for ingredient in (*ingredients, *provided.values())):
            return None
        try:
            return instantiate(node or self.config[group], *ingredients, where=group, **provided)
        except ConfigError as error:
            self.faults += error.faults
            return None

    def parts(self) -> Parts:
        """Every part that needs no run folder. One that could not be built, or lacks an ingredient, is None."""
        config, seed = self.config, self.config["seed"]
        envs = self.part("env")
        action_space = self.part("action_space", envs and envs.action_space)
        loss = self._loss(envs, action_space)
        # Where a part is refused, those that need it are tried on a stand-in: their own faults show at once.
        any_envs, any_space, any_loss = envs or _some_envs(), action_space or _some_space(), loss or self._some_loss()
        replay = self.part(
            "replay",
            gamma=config["gamma"],
            num_envs=any_envs.num_envs,
            seed=derive_seed(seed, "replay"),
        )
        parts = Parts(
            envs=envs,
            action_space=action_space,
            loss=loss,  # pyright: ignore[reportArgumentType]  # None comes with a fault, and is not given out
            target_update=self.part("target", any_loss),
            replay=replay,
            exploration=self.part(
                "exploration",
                any_space.spec,
                num_envs=any_envs.num_envs,
                num_members=getattr(loss and loss.value_network, "num_members", 1),
                seed=derive_seed(seed, "exploration"),
            ),
            reward=self.part("reward", gamma=config["gamma"], num_envs=any_envs.num_envs),
            optimizer=self.part("optimizer", any_loss and list(any_loss.value_network.parameters())),
            evaluation=self.part(
                "evaluation", self._evaluated(envs) or any_envs, any_space, node=self._evaluation(), seed=seed
            ),
            checkpoints=self.part("checkpoint"),
            logger=self.part("logger"),
        )
        self._check_runner()
        self._check_update(parts.optimizer)
        if not self.faults and not self._broken:
            self.faults += refused(parts, config)
        return parts

    def _check_runner(self) -> None:
        """The runner is built last, with a run's folder: its numbers are checked with the other parts."""
        if "runner" in self._broken:
            return
        if self.config["runner"].get("stop"):
            self.part("runner.stop", node=self.config["runner"]["stop"])
        numbers = {name: self.config["runner"][name] for name in ("learning_starts", "every", "updates")}
        try:
            check_numbers(self.config["total_frames"], threads=self.config["runner"]["threads"])
            Schedule(**numbers, intervals={})
        except ValueError as error:
            self.faults.append(Fault("runner", str(error)))

    def _check_update(self, optimizer: Any) -> None:
        """The learner is built last as well: whether it can compile, and compute in bfloat16."""
        if self.config.get("compile") and optimizer is not None:
            self._try("compile", lambda: pure_step(optimizer.wrapped))
        if self.config.get("compile") == "cuda_graph":
            self._try("compile", lambda: check_capturable(self.device))
        if self.config.get("autocast") and "autocast" not in self._broken:
            self._try("autocast", lambda: autocast_type(self.device))

    def _try(self, where: str, act: Callable[[], Any]) -> None:
        try:
            act()
        except ValueError as error:
            self.faults.append(Fault(where, str(error)))

    def _loss(self, envs: Envs | None, action_space: ActionSpace | None) -> DQNLoss | None:
        """The network, seeded on its own, inside its loss."""
        if envs is None or action_space is None or {"network", "trunk", "head"} & self._broken:
            if "head" not in self._broken:
                self.part("head", 1, 2)
            return None
        config = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(config["seed"], "network"))
            network = self.part("network", self._trunk(envs), self._make_head, spec=action_space.spec)
        if network is None:
            return None
        loss = self.part(
            "loss",
            network.to(self.device),
            action_space=action_space.spec,
            joint=action_space.joint,
            gamma=config["gamma"],
            seed=derive_seed(config["seed"], "noise"),
        )
        estimator = self.part("estimator")
        if loss is None or estimator is None:
            return None
        try:
            loss.make_value_estimator(estimator)
        except ValueError as error:
            self.faults.append(Fault("estimator", str(error)))
        return loss.to(self.device)

    def _some_loss(self) -> DQNLoss | None:
        """A loss with or without a target network, as the config says."""
        if "loss" in self._broken:
            return None
        delay_value = bool(self.config["loss"].get("delay_value"))
        return DQNLoss(nn.Linear(1, 2), action_space="categorical", delay_value=delay_value, gamma=0.5)

    def _evaluated(self, envs: Envs | None) -> Envs | None:
        """The environments as evaluation changes them."""
        changes = {} if "evaluation" in self._broken else self.config["evaluation"].get("env") or {}
        if not changes or envs is None:
            return envs
        checker = Checker(PROVIDED)
        node = checker.node({**self.config["env"], **changes}, "evaluation.env")
        if checker.faults:
            self.faults += [fault for fault in checker.faults if fault not in self.faults]
            return None
        changed = self.part("evaluation.env", node=node)
        if changed is None or _spaces(changed) == _spaces(envs):
            return changed
        message = f"expected environments of the same spaces as in training, got {_spaces(changed)}"
        self.faults.append(Fault("evaluation.env", message))
        return None

    def _evaluation(self) -> dict[str, Any]:
        """Evaluation's config, in which changes of the environments are for the record."""
        node = self.config["evaluation"]
        return {**node, "env": _as_words(node.get("env"))} if isinstance(node, Mapping) else node

    def _make_head(self, features: int, num_actions: int) -> Any:
        return instantiate(self.config["head"], features, num_actions, where="head")

    def _trunk(self, envs: Envs) -> Trunk | None:
        """The configured trunk over Box observations; over their encodings where they are something else."""
        space = envs.observation_space
        try:
            if isinstance(space, spaces.Box):
                check_box(space)
                return self.part("trunk", space.shape, observation_dtype=_dtype(space))
            encoder = make_encoder(space)
        except ValueError as error:
            self.faults.append(Fault("env", str(error)))
            return None
        trunk = self.part("trunk", (encoder.num_features,), observation_dtype=torch.float32)
        return None if trunk is None else EncodedTrunk(encoder, trunk)


def _spaces(envs: Envs) -> str:
    return f"{envs.observation_space} and {envs.action_space}"


def _dtype(space: spaces.Box) -> torch.dtype:
    """What a trunk over a single array takes it for: floats, bytes up to 255, or other integers."""
    if np.issubdtype(space.dtype, np.floating):
        return torch.float32
    return torch.uint8 if space.dtype == np.uint8 and (space.high == 255).all() else torch.int64


def _some_envs() -> GymnasiumEnvs:
    return GymnasiumEnvs("CartPole-v1", num_envs=1, vectorization="sync")


def _some_space() -> ActionSpace:
    return make_action_space(spaces.Discrete(2), encoding="auto")


def _as_words(value: Any) -> Any:
    """What was configured, with the nodes in it as text.

    >>> _as_words({"wrappers": [{"_target_": "gymnasium.wrappers.TimeLimit", "max_episode_steps": 5}]})
    {'wrappers': ['TimeLimit(max_episode_steps=5)']}
    """
    if isinstance(value, Mapping) and "_target_" in value:
        given = ", ".join(f"{key}={_as_words(item)!r}" for key, item in value.items() if key != "_target_")
        return f"{str(value['_target_']).rpartition('.')[2]}({given})"
    if isinstance(value, Mapping):
        return {key: _as_words(item) for key, item in value.items()}
    return [_as_words(item) for item in value] if isinstance(value, list | tuple) else value
