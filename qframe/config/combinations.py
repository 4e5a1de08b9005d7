"""Combinations of valid parts that cannot work together, and why. ``docs/refusals.md`` shows an example of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, cast

from qframe.config import parallel
from qframe.config.memory_prediction import larger_than_machine
from qframe.config.parts import Parts
from qframe.errors import Fault
from qframe.networks.members import Members
from qframe.networks.noise import noisy_layers
from qframe.objectives import DQVLoss
from qframe.replay import ProportionalPriorities
from qframe.replay.priorities import starts_from_td_error
from qframe.training.ray_collector import check_numbers


@dataclass(frozen=True)
class Refusal:
    """One combination that is refused.

    Args:
        example: overrides that are refused for this reason alone, for the table in ``docs/refusals.md``.
        where: the key that the message is about.
        message: the fault and the remedy; None if the parts work together.
    """

    example: str
    where: str
    message: Callable[[Parts, Mapping[str, Any]], str | None]


def refused(parts: Parts, config: Mapping[str, Any]) -> list[Fault]:
    """A fault for every refused combination among the parts."""
    if (wrong := parallel.impossible_workers(parts, config)) is not None:
        return [Fault("learner", wrong)]
    found = ((refusal.where, refusal.message(parts, config)) for refusal in REFUSALS)
    return [Fault(where, message) for where, message in found if message is not None]


def _slice_length(parts: Parts) -> int | None:
    return getattr(parts.replay, "slice_length", None)


def _over_time(parts: Parts) -> bool:
    return "time" in parts.loss.estimator.requires


def _memory_without_slices(parts: Parts, config: Mapping[str, Any]) -> str | None:
    if not parts.loss.has_memory or _slice_length(parts) is not None:
        return None
    name = type(parts.replay).__name__
    return f"a memory learns from sequences, which {name} does not return; use replay=slices or replay=rollout"


def _sequences_without_memory(parts: Parts, config: Mapping[str, Any]) -> str | None:
    replay = config["replay"]
    if parts.loss.has_memory or not (replay.get("burn_in") or replay.get("state", "stored") != "stored"):
        return None
    return "burn_in and state are for networks with a memory, and this one has none; set memory=lstm, or leave them out"


def _lambda_with_n_step(parts: Parts, config: Mapping[str, Any]) -> str | None:
    n_step = getattr(parts.replay, "n_step", 1)
    if not _over_time(parts) or n_step == 1:
        return None
    name = type(parts.loss.estimator).__name__
    return f"{name} weighs all horizons itself, which n_step={n_step} would do twice; use replay=slices replay.n_step=1"


def _time_without_slices(parts: Parts, config: Mapping[str, Any]) -> str | None:
    if not _over_time(parts) or _slice_length(parts) is not None or getattr(parts.replay, "n_step", 1) > 1:
        return None
    name, replay = type(parts.loss.estimator).__name__, type(parts.replay).__name__
    return f"{name} needs slices of time, which {replay} does not return; use replay=slices or replay=rollout"


def _no_behaviour_probability(parts: Parts, config: Mapping[str, Any]) -> str | None:
    estimator = parts.loss.estimator
    knows = getattr(parts.exploration, "has_probability", False)
    if "behaviour_probability" not in estimator.requires or knows:
        return None
    return (
        f"{type(estimator).__name__} needs the probability of each action, which {type(parts.exploration).__name__} "
        "does not know; use exploration=epsilon_greedy, or estimator=watkins, which needs none"
    )


def _members_of_no_ensemble(parts: Parts, config: Mapping[str, Any]) -> str | None:
    network = parts.loss.value_network
    if not getattr(parts.exploration, "reads_members", False) or hasattr(network, "num_members"):
        return None
    name = type(parts.exploration).__name__
    return f"{name} acts by the members of an ensemble, and {type(network).__name__} is none; use network=ensemble"


def _nothing_explores(parts: Parts, config: Mapping[str, Any]) -> str | None:
    layers = noisy_layers(parts.loss.value_network)
    if not getattr(parts.exploration, "needs_noisy_network", False) or any(layer.std_init > 0 for layer in layers):
        return None
    if layers:
        return "nothing would explore, because noisy_std is 0; set network.noisy_std=0.5"
    return "nothing would explore, because the network has no noisy layers; set network.noisy=true"


def _noise_of_no_layers(parts: Parts, config: Mapping[str, Any]) -> str | None:
    network = config["network"]
    usual = signature(type(parts.loss.value_network)).parameters.get("noisy_std")
    if usual is None or network.get("noisy") or network.get("noisy_std", usual.default) == usual.default:
        return None
    return f"{network['noisy_std']} has no effect, because the network has no noisy layers; set network.noisy=true"


def _never_learns(parts: Parts, config: Mapping[str, Any]) -> str | None:
    starts, total = config["runner"].get("learning_starts", 0), config["total_frames"]
    if starts < total:
        return None
    return f"nothing would be learnt: must be below total_frames={total}, got {starts}"


def _starts_before_a_slice(parts: Parts, config: Mapping[str, Any]) -> str | None:
    length, starts = _slice_length(parts), config["runner"].get("learning_starts", 0)
    stride = getattr(parts.replay, "stride", 1)
    needed = ((length or 0) + stride - 1) * parts.envs.num_envs - config["runner"].get("every", 1)
    if length is None or starts >= needed:
        return None
    return f"must be at least {needed}, so that every environment holds a slice of {length} frames, got {starts}"


def _rounds_of_another_length(parts: Parts, config: Mapping[str, Any]) -> str | None:
    fixed, own = parts.replay.round, (config["runner"].get("every"), config["runner"].get("updates"))
    if fixed is None or fixed == own:
        return None
    return (
        f"{type(parts.replay).__name__} is learned from in rounds of {fixed[1]} updates every {fixed[0]:,} frames; set "
        "runner.every=auto runner.updates=auto"
    )


def _reuses_levels(parts: Parts, config: Mapping[str, Any]) -> str | None:
    head = parts.loss.head
    if not getattr(parts.replay, "reuses_values", False) or not head.has_levels:
        return None
    return f"{type(head).__name__} needs the quantile levels of a prediction beside it; set replay.reuse_values=false"


def _starts_before_n_steps(parts: Parts, config: Mapping[str, Any]) -> str | None:
    starts, every = config["runner"].get("learning_starts", 0), config["runner"].get("every", 1)
    needed = getattr(parts.replay, "n_step", 1) * parts.envs.num_envs
    if starts + every >= needed:
        return None
    return f"must be at least {needed - every}, so that the replay holds a transition of n steps, got {starts}"


def _stacked_otherwise(parts: Parts, config: Mapping[str, Any]) -> str | None:
    stack = getattr(parts.replay, "stack", 1)
    shape = parts.envs.observation_space.shape
    if stack == 1 or (shape is not None and shape[:1] == (stack,)):
        return None
    return (
        f"an observation must be {stack} frames along its first dimension, but is {parts.envs.observation_space}; set "
        "replay.stack (1 if an observation is one frame)"
    )


def _not_one_tensor(parts: Parts, config: Mapping[str, Any]) -> str | None:
    shares_frames = getattr(parts.replay, "shares_frames", False)
    if not shares_frames or getattr(parts.envs.observation_space, "spaces", None) is None:
        return None
    return (
        f"{type(parts.replay).__name__} cannot share frames among Dict or Tuple observations; use replay=transitions, "
        "or for slices replay.stack=1"
    )


def _eta_without_slices(parts: Parts, config: Mapping[str, Any]) -> str | None:
    priorities = parts.replay.priorities
    if _slice_length(parts) is not None or not isinstance(priorities, ProportionalPriorities):
        return None
    usual = signature(ProportionalPriorities).parameters["eta"].default
    if priorities.eta == usual:
        return None
    name = type(parts.replay).__name__
    return f"{name} has no slices, whose steps eta={priorities.eta} would weigh; use replay=slices"


def _no_td_error_by_actors(parts: Parts, config: Mapping[str, Any]) -> str | None:
    if not starts_from_td_error(parts.replay.priorities):
        return None
    loss, network = parts.loss, cast("Any", parts.loss.value_network)
    reasons = {
        "loss.priority=loss ranks transitions by their loss": loss.priority == "loss",
        "head.transform=h has errors of transformed returns": loss.head.transform is not None,
        f"{type(loss).__name__} learns state values as well": isinstance(loss, DQVLoss),
        f"{type(loss.estimator).__name__} does not bootstrap on the best action": bool(loss.estimator.requires),
        "an action has several parts": parts.action_space.is_joint,
        "its network has several values of an action": isinstance(network.branches, Members),
    }
    reason = next((text for text, holds in reasons.items() if holds), None)
    return reason and f"actors cannot compute the learner's td_error: {reason}; set priorities.initial=largest"


def _bonus_beyond_support(parts: Parts, config: Mapping[str, Any]) -> str | None:
    bonus, ends, auto = parts.reward.bonus, parts.loss.head.expressible, parts.loss.head.has_auto_bounds
    if bonus is None or ends is None or auto[1]:
        return None
    return (
        f"{type(bonus).__name__} raises returns above those of the environment, which the fixed head.v_max={ends[1]:g} "
        "may not hold; set head.v_max=auto"
    )


def _impossible_actors(parts: Parts, config: Mapping[str, Any]) -> str | None:
    node = config["collector"]
    if "actors" not in node:
        return None
    numbers = {name: node[name] for name in ("actors", "steps", "lag", "order", "cpus", "timeout")}
    try:
        check_numbers(parts.envs.num_envs, **numbers)
    except ValueError as error:
        return str(error)
    return None


def _bonus_apart_from_support(parts: Parts, config: Mapping[str, Any]) -> str | None:
    if parts.reward.bonus is None or not parts.reward.bonus.stands_apart or parts.loss.head.expressible is None:
        return None
    return (
        f"{type(parts.loss.head).__name__} has one support, for the return of the environment; that of the bonus may "
        "exceed it; use head=scalar or head=quantile, or reward.bonus.head=shared"
    )


REFUSALS: tuple[Refusal, ...] = (
    Refusal("memory=lstm replay=transitions", "replay", _memory_without_slices),
    Refusal("replay=slices replay.burn_in=4", "replay", _sequences_without_memory),
    Refusal("estimator=td_lambda", "replay.n_step", _lambda_with_n_step),
    Refusal("estimator=td_lambda replay.n_step=1", "replay", _time_without_slices),
    Refusal("estimator=retrace replay=slices exploration=ez_greedy", "exploration", _no_behaviour_probability),
    Refusal("exploration=bootstrapped", "exploration", _members_of_no_ensemble),
    Refusal("exploration=noisy", "exploration", _nothing_explores),
    Refusal("network.noisy_std=0.1", "network.noisy_std", _noise_of_no_layers),
    Refusal("total_frames=500", "runner.learning_starts", _never_learns),
    Refusal("replay=slices runner.learning_starts=0", "runner.learning_starts", _starts_before_a_slice),
    Refusal("replay=rollout runner.every=1024", "runner", _rounds_of_another_length),
    Refusal("replay=rollout replay.reuse_values=true head=implicit_quantile", "replay.reuse_values", _reuses_levels),
    Refusal("runner.learning_starts=0", "runner.learning_starts", _starts_before_n_steps),
    Refusal("replay.capacity=1e15", "replay.capacity", larger_than_machine),
    Refusal("replay=frames replay.stack=3", "replay.stack", _stacked_otherwise),
    Refusal("replay=frames replay.stack=1 env=gymnasium env.id=Blackjack-v1", "replay", _not_one_tensor),
    Refusal("priorities=proportional priorities.eta=0.5", "priorities.eta", _eta_without_slices),
    Refusal(
        "priorities=proportional priorities.initial=td_error loss.priority=loss", "priorities.initial",
        _no_td_error_by_actors,
    ),
    Refusal("collector=ray collector.actors=3", "collector", _impossible_actors),
    Refusal("reward=rnd reward.bonus.head=own head=categorical", "reward.bonus.head", _bonus_apart_from_support),
    Refusal("reward=rnd head=categorical head.v_max=10", "reward.bonus", _bonus_beyond_support),
    Refusal("learner=parallel", "learner", parallel.not_worth_it),
    Refusal("learner=parallel learner.force=true learner.backend=nccl", "learner", parallel.impossible_workers),
    Refusal("learner=parallel learner.force=true learner.workers=3", "learner.workers", parallel.indivisible),
    Refusal(
        "learner=parallel learner.force=true network.normalize_observation=true", "learner", parallel.statistics_of_one
    ),
    Refusal(
        "learner=parallel learner.force=true compile=true replay=slices replay.across_episodes=false", "compile",
        parallel.exchanging_loss,
    ),
    Refusal(
        "learner=parallel learner.force=true optimizer=sgd ~optimizer.algorithm.momentum "
        "optimizer.algorithm._target_=torch.optim.ASGD", "optimizer", parallel.unshared_optimizer,
    ),
)
