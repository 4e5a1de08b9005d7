"""The builder: turns a composed config into its parts, each built once, and the parts into a runner."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from gymnasium import spaces
from omegaconf import DictConfig, OmegaConf
from torch import nn

from qframe.actions import ActionSpace, make_action_space
from qframe.compiled.cuda_graph import check_capturable
from qframe.compiled.update import autocast_type
from qframe.config.advice import config_warnings
from qframe.config.auto import Picked, for_images, pick_device, resolved
from qframe.config.checker import Checker
from qframe.config.combinations import refused
from qframe.config.contracts import check_contract, check_network, check_trunk
from qframe.config.hydra_app import conf_dir
from qframe.config.memory_prediction import memory_line
from qframe.config.parameters import parameters
from qframe.config.parts import Parts
from qframe.config.schema import GROUPS, NO_INIT, NO_MEMORY, PROVIDED, SETTINGS
from qframe.config.targets import instantiate, resolve
from qframe.config.trained_weights import start_from
from qframe.envs import Envs, GymnasiumEnvs, derive_seed
from qframe.errors import ConfigError, Fault, UserError
from qframe.loggers.console import Report, console_report
from qframe.machine.allocator import share_heap
from qframe.machine.determinism import only_deterministic
from qframe.machine.generators import globally_seeded, seed_globally
from qframe.networks import EncodedTrunk, Memory, Trunk, make_encoder
from qframe.networks.encoders import check_box, has_images
from qframe.networks.observation_scaling import byte_divisor
from qframe.networks.recurrent_trunk import recurrent_trunk
from qframe.networks.trunks import fitting_trunk
from qframe.objectives import DQNLoss
from qframe.optimizer.pure_steps import pure_step
from qframe.runs.folder import UNFINISHED_CONFIG, RunFolder
from qframe.training import Learner, Runner
from qframe.training.runner import check_numbers
from qframe.training.schedule import Schedule
from qframe.training.timing import Profile

STAND_INS = {"seed": 0, "device": "cpu", "gamma": 0.5, "total_frames": 1_000_000_000, "init": NO_INIT}
"""Valid settings in place of faulty ones, so that faults of the parts are found as well."""
TRAINING_ONLY = {
    "num_envs": "has no effect; set evaluation.num_envs",
    "terminal_on_life_loss": "has no effect: an evaluated episode ends with the game",
}
"""Keys of environments that evaluation does not read."""


class Assembly:
    """The parts of a config, each built once, with the faults of all of them.

    Args:
        config: composed.
        found: the faults found so far. The parts with faults, and those that need them, are not built; with an unknown
            preset or key, which could have meant any part, none is.
        trains: whether the machine must be able to train them; otherwise only to act.
        builds: whether the parts are built at once; otherwise by ``build_parts``.
        is_new: whether the run starts, from the weights that ``init`` names if any, and does not resume.

    Attributes:
        config: plain values, with a value in place of every ``auto``.
        picked: the values that ``auto`` has picked, and why.
        device: the network's.
        parts: complete if there are no faults.
        callbacks: of the runner.
        initial: a note on the weights that ``init`` names; None for new weights.
        faults: ``found``, and those found while building.
    """

    parts: Parts

    def __init__(
        self, config: Mapping[str, Any], found: Sequence[Fault] = (), *, trains: bool = True, builds: bool = True,
        is_new: bool = True,
    ) -> None:  # fmt: skip
        self.faults, self._trains, self._is_new = list(found), trains, is_new
        self.initial: str | None = None
        self._broken = {re.split(r"[.\[]", fault.where)[0] for fault in found}
        sound = {key: STAND_INS[key] for key in STAND_INS.keys() & self._broken}
        settings = {**_plain(config), **sound}
        self._envs: list[Any] = []  # built already, to see the observations
        self.callbacks: list[Any] = []
        trunk = self._pick_trunk(settings)
        self.config, self.picked = resolved(settings)
        self.picked |= trunk
        if builds:
            self.build_parts()

    def build_parts(self) -> None:
        """Build the parts, and add the faults found."""
        if self._broken <= {*SETTINGS, *GROUPS}:
            self.device = pick_device(self.config["device"])
            self.parts = self._parts()

    def _pick_trunk(self, settings: dict[str, Any]) -> Picked:
        """Replace ``trunk=auto`` in the settings by the trunk that fits the observations, with its own keys kept."""
        node = settings.get("trunk")
        if not isinstance(node, Mapping) or node.get("_target_") != "auto" or "trunk" in self._broken:
            return {}
        self.config, env = settings, settings.get("env")
        if isinstance(env, Mapping) and env.get("num_envs") == "auto":
            envs = self.part("env", node={**env, "num_envs": 1})
        else:
            envs = self.part("env")
            self._envs.append(envs)
        space = spaces.Box(0, 1) if envs is None else envs.observation_space
        option, changes, reason = fitting_trunk(space)
        own = {key: value for key, value in node.items() if key != "_target_"}
        checker = Checker(PROVIDED)
        written: Any = OmegaConf.to_container(OmegaConf.load(conf_dir() / "trunk" / f"{option}.yaml"))
        picked = {**written, **changes, **own}
        settings["trunk"] = checker.node(picked, "trunk")
        self.faults += checker.faults
        self._broken |= {"trunk"} if checker.faults else set()
        described = "".join(f", {key}={value}" for key, value in changes.items())
        return {} if envs is None else {"trunk": (option, f"{reason}{described}")}

    def check_films(self) -> None:
        """Add a fault if videos are to be recorded and the environments cannot be rendered."""
        if self.faults or not self.parts.evaluation.video:
            return
        try:
            self.parts.evaluation.check_picture()
        except ValueError as error:
            self.faults.append(Fault("evaluation.video", str(error)))

    def checked(self) -> Self:
        """This assembly, if a new run could be made of it.

        Raises:
            ConfigError: with all faults, as :func:`check` finds them.
        """
        self.check_films()
        return self.faultless()

    def faultless(self) -> Self:
        """This assembly, if its parts are complete.

        Raises:
            ConfigError: with all faults found so far.
        """
        if self.faults:
            raise ConfigError(self.faults)
        return self

    def part(self, group: str, *ingredients: Any, node: Mapping[str, Any] | None = None, **provided: Any) -> Any:
        """The part that a group describes; None if it or one of its ingredients is refused."""
        is_broken = group.split(".")[0] in self._broken
        if is_broken or any(ingredient is None for ingredient in (*ingredients, *provided.values())):
            return None
        try:
            part = instantiate(node or self.config[group], *ingredients, where=group, **provided)
            check_contract(group, part)
            return part
        except ConfigError as error:
            self.faults += error.faults
            return None

    def _parts(self) -> Parts:
        """Every part that needs no run folder. One that could not be built, or lacks an ingredient, is None."""
        config, seed = self.config, self.config["seed"]
        envs = self._envs[0] if self._envs else self.part("env")
        self._pick_for_images(envs)
        action_space = self.part("action_space", envs and envs.action_space)
        loss = self._loss(envs, action_space)
        # If a part is refused, those that need it are built on a stand-in, so that their own faults show as well.
        any_envs, any_space, any_loss = envs or _some_envs(), action_space or _some_space(), loss or self._some_loss()
        replay = self._replay(any_envs.num_envs)
        parts = Parts(
            envs=envs,
            action_space=action_space,
            loss=loss,  # pyright: ignore[reportArgumentType]  # None implies a fault: it is not handed out
            target_update=self.part("target", any_loss),
            replay=replay,
            exploration=self.part(
                "exploration",
                any_space,
                num_envs=any_envs.num_envs,
                num_members=getattr(loss and loss.value_network, "num_members", 1),
                seed=derive_seed(seed, "exploration"),
            ),
            reward=self._reward(any_envs, any_envs.num_envs),
            optimizer=self.part("optimizer", any_loss and list(any_loss.value_network.parameters())),
            evaluation=self.part(
                "evaluation", self._evaluated(envs) or any_envs, any_space, node=self._evaluation(), seed=seed
            ),
            checkpoints=self.part("checkpoint"),
            logger=self.part("logger"),
        )
        if self._trains:
            self._check_runner()
            self._check_update(parts.optimizer)
            self.faults += [] if self.faults else refused(parts, config)
        return parts

    def _pick_for_images(self, envs: Any) -> None:
        """Pick again what depends on images, which inside a Dict only the environment's space shows."""
        if envs is None or not has_images(envs.observation_space):
            return
        again = for_images(self.picked)
        for key, (value, _) in again.items():
            group, name = key.split(".")
            self.config[group] = {**self.config[group], name: value}
        envs.num_envs = self.config["env"].get("num_envs", envs.num_envs)
        self.picked |= again

    def _replay(self, num_envs: int) -> Any:
        """The replay, with its priorities if any."""
        config, priorities = self.config, self.part("priorities")
        given = {} if priorities is None else {"priorities": priorities}
        seed = derive_seed(config["seed"], "replay")
        replay = self.part("replay", gamma=config["gamma"], num_envs=num_envs, seed=seed, **given)
        if replay is not None and replay.priorities is not priorities:
            message = f"{type(replay).__name__} takes no priorities; use priorities=none, or another replay"
            self.faults.append(Fault("priorities", message))
        return replay

    def make_reward(self, num_envs: int) -> Any:
        """Another reward transform, of this many environments, for a collector that has several."""
        return self._reward(self.parts.envs, num_envs)

    def _reward(self, envs: Envs, num_envs: int) -> Any:
        """The reward transform, with its bonus if any."""
        node, given = self.config["reward"], {"gamma": self.config["gamma"], "num_envs": num_envs}
        if "reward" in self._broken or not node.get("bonus"):
            return self.part("reward", **given)
        seed = derive_seed(self.config["seed"], "bonus")
        bonus = self.part("reward.bonus", envs.observation_space, node=node["bonus"], seed=seed, **given)
        rest = {key: value for key, value in node.items() if key != "bonus"}
        return self.part("reward", node=rest, bonus=bonus, **given)

    def _check_runner(self) -> None:
        """Check the runner's numbers with the other parts; the runner itself is built last, with a run folder."""
        if "runner" in self._broken:
            return
        if self.config["runner"].get("stop"):
            self.part("runner.stop", node=self.config["runner"]["stop"])
        written = enumerate(self.config["runner"].get("callbacks") or ())
        nodes = ((number, {"_target_": item} if isinstance(item, str) else item) for number, item in written)
        self.callbacks = [self.part(f"runner.callbacks[{number}]", node=node) for number, node in nodes]
        numbers = {name: self.config["runner"][name] for name in ("learning_starts", "every", "updates")}
        try:
            check_numbers(self.config["total_frames"], threads=self.config["runner"]["threads"])
            Schedule(**numbers, intervals={})
        except ValueError as error:
            self.faults.append(Fault("runner", str(error)))

    def _check_update(self, optimizer: Any) -> None:
        """Check that the learner, which is built last as well, can compile and compute in bfloat16."""
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
        """The loss, around a network whose weights have a seed of their own."""
        if envs is None or action_space is None or {"network", "trunk", "memory", "head"} & self._broken:
            if "head" not in self._broken:
                self.part("head", 1, 2)
            return None
        config = self.config
        with globally_seeded(derive_seed(config["seed"], "network")):
            try:
                remembers = self._remembering()
                network = self.part(
                    "network", self._trunk(envs), self._make_head, action_space=action_space, **remembers
                )
                if network is not None:
                    check_network(network, envs.observation_space, action_space)
            except ConfigError as error:
                self.faults += error.faults
                return None
        if network is None:
            return None
        loss = self.part(
            "loss",
            network.to(self.device),
            action_space=action_space,
            joint=action_space.joint,
            **({} if recurrent_trunk(network) is None else {"burn_in": config["replay"].get("burn_in", 0)}),
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
        loss = loss.to(self.device)
        init = self.config["init"]
        if self._trains and self._is_new and init["from"] is not None and "init" not in self._broken:
            try:
                self.initial = start_from(loss, Path(init["from"]), init["part"], init["network"])
            except (UserError, ValueError) as error:
                self.faults.append(Fault("init.from", str(error)))
        return loss

    def _some_loss(self) -> DQNLoss | None:
        """A loss with or without a target network, as the config says."""
        if "loss" in self._broken:
            return None
        delay_value = bool(self.config["loss"].get("delay_value"))
        return DQNLoss(nn.Linear(1, 2), action_space="categorical", delay_value=delay_value, gamma=0.5)

    def _evaluated(self, envs: Envs | None) -> Envs | None:
        """The environments with evaluation's changes."""
        changes = {} if "evaluation" in self._broken else self.config["evaluation"].get("env") or {}
        if not changes or envs is None:
            return envs
        checker = Checker(PROVIDED)
        node = checker.node({**self.config["env"], **changes}, "evaluation.env")
        ignored = [key for key in changes if key in TRAINING_ONLY]
        checker.faults += [Fault(f"evaluation.env.{key}", TRAINING_ONLY[key]) for key in ignored]
        if checker.faults:
            self.faults += [fault for fault in checker.faults if fault not in self.faults]
            return None
        changed = self.part("evaluation.env", node=node)
        if changed is None or _spaces(changed) == _spaces(envs):
            return changed
        message = f"its spaces must be those of training, {_spaces(envs)}, but are {_spaces(changed)}"
        self.faults.append(Fault("evaluation.env", message))
        return None

    def _evaluation(self) -> dict[str, Any]:
        """Evaluation's config, with its changes of the environments as text for the record."""
        node = self.config["evaluation"]
        return {**node, "env": _as_words(node.get("env"))} if isinstance(node, Mapping) else node

    def _remembering(self) -> dict[str, Any]:
        """The network's argument that gives it a memory, if it is to have one.

        Raises:
            ConfigError: the network takes none.
        """
        if "memory" in self._broken or self.config["memory"] == NO_MEMORY:
            return {}
        target = resolve(self.config["network"]["_target_"])
        if "make_memory" not in parameters(target).annotation:
            reason = "it takes no argument make_memory"
            message = f"{target.__name__} cannot have a memory: {reason}; use memory=none, or network=q_net"
            raise ConfigError([Fault("memory", message)])
        return {"make_memory": self._make_memory}

    def _make_memory(self, num_features: int, num_actions: int) -> Memory:
        memory = instantiate(self.config["memory"], num_features, num_actions, where="memory")
        check_contract("memory", memory)
        return memory

    def _make_head(self, features: int, num_actions: int) -> Any:
        return instantiate(self.config["head"], features, num_actions, where="head")

    def _trunk(self, envs: Envs) -> Trunk | None:
        """The configured trunk: over Box observations, or over the encodings of other observations."""
        space = envs.observation_space
        try:
            if isinstance(space, spaces.Box):
                check_box(space)
                is_float = np.issubdtype(space.dtype, np.floating)
                scale: dict[str, Any] = {} if is_float else {"byte_divisor": byte_divisor(space)}
                trunk = self.part("trunk", space.shape, **scale)
                return trunk if trunk is None else check_trunk(trunk, space)
            encoder = make_encoder(space)
        except ValueError as error:
            self.faults.append(Fault("env", str(error)))
            return None
        trunk = self.part("trunk", (encoder.num_features,))
        encoded = spaces.Box(-np.inf, np.inf, (encoder.num_features,))
        return None if trunk is None else EncodedTrunk(encoder, check_trunk(trunk, encoded))


def check(config: Mapping[str, Any], found: Sequence[Fault] = ()) -> list[Fault]:
    """Every fault that keeps this config from running.

    Args:
        config: composed.
        found: the faults found so far; the parts with faults are not built.
    """
    assembly = Assembly(config, found)
    assembly.check_films()
    return assembly.faults


def parts(config: Mapping[str, Any], *, trains: bool = True) -> Parts:
    """The parts of a config, all but those that belong to a run; see :class:`Assembly`.

    Raises:
        ConfigError: every reason why they cannot be built.
    """
    return Assembly(config, trains=trains).faultless().parts


def build(
    config: Mapping[str, Any] | Assembly,
    run_dir: Path,
    *,
    state: dict[str, Any] | None = None,
    report: Report | None = None,
    started: float | None = None,
) -> Runner:
    """The runner of a config, with its environments started and its config and manifest written.

    Args:
        config: checked and resolved; or the parts already built from it.
        run_dir: the run's folder; created now.
        state: the content of the checkpoint to resume from; loaded before anything is written.
        report: where lines are printed; None is standard output.
        started: when the process or job started, on ``time.monotonic``'s clock.

    Raises:
        ConfigError: every reason why this config cannot run; no folder is created then.
    """
    share_heap()
    assembly = (config if isinstance(config, Assembly) else Assembly(config, is_new=state is None)).faultless()
    plain, built, report = assembly.config, assembly.parts, report or console_report()
    seed, device = plain["seed"], assembly.device
    if plain["deterministic"]:
        only_deterministic(device)
    seed_globally(derive_seed(seed, "global"))
    makes_envs = getattr(resolve(plain["collector"]["_target_"]), "makes_envs", False)
    collector = instantiate(
        plain["collector"],
        built.envs if makes_envs else built.envs.make(derive_seed(seed, "train")),
        built.loss.value_network,
        where="collector",
        make_reward=assembly.make_reward,
        seed=derive_seed(seed, "train"),
        exploration=built.exploration,
        action_space=built.action_space,
        reward=built.reward,
        device=device,
        stores_probability="behaviour_probability" in built.loss.estimator.requires,
        **({"stores_state": built.replay.stores_state} if built.loss.has_memory else {}),
    )
    learner = Learner(
        built.loss,
        built.replay,
        optimizer=built.optimizer,
        target_update=built.target_update,
        action_space=built.action_space,
        device=device,
        compiled=plain["compile"],
        may_fall_back="compile" in assembly.picked,
        autocast=plain["autocast"],
        updates=plain["runner"]["updates"],
    )
    if assembly.initial is not None and plain["init"]["part"] == "all" and learner.support is not None:
        learner.support.is_set = True  # it came with the weights, and moves only with them
    folder = RunFolder(run_dir)
    built.logger.describe(plain, built.envs, built.action_space)
    runner = instantiate(
        {key: value for key, value in plain["runner"].items() if key != "callbacks"},
        where="runner",
        callbacks=assembly.callbacks,
        collector=collector,
        learner=learner,
        replay=built.replay,
        evaluation=built.evaluation,
        checkpoints=built.checkpoints,
        logger=built.logger,
        folder=folder,
        total_frames=plain["total_frames"],
        seed=seed,
        report=report,
        started=started,
    )
    try:
        if state is not None:
            runner.load_state_dict(state)
        report.say(f"the replay takes {memory_line(built)}")
        for line in config_warnings(built, plain):
            report.say(line)
        if assembly.initial is not None:
            report.say(f"init: {assembly.initial}")
        if built.envs.note is not None:
            report.say(f"note: {built.envs.note}")
        for key, (value, reason) in assembly.picked.items():
            report.say(f"auto: {key}={str(value).lower()} ({reason})")
        folder.lock.acquire()  # creates the folder
    except Exception:
        runner.collector.close()
        raise
    OmegaConf.save(OmegaConf.create(plain), unfinished := run_dir / UNFINISHED_CONFIG)
    unfinished.replace(folder.config_file)  # a run that is killed here leaves no half-written config
    picks = {key: value for key, (value, _) in assembly.picked.items()}
    about = {"device": str(device), "action_space": built.action_space.encoding} | picks
    about |= {} if assembly.initial is None else {"init": assembly.initial}
    folder.write_manifest(about, resumed_at=None if state is None else runner.frames)
    if plain["profile"]:
        Profile(runner)
    return cast(Runner, runner)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(config, DictConfig):
        return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    return dict(config)


def _spaces(envs: Envs) -> str:
    return f"{envs.observation_space} and {envs.action_space}"


def _some_envs() -> GymnasiumEnvs:
    return GymnasiumEnvs("CartPole-v1", num_envs=1, vectorization="sync")


def _some_space() -> ActionSpace:
    return make_action_space(spaces.Discrete(2), encoding="auto")


def _as_words(value: Any) -> Any:
    """A config value with its nodes as text.

    >>> _as_words({"wrappers": [{"_target_": "gymnasium.wrappers.TimeLimit", "max_episode_steps": 5}]})
    {'wrappers': ['TimeLimit(max_episode_steps=5)']}
    """
    if isinstance(value, Mapping) and "_target_" in value:
        given = ", ".join(f"{key}={_as_words(item)!r}" for key, item in value.items() if key != "_target_")
        return f"{str(value['_target_']).rpartition('.')[2]}({given})"
    if isinstance(value, Mapping):
        return {key: _as_words(item) for key, item in value.items()}
    return [_as_words(item) for item in value] if isinstance(value, list | tuple) else value
