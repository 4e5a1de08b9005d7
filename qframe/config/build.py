"""From a checked config to a runner."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from qframe.config.assemble import PROVIDED, Assembly
from qframe.config.auto import pick_device, resolved
from qframe.config.memory import memory_line
from qframe.config.parts import Parts
from qframe.config.schema import GROUPS, SETTINGS
from qframe.config.targets import instantiate
from qframe.envs import derive_seed
from qframe.errors import ConfigError, Fault
from qframe.loggers.console import Report, console_report
from qframe.machine.allocator import share_heap
from qframe.machine.determinism import only_deterministic
from qframe.runs.folder import RunFolder
from qframe.training import Learner, Runner
from qframe.training.return_range import ReturnRange
from qframe.training.timing import Profile

__all__ = ["PROVIDED", "build", "check", "describe", "parts"]


def check(config: Mapping[str, Any], found: Sequence[Fault] = ()) -> list[Fault]:
    """Everything that would keep this config from running: what is found already, and what building the parts shows.

    Args:
        config: composed.
        found: its faults so far; what they are about is not built.
    """
    broken = {re.split(r"[.\[]", fault.where)[0] for fault in found}
    if not broken <= {*SETTINGS, *GROUPS}:  # an unknown preset or key: it may have meant anything
        return list(found)
    assembly = Assembly(_plain(config), broken)
    built = assembly.parts()
    return [*found, *assembly.faults] or _without_picture(built)


def _without_picture(built: Parts) -> list[Fault]:
    """Why nothing can be filmed where something is to be; a run that goes on need not draw a picture first."""
    if not built.evaluation.video:
        return []
    try:
        built.evaluation.check_picture()
    except ValueError as error:
        return [Fault("evaluation.video", str(error))]
    return []


def parts(config: Mapping[str, Any]) -> Parts:
    """The parts of a config, all but those that belong to a run.

    Raises:
        ConfigError: every reason why they cannot be built.
    """
    assembly = Assembly(_plain(config))
    built = assembly.parts()
    if assembly.faults:
        raise ConfigError(assembly.faults)
    return built


def describe(config: Mapping[str, Any]) -> dict[str, str]:
    """What would be trained, in words; of a config without faults."""
    built = parts(config)
    loss, replay = built.loss, built.replay
    parameters = sum(parameter.numel() for parameter in loss.value_network.parameters())
    update = f"{'double, ' if loss.double_dqn else ''}{type(built.target_update).__name__}"
    return {
        "environment": f"{built.envs.id} × {built.envs.num_envs} ({built.envs.vectorization})",
        "observation": " ".join(str(built.envs.observation_space).split()),
        "action": f"{built.envs.action_space} as {built.action_space.spec}",
        "network": f"{type(loss.value_network).__name__}, {parameters:,} parameters",
        "head": f"{type(loss.head).__name__}, {loss.head.num_outputs} per action",
        "estimator": f"{type(loss.estimator).__name__}, gamma {loss.gamma}",
        "loss": f"{type(loss).__name__}, {update}",
        "replay": f"{type(replay).__name__}, {replay.capacity:,} transitions, batches of {replay.batch_size}, "
        f"{memory_line(built)}",
        "device": str(pick_device(config["device"])),
        "frames": f"{config['total_frames']:,}",
    }


def build(
    config: Mapping[str, Any],
    run_dir: Path,
    *,
    state: dict[str, Any] | None = None,
    report: Report | None = None,
    started: float | None = None,
) -> Runner:
    """The runner of a config, its environments started and its folder described.

    Args:
        config: checked and resolved.
        run_dir: the run's folder; made now.
        state: of the run that goes on; taken over before anything is written.
        report: what is shown; None is standard output.
        started: when the process or job started, on ``time.monotonic``'s clock.

    Raises:
        ConfigError: every reason why this config cannot run; then there is no folder.
    """
    plain, picked = resolved(_plain(config))
    share_heap()
    built, report = parts(plain), report or console_report()
    seed, device = plain["seed"], pick_device(plain["device"])
    if plain["deterministic"]:
        only_deterministic(device)
    within = built.loss.head.expressible
    collector = instantiate(
        plain["collector"],
        built.envs.make(derive_seed(seed, "train")),
        built.loss.value_network,
        where="collector",
        exploration=built.exploration,
        action_space=built.action_space,
        reward=built.reward,
        returns=None if within is None else ReturnRange(plain["gamma"], built.envs.num_envs, within=within),
        device=device,
        stores_probability="behaviour_probability" in built.loss.estimator.requires,
    )
    learner = Learner(
        built.loss,
        built.replay,
        optimizer=built.optimizer,
        target_update=built.target_update,
        action_space=built.action_space,
        device=device,
        compiled=plain["compile"],
        autocast=plain["autocast"],
        updates=plain["runner"]["updates"],
    )
    folder = RunFolder(run_dir)
    built.logger.describe(plain, built.envs, built.action_space)
    runner = instantiate(
        plain["runner"],
        where="runner",
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
    if state is not None:
        _take_over(runner, state)
    report.say(f"the replay takes {memory_line(built)}")
    for key, (value, reason) in picked.items():
        report.say(f"auto: {key}={str(value).lower()} ({reason})")
    _lock(runner)
    OmegaConf.save(OmegaConf.create(plain), folder.config_file)
    picks = {key: value for key, (value, _) in picked.items()}
    about = {"device": str(device), "action_space": built.action_space.spec.action_space} | picks
    folder.write_manifest(about, resumed_at=None if state is None else runner.frames)
    if plain["profile"]:
        Profile(runner)
    return cast(Runner, runner)


def _lock(runner: Runner) -> None:
    """Keep other processes out of the run's folder, which is made now."""
    try:
        runner.folder.lock.acquire()
    except Exception:
        runner.collector.close()
        raise


def _take_over(runner: Runner, state: dict[str, Any]) -> None:
    try:
        runner.load_state_dict(state)
    except Exception:
        runner.collector.close()
        raise


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(config, DictConfig):
        return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    return dict(config)

