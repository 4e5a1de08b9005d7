"""The trained network of a run: the best one of its evaluations, or the last."""

from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from qframe.config import build
from qframe.config.auto import resolved
from qframe.config.parts import Parts
from qframe.config.saved_run import checkpoint, fitting, saved_config
from qframe.runs.folder import RunFolder


class Trained(NamedTuple):
    """A run's parts with trained weights, which network they are, and for how many frames it was trained."""

    config: DictConfig
    parts: Parts
    name: str
    frames: int

    @property
    def network(self) -> Any:
        """The network."""
        return self.parts.loss.value_network


def trained(folder: RunFolder, *, last: bool = False) -> Trained:
    """The best network of a run, or the last one where it is asked for or there is no better.

    Raises:
        UserError: no checkpoint, or one that does not fit.
    """
    config = saved_config(folder)
    parts = build.parts(config)
    torch.set_num_threads(resolved(config)[0]["runner"]["threads"])
    state = checkpoint(folder, ("run", "best", "learner"))
    use_best = "network" in state["best"] and not last
    with fitting():
        if use_best:
            parts.loss.value_network.load_state_dict(state["best"]["network"])
        else:
            parts.loss.load_state_dict(state["learner"]["loss"])
    frames = state["best" if use_best else "run"]["frames"]
    return Trained(config, parts, "best" if use_best else "last", frames)
