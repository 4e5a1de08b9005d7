"""Run folders that a command or a config names, their checkpoints, and starting from the weights in them."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from qframe.checkpoints import load_checkpoint
from qframe.errors import UserError
from qframe.formatting import format_path
from qframe.objectives import DQNLoss
from qframe.runs.folder import RunFolder, open_run

SHOWN = 3
"""Differences that a message names."""


def checkpoint(folder: RunFolder, parts: Collection[str] | None = None) -> dict[str, Any]:
    """The newest whole checkpoint of a run, or some parts of it.

    Raises:
        UserError: there is none, or only ones that are damaged or of another format.
    """
    try:
        state = load_checkpoint(folder.checkpoints, parts)
    except ValueError as error:
        raise UserError(str(error)) from error
    for part in ("run", "best"):
        found = state.get(part, {"frames": 0})
        frames = found.get("frames") if isinstance(found, dict) else None
        if not isinstance(frames, int) or not 0 <= frames < 2**63:
            raise UserError(f"the newest checkpoint in {folder.checkpoints} has no frames in {part}.pt; remove it")
    return state


class TrainedWeights(NamedTuple):
    """The state of a run's ``best`` or ``last`` network, after this many frames."""

    network: Mapping[str, Tensor]
    name: str
    frames: int
    longest_episode: int
    """Steps of the longest training episode."""


def trained_weights(folder: RunFolder, *, last: bool = False) -> TrainedWeights:
    """The weights of a run's best network; of its last on request, or if the checkpoint has no best one.

    Raises:
        UserError: there is no checkpoint, or none that has networks.
    """
    state = checkpoint(folder, ("run", "best", "learner"))
    try:
        frames, longest = state["run"]["frames"], state["run"]["episodes"]["longest"]
        kept = {candidate["frames"]: candidate["network"] for candidate in state["best"]["candidates"]}
        # The run chose among its candidates when it finished; until then, the best periodic evaluation decides.
        chosen = folder.summary.get("best_frames")
        best = chosen if chosen in kept or chosen == frames else next(iter(kept), None)
        if not last and best is not None and best in kept:
            return TrainedWeights(kept[best], "best", best, longest)
        prefix, loss = "value_network.", state["learner"]["loss"]
        own = {name.removeprefix(prefix): entry for name, entry in loss.items() if name.startswith(prefix)}
        return TrainedWeights(own, "best" if best == frames and not last else "last", frames, longest)
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(f"the newest checkpoint in {folder.checkpoints} is not one of a run; remove it") from error


def start_from(
    loss: DQNLoss, path: Path, part: Literal["all", "trunk"] = "all", network: Literal["best", "last"] = "best"
) -> str:
    """Give the networks of a loss the weights of an earlier run, the target network as well.

    The statistics of normalised observations are part of the trunk, and come along.

    Args:
        loss: of the new run.
        path: the earlier run's folder.
        part: the whole network, or its trunk alone.
        network: the earlier run's best or last network.

    Returns:
        A note on the weights.

    Raises:
        UserError: there is no such run.
        ValueError: names or shapes of its weights that differ.
    """
    found = trained_weights(open_run(path), last=network == "last")
    own: Any = loss.value_network
    assert isinstance(own, nn.Module)
    state = own.state_dict()
    if differences := _differences(state, found.network, "" if part == "all" else "trunk."):
        shown = "; ".join(differences[:SHOWN]) + (f"; and {len(differences) - SHOWN} more" * (len(differences) > SHOWN))
        remedy = _remedy(state, found, part)
        raise ValueError(f"the {_named(part)} of {format_path(path)} does not fit: {shown}; {remedy}")
    with torch.no_grad():
        for name, entry in state.items():
            if part == "all" or name.startswith("trunk."):
                entry.copy_(found.network[name])
    if loss.delay_value:
        loss.target_value_network.load_state_dict(state)
    return f"{_named(part)} from {format_path(path)} ({found.name} network, after {found.frames:,} frames)"


def _named(part: str) -> str:
    return "trunk" if part == "trunk" else "network"


def _differences(own: Mapping[str, Tensor], other: Mapping[str, Tensor], prefix: str) -> list[str]:
    """The names and shapes that differ among the weights that start with a prefix."""
    names = [name for name in {**own, **other} if name.startswith(prefix)]
    found = []
    for name in names:
        if name not in other or name not in own:
            found.append(f"{name} is only {'there' if name in other else 'here'}")
        elif own[name].shape != other[name].shape:
            found.append(f"{name} is {list(other[name].shape)} there and {list(own[name].shape)} here")
    return found


def _remedy(own: Mapping[str, Tensor], found: TrainedWeights, part: str) -> str:
    if part == "all" and not _differences(own, found.network, "trunk."):
        return "take the trunk alone by init.part=trunk"
    is_normal, was_normal = (any(".norms." in name for name in names) for names in (own, found.network))
    if is_normal != was_normal:
        return f"set network.normalize_observation={str(was_normal).lower()}, as there"
    return "choose the trunk and the observations of that run"
