"""Combinations of sound parts that do not go together, and why. The README shows an example of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from qframe.config.memory_prediction import larger_than_machine
from qframe.config.parts import Parts
from qframe.errors import Fault
from qframe.networks.noise import noisy_layers
from qframe.replay import ProportionalPriorities


@dataclass(frozen=True)
class Refusal:
    """One combination that is refused.

    Args:
        example: words for ``qframe check`` that show it, for the README's table.
        where: the key that the message is about.
        message: expected, got, remedy; None where the parts go together.
    """

    example: str
    where: str
    message: Callable[[Parts, Mapping[str, Any]], str | None]


def refused(parts: Parts, config: Mapping[str, Any]) -> list[Fault]:
    """A fault for every refused combination among the parts."""
    found = ((refusal.where, refusal.message(parts, config)) for refusal in REFUSALS)
    return [Fault(where, message) for where, message in found if message is not None]


def _slice_length(parts: Parts) -> int | None:
    return getattr(parts.replay, "slice_length", None)


def _over_time(parts: Parts) -> bool:
    return "time" in parts.loss.estimator.requires


def _lambda_with_n_step(parts: Parts, config: Mapping[str, Any]) -> str | None:
    n_step = getattr(parts.replay, "n_step", 1)
    if not _over_time(parts) or n_step == 1:
        return None
    name = type(parts.loss.estimator).__name__
    return f"expected 1 with {name}, which weighs all horizons itself, got {n_step}; use replay=slices"


def _time_without_slices(parts: Parts, config: Mapping[str, Any]) -> str | None:
    if not _over_time(parts) or _slice_length(parts) is not None or getattr(parts.replay, "n_step", 1) > 1:
        return None
    name = type(parts.loss.estimator).__name__
    return f"expected slices for {name}, which runs along time, got {type(parts.replay).__name__}; use replay=slices"


def _no_behaviour_probability(parts: Parts, config: Mapping[str, Any]) -> str | None:
    estimator = parts.loss.estimator
    knows = getattr(parts.exploration, "has_probability", False)
    if "behaviour_probability" not in estimator.requires or knows:
        return None
    return (
        f"expected exploration that knows the probability of its actions for {type(estimator).__name__}, got "
        f"{type(parts.exploration).__name__}; use exploration=epsilon_greedy, or estimator=watkins, which needs none"
    )


def _members_of_no_ensemble(parts: Parts, config: Mapping[str, Any]) -> str | None:
    network = parts.loss.value_network
    if not getattr(parts.exploration, "reads_members", False) or hasattr(network, "num_members"):
        return None
    return f"expected an ensemble to act by its members, got {type(network).__name__}; use network=ensemble"


def _nothing_explores(parts: Parts, config: Mapping[str, Any]) -> str | None:
    layers = noisy_layers(parts.loss.value_network)
    if not getattr(parts.exploration, "needs_noisy_network", False) or any(layer.std_init > 0 for layer in layers):
        return None
    if layers:
        return "expected noisy_std above 0, got 0: nothing would explore; set network.noisy_std=0.5"
    return "expected a network with noisy layers, got none: nothing would explore; set network.noisy=true"


def _noise_of_no_layers(parts: Parts, config: Mapping[str, Any]) -> str | None:
    network = config["network"]
    usual = signature(type(parts.loss.value_network)).parameters.get("noisy_std")
    if usual is None or network.get("noisy") or network.get("noisy_std", usual.default) == usual.default:
        return None
    return f"expected noisy layers to take it, got none and {network['noisy_std']}; set network.noisy=true"


def _never_learns(parts: Parts, config: Mapping[str, Any]) -> str | None:
    starts, total = config["runner"].get("learning_starts", 0), config["total_frames"]
    if starts < total:
        return None
    return f"expected fewer than total_frames={total}, got {starts}: nothing would be learnt"


def _starts_before_a_slice(parts: Parts, config: Mapping[str, Any]) -> str | None:
    length, starts = _slice_length(parts), config["runner"].get("learning_starts", 0)
    needed = (length or 0) * parts.envs.num_envs
    if length is None or starts >= needed:
        return None
    return f"expected at least {needed} frames, so that every environment holds a slice of {length}, got {starts}"


def _starts_before_n_steps(parts: Parts, config: Mapping[str, Any]) -> str | None:
    starts, every = config["runner"].get("learning_starts", 0), config["runner"].get("every", 1)
    needed = getattr(parts.replay, "n_step", 1) * parts.envs.num_envs
    if starts + every >= needed:
        return None
    return f"expected at least {needed - every} frames, so that the replay holds a transition of n steps, got {starts}"


def _stacked_otherwise(parts: Parts, config: Mapping[str, Any]) -> str | None:
    stack = getattr(parts.replay, "stack", 1)
    shape = parts.envs.observation_space.shape
    if stack == 1 or (shape is not None and shape[:1] == (stack,)):
        return None
    return (
        f"expected observations of {stack} frames along their first dimension, got {parts.envs.observation_space}; set "
        "replay.stack (1: an observation is one frame), or use replay=transitions"
    )


def _not_one_tensor(parts: Parts, config: Mapping[str, Any]) -> str | None:
    if not hasattr(parts.replay, "stack") or getattr(parts.envs.observation_space, "spaces", None) is None:
        return None
    name = type(parts.replay).__name__
    return f"expected a replay that keeps grouped observations whole, got {name}; use replay=transitions"


def _eta_without_slices(parts: Parts, config: Mapping[str, Any]) -> str | None:
    priorities = parts.replay.priorities
    if _slice_length(parts) is not None or not isinstance(priorities, ProportionalPriorities):
        return None
    usual = signature(ProportionalPriorities).parameters["eta"].default
    if priorities.eta == usual:
        return None
    name = type(parts.replay).__name__
    return f"expected {usual} with {name}, got {priorities.eta}: it weighs the steps of a slice; use replay=slices"


REFUSALS: tuple[Refusal, ...] = (
    Refusal("estimator=td_lambda", "replay.n_step", _lambda_with_n_step),
    Refusal("estimator=td_lambda replay.n_step=1", "replay", _time_without_slices),
    Refusal("estimator=retrace replay=slices exploration=ez_greedy", "exploration", _no_behaviour_probability),
    Refusal("exploration=bootstrapped", "exploration", _members_of_no_ensemble),
    Refusal("exploration=noisy", "exploration", _nothing_explores),
    Refusal("network.noisy_std=0.1", "network.noisy_std", _noise_of_no_layers),
    Refusal("total_frames=500", "runner.learning_starts", _never_learns),
    Refusal("replay=slices runner.learning_starts=0", "runner.learning_starts", _starts_before_a_slice),
    Refusal("runner.learning_starts=0", "runner.learning_starts", _starts_before_n_steps),
    Refusal("replay.capacity=1e15", "replay.capacity", larger_than_machine),
    Refusal("replay=frames replay.stack=3", "replay.stack", _stacked_otherwise),
    Refusal("replay=frames replay.stack=1 env=gymnasium env.id=Blackjack-v1", "replay", _not_one_tensor),
    Refusal("priorities=proportional priorities.eta=0.5", "priorities.eta", _eta_without_slices),
)
