"""Predicts what the actors of a run send and receive, by some messages of one that is made here."""

import math
import pickle
import time
from copy import copy, deepcopy
from typing import Any

import torch

from qframe.config.build import Assembly
from qframe.envs import derive_seed
from qframe.machine.generators import globally_seeded
from qframe.replay.priorities import starts_from_td_error
from qframe.training.actor import Actor, ActorParts, published_tensors

MEGABYTE = 1e6
TRIALS = 3
"""Messages of which the fastest counts, as other processes slow some down."""


def actor_line(assembly: Assembly) -> str | None:
    """The actors, their speed at most, and the bytes between processes; None without actors."""
    settings, built = assembly.config["collector"], assembly.parts
    if (actors := settings.get("actors")) is None:
        return None
    count, steps = built.envs.num_envs // actors, settings["steps"]
    actor, version = Actor([]), [tensor.cpu().numpy() for tensor in published_tensors(built.loss.value_network)]
    threads, seconds = torch.get_num_threads(), math.inf
    torch.set_num_threads(1)
    with globally_seeded(0):
        actor.make(_parts_of(assembly, count))
        message = actor.collect(version, 1)  # it begins every episode, unlike the others
        for _ in range(TRIALS):
            started = time.perf_counter()
            message = actor.collect(version, steps)
            seconds = min(seconds, time.perf_counter() - started)
    torch.set_num_threads(threads)
    actor.close()
    size, frames, rate = len(pickle.dumps(message, protocol=5)), sum(message["sizes"]), actors / seconds
    sent, networks = (rate * each / MEGABYTE for each in (size, sum(part.nbytes for part in version)))
    return (
        f"{actors} × {count} environments, {settings['cpus']:g} CPU each; messages of {frames} frames, "
        f"{size / frames:,.0f} bytes a frame; at most {rate * frames:,.0f} frames/s, with {sent:,.2f} MB/s from the "
        f"actors and {networks:,.2f} MB/s of networks to them"
    )


def _parts_of(assembly: Assembly, count: int) -> Any:
    """The parts of an actor with the first environments."""
    built, loss = assembly.parts, assembly.parts.loss
    network: Any = deepcopy(loss.value_network)
    seed = derive_seed(assembly.config["seed"], "train")
    return ActorParts(
        copy(built.envs), network.cpu().requires_grad_(False), deepcopy(built.exploration), built.action_space,
        assembly.make_reward(count), seed, 0, count, "behaviour_probability" in loss.estimator.requires,
        loss.has_memory and built.replay.stores_state, starts_from_td_error(built.replay.priorities),
    )  # fmt: skip
