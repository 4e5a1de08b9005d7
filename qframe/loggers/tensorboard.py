"""TensorBoard: scalars in groups, a layout of charts, hyperparameters, the config, and pictures of the network."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import yaml
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from qframe.loggers.pictures import draw_laws, draw_values
from qframe.loggers.probe_states import FixedStates
from qframe.loggers.protocol import Opening, Record
from qframe.networks.protocol import TrainedNetwork
from qframe.runs.folder import flat, planned_jobs

LAYOUT = {
    "qframe": {
        "return": ["Multiline", ["train/episode_return", "eval/episode_return"]],
        "episode length": ["Multiline", ["train/episode_length", "eval/episode_length"]],
        "loss": ["Multiline", ["loss/loss"]],
        "td_error": ["Multiline", ["loss/td_error.*"]],
        "gradient norm": ["Multiline", ["loss/grad_norm"]],
        "exploration": ["Multiline", ["exploration/.*"]],
        "frames per second": ["Multiline", ["time/frames_per_second"]],
    }
}
OBJECTIVES = ("eval_return_mean", "eval_return_last")
NO_HYPERPARAMETERS = ("name", "logger", "checkpoint", "evaluation", "collector")
"""Entries of the config that do not change what is learnt."""


class TensorBoard(Record):
    """Event files in the run's folder.

    Args:
        histograms: whether parameters and their last gradients are shown at every evaluation.
    """

    def __init__(self, *, histograms: bool) -> None:
        self._histograms = histograms
        self.states: FixedStates | None = None
        """The states whose action values and return distributions are drawn at every evaluation, or None."""
        self._writer: SummaryWriter | None = None

    @property
    def writer(self) -> SummaryWriter:
        """The open writer."""
        assert self._writer is not None, "open() comes first"
        return self._writer

    def open(self, opening: Opening) -> None:
        """Start an event file; for a resumed run, TensorBoard drops the events past the checkpoint in earlier files."""
        self._writer = SummaryWriter(str(opening.folder), purge_step=opening.void_from)
        if opening.config and not opening.void_from:
            text = yaml.safe_dump(dict(opening.config), sort_keys=False, allow_unicode=True, width=120)
            self.writer.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))
            self.writer.add_custom_scalars(LAYOUT)
            self._hyperparameters(opening.config, varied_keys([*planned_jobs(opening.folder.parent).values()]))

    def log(self, frames: int, values: Mapping[str, float]) -> None:
        """Write one scalar per metric."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, frames)

    def log_network(self, frames: int, network: TrainedNetwork) -> None:
        """Draw the fixed states and, if chosen, histograms."""
        if self.states is not None:
            self._picture(frames, self.states, network)
        if self._histograms:
            assert isinstance(network, nn.Module)
            for name, parameter in network.named_parameters():
                self._histogram(f"parameters/{name}", parameter.detach(), frames)
                if parameter.grad is not None:
                    self._histogram(f"gradients/{name}", parameter.grad, frames)

    def animate(self, name: str, frames: int, gif: bytes, size: tuple[int, int]) -> None:
        """Show an animated GIF of this height and width among the images, where the browser plays it."""
        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=gif)
        event = Summary(value=[Summary.Value(tag=name, image=image)])
        self.writer.file_writer.add_summary(event, frames)  # pyright: ignore[reportOptionalMemberAccess]

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the scores that the HParams tab compares."""
        for name in OBJECTIVES:
            self.writer.add_scalar(name, summary[name], summary["frames"])
        self._session(hparams({}, {})[2])

    def flush(self) -> None:
        """Write all that is buffered."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _hyperparameters(self, config: Mapping[str, Any], varied: set[str]) -> None:
        """Add the run to the HParams tab, at its start.

        A sweep's job shows only the values that differ among the jobs. No list of columns is written: TensorBoard
        derives it from all the runs it shows, and its table has those that differ.
        """
        chosen = flat({group: value for group, value in config.items() if group not in NO_HYPERPARAMETERS})
        values = {key.removesuffix("._target_"): _plain(key, value) for key, value in chosen.items()}
        if varied:
            values = {key: value for key, value in values.items() if any(f"{key}.".startswith(f"{v}.") for v in varied)}
        values |= {"seed": str(config["seed"])} if "seed" in config else {}  # as a number it would be shown as 1.0000
        self._session(hparams({key: value for key, value in values.items() if value is not None}, {})[1])

    def _session(self, event: Any) -> None:
        self.writer._get_file_writer().add_summary(event)

    def _picture(self, frames: int, states: FixedStates, network: TrainedNetwork) -> None:
        seen = states.see(network)
        if not all(torch.from_numpy(x).isfinite().all() for x in (seen.values, seen.locations)):
            return  # it has diverged, which training reports
        at = f"{frames:,} frames"
        values = draw_values(seen.values, seen.is_greedy, f"action values, {at}", states.action_names)
        self.writer.add_image("states/action_values", values, frames, dataformats="HWC")
        if seen.locations.shape[-1] > 1:
            of = f", {seen.num_members} members mixed" if seen.num_members > 1 else ""
            laws = draw_laws(seen.locations, seen.masses, f"return distributions{of}, {at}", states.action_names)
            self.writer.add_image("states/return_distributions", laws, frames, dataformats="HWC")

    def _histogram(self, name: str, values: torch.Tensor, frames: int) -> None:
        if values.isfinite().all():
            self.writer.add_histogram(name.replace(".", "/"), values.float().cpu(), frames)


def varied_keys(jobs: Sequence[Sequence[str]]) -> set[str]:
    """The keys in which the jobs of a sweep differ; none if they differ in presets, which may set any key.

    >>> sorted(varied_keys([["head=scalar", "seed=1", "gamma=.9"], ["head=quantile", "seed=2", "gamma=.9"]]))
    ['head', 'seed']
    """
    every = {override for job in jobs for override in job}
    shared = every.intersection(*jobs)
    varied = {override.lstrip("+~").partition("=")[0] for override in every - shared}
    return set() if "experiment" in varied else varied


def _plain(key: str, value: Any) -> str | float | int | None:
    """A value for the HParams tab: a ``_target_`` as its class name, a flag as a word instead of 1.0000."""
    if key.endswith("._target_"):
        return str(value).rpartition(".")[2]
    is_plain = value is None or (isinstance(value, str | float | int) and not isinstance(value, bool))
    return value if is_plain else json.dumps(value, default=str)
