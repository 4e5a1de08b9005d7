"""From a checked config to a runner: which part is given what, and which combinations are refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from gymnasium import spaces
from omegaconf import DictConfig, OmegaConf

from qframe.config.errors import ConfigError, Fault
from qframe.config.targets import instantiate
from qframe.data import ActionSpace
from qframe.data.replay import ReplayBuffer
from qframe.envs import GymnasiumEnvs, derive_seed
from qframe.objectives import DQNLoss
from qframe.runner import Learner, Runner
from qframe.runner.progress import Report, console_report
from qframe.runner.run_folder import RunFolder

PROVIDED: dict[str, frozenset[str]] = {
    "action_space": frozenset({"space"}),
    "network": frozenset({"make_head", "spec"}),
    "network.trunk": frozenset({"observation_shape"}),
    "head": frozenset({"features", "num_actions"}),
    "loss": frozenset({"value_network", "action_space", "gamma", "seed"}),
    "target": frozenset({"loss"}),
    "replay": frozenset({"gamma", "num_envs", "seed"}),
    "exploration": frozenset({"spec", "seed"}),
    "collector": frozenset({"envs", "network", "exploration", "action_space", "device"}),
    "optimizer": frozenset({"parameters"}),
    "optimizer.algorithm": frozenset({"params", "lr"}),
    "runner": frozenset(
        {
            "collector", "learner", "replay", "evaluation", "checkpoints", "logger", "folder", "total_frames", "seed",
            "report", "hyperparameters", "started",
        }
    ),
    "evaluation": frozenset({"envs", "action_space", "seed"}),
}
"""Constructor parameters that the builder fills in, by place: they do not stand in a config."""


class Parts(NamedTuple):
    """What is built before a run exists. A part that could not be built, or lacks an ingredient, is None."""

    envs: GymnasiumEnvs
    action_space: ActionSpace
    loss: DQNLoss
    target_update: Any
    replay: ReplayBuffer
    exploration: Any
    optimizer: Any
    evaluation: Any
    checkpoints: Any
    logger: Any


class _Assembly:
    """Builds parts one after another and keeps the faults, so that all are told at once."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.faults: list[Fault] = []
        self.device = pick_device(config["device"])

    def part(self, group: str, *ingredients: Any, node: Mapping[str, Any] | None = None, **provided: Any) -> Any:
        """The part that a group describes; None where it is refused or an ingredient was."""
        if any(ingredient is None for ingredient in (*ingredients, *provided.values())):
            return None
        try:
            return instantiate(node or self.config[group], *ingredients, where=group, **provided)
        except ConfigError as error:
            self.faults += error.faults
            return None

    def parts(self) -> Parts:
        """Every part that needs no run folder."""
        config, seed = self.config, self.config["seed"]
        envs = self.part("env")
        action_space = self.part("action_space", envs and envs.action_space)
        loss = self._loss(envs, action_space)
        replay = self.part(
            "replay",
            gamma=config["gamma"],
            num_envs=envs and envs.num_envs,
            seed=derive_seed(seed, "replay"),
        )
        parts = Parts(
            envs=envs,
            action_space=action_space,
            loss=loss,
            target_update=self.part("target", loss),
            replay=replay,
            exploration=self.part(
                "exploration", action_space and action_space.spec, seed=derive_seed(seed, "exploration")
            ),
            optimizer=self.part("optimizer", loss and list(loss.value_network.parameters())),
            evaluation=self.part("evaluation", envs, action_space, seed=seed),
            checkpoints=self.part("checkpoint"),
            logger=self.part("logger"),
        )
        self._refuse_combinations(parts)
        return parts

    def _loss(self, envs: GymnasiumEnvs | None, action_space: ActionSpace | None) -> DQNLoss | None:
        """The network, seeded on its own, inside its loss."""
        if envs is None or action_space is None:
            return None
        config = self.config
        shape = self._observation_shape(envs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(config["seed"], "network"))
            trunk = self.part("network.trunk", shape, node=config["network"].get("trunk", {}))
            rest = {key: value for key, value in config["network"].items() if key != "trunk"}
            network = self.part("network", trunk, self._make_head, node=rest, spec=action_space.spec)
        if network is None:
            return None
        loss = self.part(
            "loss",
            network.to(self.device),
            action_space=action_space.spec,
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

    def _make_head(self, features: int, num_actions: int) -> Any:
        return instantiate(self.config["head"], features, num_actions, where="head")

    def _observation_shape(self, envs: GymnasiumEnvs) -> tuple[int, ...] | None:
        space = envs.observation_space
        if isinstance(space, spaces.Box):
            return space.shape
        self.faults.append(
            Fault("env", f"expected an environment with Box observations, got {space} from {envs.id}; wrap it to give an array")
        )
        return None

    def _refuse_combinations(self, parts: Parts) -> None:
        runner, total = self.config["runner"], self.config["total_frames"]
        starts = runner.get("learning_starts", 0)
        if starts >= total:
            self._refuse("runner.learning_starts", f"expected fewer than total_frames={total}, got {starts}: nothing would be learnt")
        if parts.loss is None or parts.replay is None or parts.envs is None:
            return
        over_time, slice_length = "time" in parts.loss.estimator.requires, getattr(parts.replay, "slice_length", None)
        name, n_step = type(parts.loss.estimator).__name__, getattr(parts.replay, "n_step", 1)
        if over_time and n_step > 1:
            self._refuse("replay.n_step", f"expected 1 with {name}, which weighs all horizons itself, got {n_step}; use replay=slices")
        elif over_time and slice_length is None:
            self._refuse("replay", f"expected replay=slices for {name}, which needs a time dimension, got {type(parts.replay).__name__}")
        if slice_length is not None and starts < (needed := slice_length * parts.envs.num_envs):
            self._refuse("runner.learning_starts", f"expected at least {needed} frames, so that every environment holds a slice of {slice_length}, got {starts}")

    def _refuse(self, where: str, message: str) -> None:
        self.faults.append(Fault(where, message))


def pick_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is CUDA where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def check(config: Mapping[str, Any]) -> list[Fault]:
    """Everything that would keep this config from running, found by building all its parts."""
    assembly = _Assembly(_plain(config))
    assembly.parts()
    return assembly.faults


def describe(config: Mapping[str, Any]) -> dict[str, str]:
    """What would be trained, in words; of a config without faults."""
    assembly = _Assembly(_plain(config))
    parts = assembly.parts()
    loss = parts.loss
    return {
        "environment": f"{parts.envs.id} × {parts.envs.num_envs} ({parts.envs.vectorization})",
        "observation": str(parts.envs.observation_space),
        "action": f"{parts.envs.action_space} as {parts.action_space.spec}",
        "network": f"{type(loss.value_network).__name__}, {sum(p.numel() for p in loss.value_network.parameters()):,} parameters",
        "head": f"{type(loss.head).__name__}, {loss.head.num_outputs} per action",
        "estimator": f"{type(loss.estimator).__name__}, gamma {loss.gamma}",
        "loss": f"{type(loss).__name__}, {'double, ' if loss.double_dqn else ''}{type(parts.target_update).__name__}",
        "replay": f"{type(parts.replay).__name__}, {parts.replay.capacity:,} transitions, batches of {parts.replay.batch_size}",
        "device": str(assembly.device),
        "frames": f"{assembly.config['total_frames']:,}",
    }


def build(config: Mapping[str, Any], run_dir: Path, *, report: Report | None = None, started: float | None = None) -> Runner:
    """The runner of a config, its environments started and its folder described.

    Args:
        config: checked and resolved.
        run_dir: the run's folder; made now.
        report: what is shown; None is standard output.
        started: when the process or job started, on ``time.monotonic``'s clock.

    Raises:
        ConfigError: every reason why this config cannot run; then there is no folder.
    """
    plain = _plain(config)
    assembly = _Assembly(plain)
    parts = assembly.parts()
    if assembly.faults:
        raise ConfigError(assembly.faults)
    seed, device = plain["seed"], assembly.device
    collector = instantiate(
        plain["collector"],
        parts.envs.make(derive_seed(seed, "train")),
        parts.loss.value_network,
        where="collector",
        exploration=parts.exploration,
        action_space=parts.action_space,
        device=device,
    )
    learner = Learner(
        parts.loss,
        parts.replay,
        optimizer=parts.optimizer,
        target_update=parts.target_update,
        action_space=parts.action_space,
        device=device,
    )
    folder = RunFolder(run_dir)
    runner = instantiate(
        plain["runner"],
        where="runner",
        collector=collector,
        learner=learner,
        replay=parts.replay,
        evaluation=parts.evaluation,
        checkpoints=parts.checkpoints,
        logger=parts.logger,
        folder=folder,
        total_frames=plain["total_frames"],
        seed=seed,
        report=report or console_report(),
        hyperparameters=_flat(plain),
        started=started,
    )
    run_dir.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(plain), folder.config)
    folder.write_manifest({"device": str(device), "action_space": parts.action_space.spec.action_space})
    return cast(Runner, runner)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(config, DictConfig):
        return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    return dict(config)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots, as the command line writes them."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value) if isinstance(value, list) else value
    return flat
