"""TensorBoard: scalars in groups with a layout of their own, hyperparameters, the config, and what the network sees."""

import json
from collections.abc import Mapping
from typing import Any, cast

import torch
import yaml
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from qframe.loggers.pictures import draw_laws, draw_values
from qframe.loggers.probe_states import FixedStates
from qframe.loggers.protocol import Opening
from qframe.networks.protocol import TrainedNetwork
from qframe.runs.folder import flat

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
NOT_LEARNT_BY = ("logger", "checkpoint", "evaluation", "collector")
"""Groups whose choices are no hyperparameters."""


class TensorBoard:
    """Event files in the run's folder.

    Args:
        histograms: whether parameters and their last gradients are shown at every evaluation.
    """

    def __init__(self, *, histograms: bool) -> None:
        self._histograms = histograms
        self.states: FixedStates | None = None
        """What is drawn of: action values and laws of returns at every evaluation; None: nothing."""
        self._writer: SummaryWriter | None = None

    @property
    def writer(self) -> SummaryWriter:
        """The open writer."""
        assert self._writer is not None, "open() comes first"
        return self._writer

    def open(self, opening: Opening) -> None:
        """Start an event file; at a resume, TensorBoard drops what stands past the checkpoint in earlier ones."""
        self._writer = SummaryWriter(str(opening.folder), purge_step=opening.void_from)
        if opening.config and not opening.void_from:
            text = yaml.safe_dump(dict(opening.config), sort_keys=False, allow_unicode=True, width=120)
            self.writer.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))
            self.writer.add_custom_scalars(LAYOUT)
            self._hyperparameters(opening.config)

    def log(self, frames: int, values: Mapping[str, float]) -> None:
        """One scalar each."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, frames)

    def look(self, frames: int, network: TrainedNetwork) -> None:
        """Pictures of the fixed states, and histograms by choice."""
        if self.states is not None:
            self._picture(frames, self.states, network)
        if self._histograms:
            for name, parameter in cast(nn.Module, network).named_parameters():
                self._histogram(f"parameters/{name}", parameter.detach(), frames)
                if parameter.grad is not None:
                    self._histogram(f"gradients/{name}", parameter.grad, frames)

    def animate(self, name: str, frames: int, gif: bytes, size: tuple[int, int]) -> None:
        """An animated GIF of that height and width among the images, which the browser plays."""
        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=gif)
        event = Summary(value=[Summary.Value(tag=name, image=image)])
        self.writer.file_writer.add_summary(event, frames)  # pyright: ignore[reportOptionalMemberAccess]

    def finish(self, summary: Mapping[str, Any]) -> None:
        """What the HParams tab compares by."""
        for name in OBJECTIVES:
            self.writer.add_scalar(name, summary[name], summary["frames"])
        self._session(hparams({}, {})[2])

    def flush(self) -> None:
        """Write what is still held back."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _hyperparameters(self, config: Mapping[str, Any]) -> None:
        """The run's row in the HParams tab, there from the start.

        No list of columns is written: TensorBoard makes it of all runs it shows, those that differ first.
        """
        chosen = flat({group: value for group, value in config.items() if group not in NOT_LEARNT_BY})
        values = {key.removesuffix("._target_"): _plain(key, value) for key, value in chosen.items()}
        values |= {"seed": str(config["seed"])} if "seed" in config else {}  # a name: as a number it is shown as 1.0000
        self._session(hparams({key: value for key, value in values.items() if value is not None}, {})[1])

    def _session(self, event: Any) -> None:
        self.writer._get_file_writer().add_summary(event)

    def _picture(self, frames: int, states: FixedStates, network: TrainedNetwork) -> None:
        seen = states.see(network)
        if not all(torch.from_numpy(x).isfinite().all() for x in (seen.values, seen.locations)):
            return  # it diverges, and training says so
        at = f"{frames:,} frames"
        values = draw_values(seen.values, seen.is_greedy, f"action values, {at}")
        self.writer.add_image("eval/action_values", values, frames, dataformats="HWC")
        if seen.locations.shape[-1] > 1:
            of = f", {seen.num_members} members mixed" if seen.num_members > 1 else ""
            laws = draw_laws(seen.locations, seen.masses, f"laws of returns{of}, {at}")
            self.writer.add_image("eval/return_distributions", laws, frames, dataformats="HWC")

    def _histogram(self, name: str, values: torch.Tensor, frames: int) -> None:
        if values.isfinite().all():
            self.writer.add_histogram(name.replace(".", "/"), values.float().cpu(), frames)


def _plain(key: str, value: Any) -> str | float | int | None:
    """A value as the HParams tab takes it; a ``_target_`` by the name of its class, a flag as a word, not 1.0000."""
    if key.endswith("._target_"):
        return str(value).rpartition(".")[2]
    is_plain = value is None or (isinstance(value, str | float | int) and not isinstance(value, bool))
    return value if is_plain else json.dumps(value, default=str)
