"""The builder: turns a composed config into its parts, each built once, and the parts into a runner."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from gymnasium import spaces
from omegaconf import OmegaConf

from qframe.actions import ActionSpace
from qframe.compiled.cuda_graph import check_capturable
from qframe.compiled.update import autocast_type
from qframe.config import builder_tools as tools
from qframe.config.advice import config_warnings
from qframe.config.auto import Picked, for_images, pick_device, resolved
from qframe.config.checker import Checker
from qframe.config.combinations import refused
from qframe.config.contracts import check_contract, check_network, check_trunk
from qframe.config.hydra_app import conf_dir
from qframe.config.memory_prediction import memory_line
from qframe.config.parameters import parameters
from qframe.config.parts import Parts
from qframe.config.ranks import led, own_path, share_of, share_refused, training_episodes
from qframe.config.schema import ADDITIONS, GROUPS, NO_MEMORY, PROVIDED, SETTINGS
from qframe.config.targets import instantiate, resolve
from qframe.config.trained_weights import start_from
from qframe.envs import Envs, derive_seed
from qframe.errors import ConfigError, Fault, UserError
from qframe.exploration.share import ExplorationShare
from qframe.loggers.console import Report, console_report
from qframe.machine.allocator import share_heap
from qframe.machine.determinism import only_deterministic
from qframe.machine.generators import globally_seeded, seed_globally
from qframe.machine.ranks import Ranks
from qframe.networks import EncodedTrunk, Memory, Trunk, make_encoder
from qframe.networks.encoders import check_box, has_images
from qframe.networks.observation_scaling import byte_divisor
from qframe.networks.recurrent_trunk import recurrent_trunk
from qframe.networks.trunks import fitting_trunk
from qframe.objectives import DQNLoss
from qframe.optimizer.pure_steps import pure_step
from qframe.replay.priorities import starts_from_td_error
from qframe.runs.folder import UNFINISHED_CONFIG, RunFolder
from qframe.training import Runner
from qframe.training.reshard import resharded
from qframe.training.runner import check_numbers
from qframe.training.schedule import Schedule
from qframe.training.timing import Profile


class Assembly:
    """The parts of a config, each built once, with the faults of all of them.

    Args:
        config: composed.
        found: the faults found so far. The parts with faults, and those that need them, are not built; with an unknown
            preset or key, which could have meant any part, none is.
        trains: whether the machine must be able to train them; otherwise only to act.
        builds: whether the parts are built at once; otherwise by ``build_parts``.
        is_new: whether the run starts, from the weights that ``init`` names if any, and does not resume.
        share: the rank and the number of ranks, if the config is one rank's share of a config that was checked whole.

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
        is_new: bool = True, share: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        self.faults, self._trains, self._is_new, self._share = list(found), trains, is_new, share
        self.initial: str | None = None
        self._broken = {re.split(r"[.\[]", fault.where)[0] for fault in found}
        sound = {key: tools.STAND_INS[key] for key in tools.STAND_INS.keys() & self._broken}
        settings = {**tools.plain_config(config), **sound}
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
        any_envs, any_space = envs or tools.some_envs(), action_space or tools.some_space()
        any_loss = loss or tools.some_loss(config, self._broken)
        replay = self._replay(any_envs.num_envs)
        parts = Parts(
            envs=envs,
            action_space=action_space,
            loss=loss,  # pyright: ignore[reportArgumentType]  # None implies a fault: it is not handed out
            target_update=self.part("target", any_loss),
            replay=replay,
            exploration=self._exploration(any_space, any_envs.num_envs, loss),
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
            if not self.faults:
                self.faults += refused(parts, config) if self._share is None else share_refused(parts)
        return parts

    def _exploration(self, space: ActionSpace, count: int, loss: DQNLoss | None) -> Any:
        """The exploration in this number of environments, or in a rank's share of all."""
        rank, ranks = self._share or (0, 1)
        members, seed = getattr(loss and loss.value_network, "num_members", 1), self.config["seed"]
        options = {"num_members": members, "seed": derive_seed(seed, "exploration")}
        whole = self.part("exploration", space, num_envs=ranks * count, **options)
        return whole if whole is None or ranks == 1 else ExplorationShare(whole, rank * count, count, ranks * count)

    def _pick_for_images(self, envs: Any) -> None:
        """Pick again what depends on images, which inside a Dict only the environment's space shows."""
        if envs is None or not has_images(envs.observation_space):
            return
        again = for_images(self.picked, self.config)
        for key, (value, _) in again.items():
            group, name = key.split(".")
            self.config[group] = {**self.config[group], name: value}
        envs.num_envs = self.config["env"].get("num_envs", envs.num_envs)
        self.picked |= again

    def _replay(self, num_envs: int) -> Any:
        """The replay, with its priorities if any."""
        config, priorities = self.config, self.part("priorities")
        given = {} if priorities is None else {"priorities": priorities}
        seed = derive_seed(config["seed"], "replay", *own_path(self._share))
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
                additions = self._additions()
                network = self.part(
                    "network", self._trunk(envs), self._make_head, action_space=action_space, **additions
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

    def _evaluated(self, envs: Envs | None) -> Envs | None:
        """The environments with evaluation's changes."""
        changes = {} if "evaluation" in self._broken else self.config["evaluation"].get("env") or {}
        if not changes or envs is None:
            return envs
        checker = Checker(PROVIDED)
        node = checker.node({**self.config["env"], **changes}, "evaluation.env")
        ignored = [key for key in changes if key in tools.TRAINING_ONLY]
        checker.faults += [Fault(f"evaluation.env.{key}", tools.TRAINING_ONLY[key]) for key in ignored]
        if checker.faults:
            self.faults += [fault for fault in checker.faults if fault not in self.faults]
            return None
        changed = self.part("evaluation.env", node=node)
        if changed is None or tools.spaces_of(changed) == tools.spaces_of(envs):
            return changed
        message = f"its spaces must be those of training, {tools.spaces_of(envs)}, but are {tools.spaces_of(changed)}"
        self.faults.append(Fault("evaluation.env", message))
        return None

    def _evaluation(self) -> dict[str, Any]:
        """Evaluation's config, with its changes of the environments as text for the record."""
        node = self.config["evaluation"]
        return {**node, "env": tools.as_words(node.get("env"))} if isinstance(node, Mapping) else node

    def _additions(self) -> dict[str, Any]:
        """The network's arguments for a memory and for the return of a bonus, where the config has them.

        Raises:
            ConfigError: the network takes no such argument.
        """
        target = resolve(self.config["network"]["_target_"])
        bonus = ("reward" not in self._broken and self.config["reward"].get("bonus")) or {}
        added: dict[str, Any] = {}
        if "memory" not in self._broken and self.config["memory"] != NO_MEMORY:
            added["make_memory"] = self._make_memory
        if bonus.get("head") == "own":
            added["num_returns"] = 2
        for name in added.keys() - parameters(target).annotation.keys():
            where, plain = ADDITIONS[name]
            message = f"{target.__name__} takes no argument {name}; use {plain}, or network=q_net"
            raise ConfigError([Fault(where, message)])
        return added

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
    ranks: Ranks | None = None,
    reshards: bool = False,
    started: float | None = None,
) -> Runner:
    """The runner of a config, with its environments started and its config and manifest written.

    If learners are parallel, this process becomes the first of them and starts the others.

    Args:
        config: checked and resolved; or the parts already built from it.
        run_dir: the run's folder; created now.
        state: the content of the checkpoint to resume from; loaded before anything is written.
        report: where lines are printed; None is standard output.
        ranks: those that learn together, if this process is not the first of them.
        reshards: whether another number of learners wrote the checkpoint.
        started: when the process or job started, on ``time.monotonic``'s clock.

    Raises:
        ConfigError: every reason why this config cannot run; no folder is created then.
    """
    share_heap()
    if ranks is not None:
        return _built(None, config, run_dir, state, report or Report(), ranks, reshards, started)  # pyright: ignore
    whole = (config if isinstance(config, Assembly) else Assembly(config, is_new=state is None)).faultless()
    ranks = led(whole.config, run_dir, None if state is None else state["name"], reshards)
    try:
        return _built(whole, whole.config, run_dir, state, report or console_report(), ranks, reshards, started)
    except BaseException:
        if ranks is not None:
            ranks.close(is_whole=False)
        raise


def _built(
    whole: Assembly | None, plain: Mapping[str, Any], run_dir: Path, state: dict[str, Any] | None, report: Report,
    ranks: Ranks | None, reshards: bool, started: float | None,
) -> Runner:  # fmt: skip
    """The runner of a config, or of a rank's share of it; ``whole`` is the assembly of the config on the first rank."""
    if ranks is None:
        assert whole is not None
        assembly = whole
    else:
        assembly = Assembly(share_of(plain, *ranks.share), is_new=state is None, share=ranks.share).faultless()
    own, built = assembly.config, assembly.parts
    seed, device = plain["seed"], assembly.device
    if plain["deterministic"]:
        only_deterministic(device)
    seed_globally(derive_seed(seed, "global"))
    makes_envs = getattr(resolve(plain["collector"]["_target_"]), "makes_envs", False)
    collector = instantiate(
        own["collector"],
        built.envs if makes_envs else training_episodes(built.envs, derive_seed(seed, "train"), ranks),
        built.loss.value_network,
        where="collector",
        make_reward=assembly.make_reward,
        seed=derive_seed(seed, "train", *own_path(ranks and ranks.share)),
        exploration=built.exploration,
        action_space=built.action_space,
        reward=built.reward,
        device=device,
        stores_probability="behaviour_probability" in built.loss.estimator.requires,
        **({"stores_state": built.replay.stores_state} if built.loss.has_memory else {}),
        **({"stores_value": True} if starts_from_td_error(built.replay.priorities) else {}),
    )
    picked = {} if whole is None else whole.picked
    learner = instantiate(
        plain["learner"],
        where="learner",
        loss=built.loss,
        replay=built.replay,
        ranks=ranks,
        optimizer=built.optimizer,
        target_update=built.target_update,
        action_space=built.action_space,
        device=device,
        compiled=plain["compile"],
        may_fall_back="compile" in picked,
        autocast=plain["autocast"],
        updates=plain["runner"]["updates"],
    )
    if assembly.initial is not None and plain["init"]["part"] == "all" and learner.support is not None:
        learner.support.is_set = True  # it came with the weights, and moves only with them
    is_first = ranks is None or ranks.is_first
    folder = RunFolder(run_dir) if is_first else RunFolder(run_dir).read_only()
    if not is_first:
        built.logger.silence()
    built.logger.describe(plain, built.envs, built.action_space)
    runner = instantiate(
        {key: value for key, value in own["runner"].items() if key != "callbacks"},
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
        ranks=ranks,
        started=started,
    )
    try:
        if ranks is not None:
            ranks.join(backend=learner.backend, device=device, timeout=learner.timeout)
        if state is not None and reshards:
            share = (0, 1) if ranks is None else ranks.share
            runner.load_state_dict(resharded(runner, folder.checkpoints, state["name"], share))
        elif state is not None:
            runner.load_state_dict(state)
        if whole is None:
            return runner
        report.say(f"the replay takes {memory_line(whole.parts)}")
        for line in config_warnings(whole.parts, plain):
            report.say(line)
        if assembly.initial is not None:
            report.say(f"init: {assembly.initial}")
        if built.envs.note is not None:
            report.say(f"note: {built.envs.note}")
        for key, (value, reason) in picked.items():
            report.say(f"auto: {key}={str(value).lower()} ({reason})")
        folder.lock.acquire()  # creates the folder
    except Exception:
        runner.collector.close()
        raise
    OmegaConf.save(OmegaConf.create(dict(plain)), unfinished := run_dir / UNFINISHED_CONFIG)
    unfinished.replace(folder.config_file)  # a run that is killed here leaves no half-written config
    picks = {key: value for key, (value, _) in picked.items()}
    about = {"device": str(device), "action_space": built.action_space.encoding} | picks
    about |= {} if assembly.initial is None else {"init": assembly.initial}
    folder.write_manifest(about, resumed_at=None if state is None else runner.frames)
    if plain["profile"]:
        Profile(runner)
    return cast(Runner, runner)
