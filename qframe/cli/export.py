"""``qframe export RUN``: write the trained policy as one file that runs without qframe, and check it."""

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from tensordict import TensorDictBase
from torch import Tensor

from qframe.config.saved_run import TrainedRun, trained_run
from qframe.config.targets import apply_trust
from qframe.errors import UserError, hint
from qframe.export.formats import FORMATS, OUTPUTS
from qframe.export.policy import GreedyPolicy
from qframe.formatting import format_path, install_command
from qframe.loggers.probe_states import FixedStates
from qframe.runs.folder import open_run

CHECKED = 1_000  # observations
TOLERANCE = 1e-4  # of action values, relative to their largest


class Example(NamedTuple):
    """Inputs of the policy: the entries of observations ``[B, …]``, then masks ``[B, A]``."""

    names: list[str]
    paths: list[tuple[str, ...]]
    inputs: tuple[Tensor, ...]


def run(arguments: argparse.Namespace) -> int:
    """Export the policy, run it beside the network on the same observations, and print how well they agree.

    Raises:
        UserError: there is no run or no such format, or a package is missing.
    """
    if arguments.format not in FORMATS:
        raise UserError(f"--format: unknown format '{arguments.format}'; {hint(arguments.format, FORMATS)}")
    form = FORMATS[arguments.format]
    missing = [package for package in form.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"--format: {arguments.format} needs {', '.join(missing)}; {install_command('onnx')}")
    apply_trust(arguments.trust)
    folder = open_run(arguments.run)
    found = trained_run(folder, last=arguments.last, device="cpu")
    path = arguments.out or folder.path / f"policy{form.suffix}"
    if not path.parent.is_dir():
        raise UserError(f"--out: the folder of '{path}' does not exist; create it, or choose another")
    example = _example(found)
    policy = GreedyPolicy(found.network.cpu(), found.parts.action_space, example.paths)
    form.write(policy, example.inputs, example.names, path)
    print(f"{found.name} network of {folder.path}, trained for {found.frames:,} frames")
    for name, entry in zip(example.names, example.inputs, strict=True):
        print(f"  input   {name:<20} {str(entry.dtype).removeprefix('torch.'):<8} {['B', *entry.shape[1:]]}")
    with torch.no_grad():
        outputs = policy(*example.inputs)
    for name, entry in zip(OUTPUTS, outputs, strict=False):
        print(f"  output  {name:<20} {str(entry.dtype).removeprefix('torch.'):<8} {['B', *entry.shape[1:]]}")
    print(_agreement(outputs, form.load(path), example))
    print(f"written to   {format_path(path)}")
    return 0


def _example(found: TrainedRun) -> Example:
    """Observations of random episodes, with random masks that allow at least one action."""
    states = FixedStates(found.parts.envs, found.parts.action_space, number=CHECKED, distance=1)
    entries = _entries(states.played[0])
    names = [".".join(("observation", *path)) for path in entries]
    generator = torch.Generator().manual_seed(0)
    probe = GreedyPolicy(found.network, found.parts.action_space, [()])
    branches = [torch.rand(CHECKED, size, generator=generator) for size in found.parts.action_space.choices]
    masks = [(branch < 0.7) | (branch == branch.amin(-1, keepdim=True)) for branch in branches]
    mask = torch.cat(masks, -1)
    assert mask.shape[-1] == probe.num_mask
    names, inputs = [*names, "action_mask"], (*entries.values(), mask)
    policy = GreedyPolicy(found.network, found.parts.action_space, list(entries))
    if policy.state_size:
        names.append("state")
        inputs += (torch.zeros(CHECKED, policy.state_size),)
        if policy.wants_reward:
            names.append("last_reward")
            inputs += (torch.randn(CHECKED, 1, generator=generator),)
        with torch.no_grad():  # a state as it is after a few steps
            at = names.index("state")
            for _ in range(3):
                inputs = (*inputs[:at], policy(*inputs)[2], *inputs[at + 1 :])
    return Example(names, list(entries), inputs)


def _entries(observation: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Tensor]:
    """The tensors of an observation by path; ``()`` for a plain one."""
    if not isinstance(observation, TensorDictBase):
        return {path: observation}
    return {p: entry for key, value in observation.items() for p, entry in _entries(value, (*path, key)).items()}


def _agreement(expected: tuple[Tensor, ...], loaded: Callable[..., Any], example: Example) -> str:
    """How well the exported policy agrees with the network.

    Raises:
        RuntimeError: it does not agree.
    """
    action, *values = (torch.as_tensor(output) for output in loaded(*example.inputs))
    difference = max(float((value - own).abs().max()) for value, own in zip(values, expected[1:], strict=True))
    same = (action == expected[0]).reshape(CHECKED, -1).all(-1)
    allowed = TOLERANCE * max(1.0, float(expected[1].abs().max()))
    compared = "action values and states" if len(values) > 1 else "action values"
    equal = f"actions equal on {int(same.sum()):,} of {CHECKED:,} observations"
    text = f"{compared} within {difference:.1e}, {equal}"
    if not difference <= allowed or int(same.sum()) < 0.99 * CHECKED:  # equal values may fall either way
        raise RuntimeError(f"the exported policy differs from the network: {text}")
    return f"checked: {text}"
