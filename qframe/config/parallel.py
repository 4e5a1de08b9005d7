"""Why a config cannot be learned from in parallel, or would gain nothing."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from qframe.config.auto import workers_of
from qframe.config.contracts import some_observations
from qframe.config.parts import Parts
from qframe.config.ranks import SHARED
from qframe.machine.ranks import flops
from qframe.networks.carried import carried
from qframe.networks.normalization import RunningNorm
from qframe.training.learner_ranks import check_workers

FORWARD_FLOPS_PER_SECOND = 2.5e10
"""Of forward passes, whose updates take this time: measured by ``scripts/parallel_learners.py`` on one core."""
EXCHANGE_SECONDS, EXCHANGE_SECONDS_PER_PARAMETER = 0.7e-3, 2.2e-9
"""Of an exchange of the gradient between two processes of one machine, by the same script."""


def _is_parallel(config: Mapping[str, Any]) -> bool:
    return "workers" in config["learner"]


def impossible_workers(parts: Parts, config: Mapping[str, Any]) -> str | None:
    """Numbers of the learner out of range, or a backend that this machine cannot use."""
    if not _is_parallel(config):
        return None
    node, workers = config["learner"], int(config["learner"]["workers"])
    try:
        check_workers(workers, node.get("timeout", 1.0))
    except ValueError as error:
        return str(error)
    is_gpu = next(parts.loss.parameters()).is_cuda
    if node.get("backend") == "nccl" and not is_gpu:
        return "backend=nccl is for GPUs, and the network is on the CPU; use learner.backend=auto"
    here = int(os.environ.get("LOCAL_WORLD_SIZE", workers))
    if is_gpu and node.get("backend") != "gloo" and here > torch.cuda.device_count():
        return (
            f"nccl needs a GPU for each of the {here} processes on this machine, which has "
            f"{torch.cuda.device_count()}; lower learner.workers, or share a GPU by learner.backend=gloo"
        )
    return None


def indivisible(parts: Parts, config: Mapping[str, Any]) -> str | None:
    """A number of which every process has an equal share, and that does not divide."""
    workers = workers_of(config)
    if workers < 2:
        return None
    length = getattr(parts.replay, "slice_length", 1)
    for group, key in SHARED:
        unit = length if key == "batch_size" else 1
        if (number := config[group].get(key)) is not None and number % (workers * unit):
            slices = f" of whole slices of {unit} steps" if unit > 1 else ""
            return (
                f"workers={workers} processes have equal shares{slices}, and {group}.{key}={number} does not divide; "
                f"set {group}.{key}={max(1, round(number / workers / unit)) * workers * unit}"
            )
    return None


def statistics_of_one(parts: Parts, config: Mapping[str, Any]) -> str | None:
    """Statistics of collected steps, which would differ between processes."""
    if workers_of(config) < 2:
        return None
    names = {
        "network.normalize_observation": any(isinstance(part, RunningNorm) for part in parts.loss.modules()),
        "reward.normalize": config["reward"].get("normalize", False),
        "reward.bonus": parts.reward.bonus is not None,
    }
    found = next((name for name, is_on in names.items() if is_on), None)
    if found is None:
        return None
    off = "null" if found == "reward.bonus" else "false"
    return f"{found} follows the steps of one process, and each would follow its own; set {found}={off}"


def exchanging_loss(parts: Parts, config: Mapping[str, Any]) -> str | None:
    """A loss within which the processes exchange a number, which compiled code cannot."""
    if workers_of(config) < 2 or not config.get("compile") or getattr(parts.replay, "across_episodes", True):
        return None
    return (
        f"compile={str(config['compile']).lower()} cannot compile a loss that exchanges the number of steps that "
        "count, as slices that end with an episode need; set compile=false, or replay.across_episodes=true"
    )


def unshared_optimizer(parts: Parts, config: Mapping[str, Any]) -> str | None:
    """An optimizer without one vector of the gradient."""
    if workers_of(config) < 2 or parts.optimizer.flat is not None:
        return None
    name = type(parts.optimizer.wrapped).__name__
    return f"{name} does not work elementwise on one vector, which processes exchange; use optimizer=adam"


def not_worth_it(parts: Parts, config: Mapping[str, Any]) -> str | None:
    """An exchange that costs more time than dividing the batch saves, by a fixed rule from sizes."""
    workers = workers_of(config)
    if workers < 2 or config["learner"].get("force"):
        return None
    network: Any = parts.loss.value_network
    acting = carried(network, 2, parts.action_space)
    number = sum(parameter.numel() for parameter in network.parameters())
    batch = config["replay"].get("batch_size") or parts.replay.batch_size
    observations = some_observations(parts.envs.observation_space, next(network.parameters()).device)
    each = flops(lambda: acting.predict(observations)) / 2
    saved = each * batch * (1 - 1 / workers) / FORWARD_FLOPS_PER_SECOND
    cost = EXCHANGE_SECONDS + EXCHANGE_SECONDS_PER_PARAMETER * number
    if saved >= cost:
        return None
    return (
        f"an update on 1/{workers} of the batch saves about {saved * 1e3:.2g} ms, and exchanging the gradient of "
        f"{number:,} parameters costs about {cost * 1e3:.2g} ms; use learner=single, or learner.force=true all the same"
    )
