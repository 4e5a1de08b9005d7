"""Resuming a run with another number of learners: what is kept, and what begins again."""

from pathlib import Path
from typing import Any

from qframe.checkpoints import load_checkpoint
from qframe.training.runner import Runner

KEPT = ("run", "best", "learner", "collector")
"""The parts of the first rank that are read; every rank's replay is left behind."""


def resharded(runner: Runner, folder: Path, name: str, share: tuple[int, int]) -> dict[str, Any]:
    """The state that a rank resumes from if the checkpoint was written by another number of ranks.

    Networks, optimizer, counters, exploration and logs are kept. Every environment starts the episode after its running
    one, and replays fill again, for as many frames as before the first update, before updates continue.

    Args:
        runner: of this rank, at its start.
        folder: of the run's checkpoints.
        name: of the checkpoint.
        share: the rank, and the number of ranks now.

    Raises:
        ValueError: the collector's state cannot be divided.
    """
    state = load_checkpoint(folder, KEPT, name=name)
    episodes = list(state["collector"].get("episode", []))
    for rank in range(1, state["run"].get("ranks", 1)):
        episodes += load_checkpoint(folder, ("collector",), rank=rank, name=name)["collector"].get("episode", [])
    rank, count = share[0], runner.collector.envs.num_envs
    if len(episodes) != count * share[1] or "exploration" not in state["collector"]:
        raise ValueError("actors have states of their own, which --reshard cannot divide; keep learner.workers")
    own = {key: state["collector"][key] for key in ("exploration", "noise")}
    following = [episode + 1 for episode in episodes[rank * count : (rank + 1) * count]]
    state["collector"] = runner.collector.state_dict() | own | {"episode": following, "running": None}
    state["replay"] = runner.replay.state_dict()
    state["run"] |= {"updates_owed": 0, "refills_from": state["run"]["frames"]}
    if (support := state["learner"].get("support")) is not None:
        support["returns"]["rewards"] = {}
    return state
