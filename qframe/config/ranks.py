"""Runs of several processes: a rank's share of a config, and the ranks that follow the first."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from qframe.config.auto import pick_device, workers_of
from qframe.config.memory_prediction import larger_than_room
from qframe.config.parts import Parts
from qframe.config.targets import trusted
from qframe.envs import Envs, Episodes, derive_seed
from qframe.errors import Fault, UserError
from qframe.machine.ranks import Ranks, given_world

SHARED = ("env", "num_envs"), ("replay", "capacity"), ("replay", "batch_size")
"""The keys of which every rank has an equal share."""


def share_of(config: Mapping[str, Any], rank: int, ranks: int) -> dict[str, Any]:
    """A rank's share of a config: of environments, replay and batch, on a GPU of its own if there are several."""
    share = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    for group, key in SHARED:
        if key in share[group]:
            share[group][key] //= ranks
    place = int(os.environ.get("LOCAL_RANK", rank))
    for node in (share, share["replay"]):
        device = pick_device(str(node.get("device", "cpu")))
        if device.type == "cuda" and device.index is None:
            node["device"] = f"cuda:{place % torch.cuda.device_count()}"
    return share if rank == 0 else share | {"profile": False}


def own_path(share: tuple[int, int] | None) -> tuple[int, ...]:
    """The end of the path to a seed that differs between ranks; rank 0's are those of a run of one process."""
    return () if share is None or share[0] == 0 else share[:1]


def share_refused(parts: Parts) -> list[Fault]:
    """The fault of a rank's share, if its machine has too little memory for it."""
    message = larger_than_room(parts, parts.replay.capacity * int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    return [] if message is None else [Fault("replay.capacity", message)]


def led(config: Mapping[str, Any], run_dir: Path, checkpoint: str | None, reshards: bool = False) -> Ranks | None:
    """The ranks of a run of which this process is the first, with their job given; None for a run of one process.

    Args:
        config: the whole config.
        run_dir: the run's folder.
        checkpoint: the name of the checkpoint that the run resumes from, if any.
        reshards: whether another number of ranks wrote it.

    Raises:
        UserError: ``torchrun`` has started another number of processes.
    """
    workers, (_, given) = workers_of(config), given_world()
    if given not in (1, workers):
        raise UserError(
            f"torchrun has started {given} processes, but the config is for {workers}; set learner=parallel "
            f"learner.workers={given}, or start qframe without torchrun"
        )
    if workers == 1:
        return None
    ranks = Ranks.lead(workers)
    job = {"config": config, "run_dir": str(run_dir.absolute()), "checkpoint": checkpoint, "reshards": reshards}
    ranks.give_job(job | {"trust": trusted()})
    return ranks


def training_episodes(envs: Envs, seed: int, ranks: Ranks | None) -> Episodes:
    """The training environments, or those of a rank, with seeds of their own."""
    episodes = envs.make(seed)
    if ranks is None or ranks.is_first:
        return episodes
    if not episodes.has_episode_seeds:  # they have one generator, which must not be rank 0's
        episodes.close()
        return envs.make(derive_seed(seed, ranks.rank))
    episodes.number_from(ranks.rank * envs.num_envs)
    return episodes
