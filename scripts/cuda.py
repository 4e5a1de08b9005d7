"""Everything that has to be shown on a GPU, in one command of at most eight minutes.

    python scripts/cuda.py                   # on the first CUDA device; exits with 2 where there is none
    python scripts/cuda.py --device cpu      # what can be shown without one
    python scripts/cuda.py --only heads-eager memory --budgets 3

Prints a table, and writes it to ``--json`` as well. Every check is a process of its own with a budget of seconds: one
that fails or takes longer is a row of the table, and the others run. The exit status is 1 if a row failed.

shapes          the loss and its gradient on ``meta``: no part mixes devices
heads-eager     updates of every head, and of networks with noise, images and a memory, beside the CPU's
heads-compiled  the same with compile=true
heads-captured  the same with compile=cuda_graph; on the CPU a stand-in replays the operations from fixed places
replay          rows stored on the device are drawn as on the CPU, bit for bit
autocast        bfloat16 beside float32
memory          memory of eager, compiled and captured updates, and its growth
deterministic   two runs with deterministic=true are equal bit for bit
resume          a run that was killed resumes exactly
together        two processes on one device give the results of one
pong, rainbow   updates and frames per second (W9) beside a plain torch loop with the same options
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gymnasium.spaces import Discrete
from tensordict import TensorDict
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from qframe.actions import make_action_space  # noqa: E402
from qframe.compiled import update as compiled_update  # noqa: E402
from qframe.compiled.cuda_graph import CapturedFunction, scratch_of  # noqa: E402
from qframe.compiled.pure_update import places  # noqa: E402
from qframe.compiled.update import autocast_type  # noqa: E402
from qframe.heads import (  # noqa: E402
    CategoricalHead,
    FullyParameterizedQuantileHead,
    HLGaussHead,
    ImplicitQuantileHead,
    QuantileHead,
    ScalarHead,
)
from qframe.networks import LSTM, ConvTrunk, MLPTrunk, QNet, SharedTrunk  # noqa: E402
from qframe.objectives import DQNLoss, SoftUpdate  # noqa: E402
from qframe.optimizer import Optimizer  # noqa: E402
from qframe.replay import (  # noqa: E402
    FrameReplayBuffer,
    ProportionalPriorities,
    ReplayBuffer,
    RolloutBuffer,
    SliceReplayBuffer,
)
from qframe.training import Learner  # noqa: E402
from scripts.torch_loop import ACTIONS, EPS, LR, TAU, V_MAX, V_MIN, TorchLoop  # noqa: E402
from tests.fingerprint import fingerprint  # noqa: E402

CPU, ENVS = torch.device("cpu"), 4
EXACT, COARSE = 1e-4, 2e-2
"""Allowed distance of the change of parameters from the CPU's, relative: of float32, and where convolutions may round
to the 11 bits of TF32."""
GRAPH_SHARE = 1.5
"""A captured update may take this many times as long as the replay of its graph alone."""
SLOWER = 4
"""Budgets are this many times as long on the CPU."""
Mode = bool | str


class Row(NamedTuple):
    """A line of the table; ``ok`` is None if there is no bar, or the case does not exist here."""

    case: str
    measured: str
    bar: str = ""
    ok: bool | None = None


class Context(NamedTuple):
    """Where a check runs, and how long its timings take."""

    device: torch.device
    seconds: float = 1.0
    """Of each timing."""
    frames: int = 20_000
    """Of a training whose speed is measured."""

    @property
    def graph(self) -> str:
        """The fastest way of updates on this device that needs no compiler."""
        return "cuda_graph" if self.device.type == "cuda" else "false"


class Case(NamedTuple):
    """A network, a loss and a replay."""

    head: Any = ScalarHead
    network: Any = QNet
    noisy: bool = False
    layout: Any = ReplayBuffer
    is_prioritized: bool = False
    memory: Any = None
    size: int = 0
    """Height and width of images; 0: four numbers."""
    batch_size: int = 32
    capacity: int = 512
    actions: int = 3
    wide: bool = False
    """Whether images pass the whole Nature CNN."""


HEADS = {
    "scalar": ScalarHead,
    "categorical": partial(CategoricalHead, num_atoms=51, v_min=V_MIN, v_max=V_MAX),
    "hl_gauss": partial(HLGaussHead, num_atoms=51, v_min=V_MIN, v_max=V_MAX),
    "quantile": partial(QuantileHead, num_quantiles=32),
    "implicit_quantile": partial(ImplicitQuantileHead, num_quantiles=8, num_target_quantiles=8, num_fixed_quantiles=8),
    "fully_parameterized_quantile": partial(FullyParameterizedQuantileHead, num_quantiles=8),
}
CASES = {name: Case(head=head) for name, head in HEADS.items()} | {
    "rainbow": Case(head=HEADS["categorical"], network=SharedTrunk, noisy=True, is_prioritized=True),
    "images": Case(size=44, layout=partial(FrameReplayBuffer, n_step=3)),
    "memory": Case(layout=partial(SliceReplayBuffer, slice_length=8, burn_in=2), memory=partial(LSTM, hidden_size=8)),
}
W9 = {
    "pong": Case(size=84, layout=FrameReplayBuffer, actions=ACTIONS, capacity=20_000, wide=True),
    "rainbow": Case(
        head=HEADS["categorical"], network=SharedTrunk, noisy=True, is_prioritized=True, size=84, actions=ACTIONS,
        layout=FrameReplayBuffer, capacity=20_000, wide=True,
    ),
}  # fmt: skip


def steps(case: Case, count: int) -> Iterator[TensorDict]:
    """``count`` steps of four environments, with stacks of four frames if there are images; the same every time."""
    generator = torch.Generator().manual_seed(1)
    draw = partial(torch.rand, generator=generator)

    def start() -> Tensor:
        return picture().repeat(1, 4, 1, 1) if case.size else draw(ENVS, 4)

    def picture() -> Tensor:
        return torch.randint(256, (ENVS, 1, case.size, case.size), generator=generator, dtype=torch.uint8)

    now, begins = start(), torch.ones(ENVS, 1, dtype=torch.bool)
    for _ in range(count):
        terminated = draw(ENVS, 1) < 0.1
        after = torch.cat([now[:, 1:], picture()], 1) if case.size else draw(ENVS, 4)
        following = {
            "observation": after, "reward": draw(ENVS, 1), "terminated": terminated, "done": terminated,
            "truncated": torch.zeros(ENVS, 1, dtype=torch.bool),
        }  # fmt: skip
        action = torch.randint(case.actions, (ENVS,), generator=generator)
        rows = {"observation": now, "action": action, "env": torch.arange(ENVS), "next": TensorDict(following, [ENVS])}
        if case.memory is not None:
            rows["memory"] = TensorDict({"is_first": begins, "state": draw(ENVS, 16)}, [ENVS])
        yield TensorDict(rows, [ENVS])
        fresh, begins = start(), terminated
        now = torch.where(terminated.view(-1, *[1] * (after.dim() - 1)), fresh, after)


def filled(case: Case, device: torch.device, count: int = 100) -> Any:
    """The case's replay, on a device, with the rows of ``steps``."""
    priorities = ProportionalPriorities(alpha=0.5, beta=0.5) if case.is_prioritized else None
    sizes = (case.capacity, case.batch_size)
    replay = case.layout(*sizes, gamma=0.99, num_envs=ENVS, priorities=priorities, device=device)
    for rows in steps(case, count):
        replay.extend(rows)
    return replay


def loss_of(case: Case) -> DQNLoss:
    """The case's loss, on the CPU, its target network apart from the online one."""
    torch.manual_seed(0)
    if case.wide:
        settings: dict[str, Any] = {}
    else:
        settings = {"channels": [8, 16], "kernels": [8, 4], "strides": [4, 2], "num_features": 64}
    trunk = ConvTrunk((4, case.size, case.size), **settings) if case.size else MLPTrunk((4,), num_cells=[64, 64])
    space = make_action_space(Discrete(case.actions), encoding="auto")
    remembers = {} if case.memory is None else {"make_memory": case.memory}
    network = case.network(trunk, case.head, action_space=space, noisy=case.noisy, **remembers)
    loss = DQNLoss(network, delay_value=True, double_dqn=True, burn_in=2 if remembers else 0)
    loss.has_target_update, loss.checks_actions = True, False  # as far as its warning is concerned; as a learner does
    with torch.no_grad():
        for parameter in loss.target_value_network.parameters():
            parameter.mul_(1.1)
    return loss


def learner(
    case: Case, device: torch.device, mode: Mode = False, *, algorithm: Any = None, autocast: bool = False,
    stored: torch.device | None = None,
) -> Learner:  # fmt: skip
    """A learner on a device, whose replay is on ``stored``, there by default."""
    loss = loss_of(case).to(device)
    lr, algorithm = (1e-2, partial(torch.optim.SGD, momentum=0.9)) if algorithm is None else (LR, algorithm)
    optimizer = Optimizer(loss.value_network.parameters(), algorithm, lr=lr)
    return Learner(
        loss, filled(case, stored or device), optimizer=optimizer, target_update=SoftUpdate(loss, tau=TAU),
        action_space=loss.action_space, device=device, compiled=mode, autocast=autocast,  # pyright: ignore
    )  # fmt: skip


def learnt(part: Learner) -> Tensor:
    """The parameters that learn, as one vector on the CPU, in 64 bits."""
    parameters = [parameter.detach().flatten() for parameter in part.loss.value_network.parameters()]
    return torch.cat(parameters).double().cpu()


def changed(part: Learner, updates: int = 4) -> Tensor:
    """The change of the parameters by a few updates."""
    before = learnt(part)
    for _ in range(updates):
        part.update()
    return learnt(part) - before


class Played(CapturedFunction):
    """A CUDA graph's fixed places for inputs and outputs on the CPU, its operations run as they are."""

    def _record(self, graph: Any) -> tuple[Callable[[], None], list[Tensor]]:
        outputs = graph(*scratch_of(graph, self._inputs))

        def replay() -> None:
            for output, value in zip(outputs, graph(*self._inputs), strict=True):
                output.copy_(value)

        return replay, outputs


def check_shapes(context: Context) -> Iterator[Row]:
    """Evaluate every loss and its gradient on ``meta``, without memory; an operation on two devices raises an error."""
    for name, case in CASES.items():
        batch, loss = filled(case, CPU).sample(), loss_of(case)
        mode = FakeTensorMode()
        fake = partial(_fake, mode)
        noise = pytree.tree_map_only(Tensor, fake, loss.draw_noise(batch.batch_size))
        tensors, rows = places(loss), batch.apply(fake, device="meta")
        learning = {path: fake(tensor) for path, tensor in tensors.items() if tensor.requires_grad}
        fixed = {path: fake(tensor) for path, tensor in tensors.items() if path not in learning}

        def objective(learning: Any, loss: Any = loss, fixed: Any = fixed, rows: Any = rows, noise: Any = noise) -> Any:
            call = torch.func.functional_call
            metrics: Any = call(loss, learning | fixed, (rows,), {"noise": noise}, tie_weights=False)
            return metrics["loss"], dict(metrics.items())

        with mode:
            gradients, metrics = torch.func.grad(objective, has_aux=True)(learning)
        is_right = all(gradients[path].shape == tensors[path].shape for path in learning)
        devices = ", ".join({str(tensor.device) for tensor in (*gradients.values(), *metrics.values())})
        measured = f"{len(gradients)} gradients, {len(metrics)} metrics on {devices}"
        yield Row(name, measured, "shapes of the parameters", is_right and devices == "meta")


def _fake(mode: FakeTensorMode, tensor: Tensor) -> Any:
    """A tensor like this one, without memory."""
    return FakeTensor(mode, tensor.detach().to("meta"), torch.device("meta"))


def check_heads(context: Context, mode: Mode, cases: Sequence[str] = tuple(CASES)) -> Iterator[Row]:
    """Compare the change of parameters by four updates with the CPU's."""
    if mode == "cuda_graph" and context.device.type != "cuda":
        compiled_update.CapturedFunction = Played  # pyright: ignore
    parts = {name: learner(CASES[name], context.device, mode) for name in cases}
    if context.device.type == "cuda":  # beside which there are cores enough to compile all at once
        for part in parts.values():
            part.prepare()
    for name, part in parts.items():
        right, found = changed(learner(CASES[name], CPU)), changed(part)
        apart = float((found - right).norm() / right.norm())
        allowed = COARSE if CASES[name].size and context.device.type == "cuda" else EXACT
        fell_back = mode is not False and (part.compiled is None or part.compiled.is_uncompiled)
        note = ", but uncompiled" if fell_back else ""
        yield Row(name, f"{apart:.1e} from the CPU's{note}", f"≤ {allowed:.0e}", apart <= allowed and not fell_back)


def check_replay(context: Context) -> Iterator[Row]:
    """Draw from the same rows, stored on the device and on the CPU."""
    layouts: dict[str, Any] = {
        "transitions": partial(ReplayBuffer, n_step=3), "slices": partial(SliceReplayBuffer, slice_length=8),
        "frames": partial(FrameReplayBuffer, n_step=3), "rollout": None,
    }  # fmt: skip
    for name, layout in layouts.items():
        for is_prioritized in (False, True) if layout is not None else (False,):
            case = Case(layout=layout, is_prioritized=is_prioritized, size=44 if name == "frames" else 0)
            one, other = (_rollout(at) if layout is None else filled(case, at) for at in (CPU, context.device))
            equal = True
            for _ in range(4):
                right, found = one.sample(), other.sample()
                equal &= all(bool((leaf == found[key].cpu()).all()) for key, leaf in right.items(True, True))
                equal &= found.get("observation").device.type == context.device.type
                for replay, sample in ((one, right), (other, found)):
                    error = right["next", "reward"].to(sample.device)
                    replay.update_priority(sample["index"], error)
            took = "" if layout is None else f", {1e6 * seconds_of(other.sample, context):.0f} µs a sample"
            words = f"{name}, prioritized" if is_prioritized else name
            yield Row(words, ("equal" if equal else "different") + took, "bit for bit", equal)


def _rollout(device: torch.device) -> RolloutBuffer:
    replay = RolloutBuffer(16, minibatches=2, epochs=2, gamma=0.99, slice_length=8, num_envs=ENVS, device=device)
    for rows in steps(Case(), 16):
        replay.extend(rows)
    return replay


def check_autocast(context: Context) -> Iterator[Row]:
    """The loss in bfloat16 beside the one in float32."""
    try:
        autocast_type(context.device)
    except ValueError as error:
        yield Row("bfloat16", f"not run: {error}")
        return
    for name in ("images", "categorical"):
        for mode in (False, "cuda_graph") if context.device.type == "cuda" else (False,):
            parts = [learner(CASES[name], context.device, mode, autocast=cast) for cast in (False, True)]
            for part in parts:
                part.update()
            plain, cast = (part.take_metrics()["loss/loss"] for part in parts)
            kinds = {parameter.dtype for parameter in parts[1].loss.parameters()}
            apart = abs(plain - cast) / abs(plain)
            is_right = 0 < apart <= 0.05 and kinds == {torch.float32}
            yield Row(f"{name}, {_words(mode)}", f"loss {apart:.1e} from float32's", "≤ 5e-02, and not 0", is_right)


def check_memory(context: Context, modes: Sequence[Mode] = (False, True)) -> Iterator[Row]:
    """The memory of updates, and that more of them take no more."""
    peaks: dict[str, float] = {}
    is_gpu = context.device.type == "cuda"
    case = W9["pong"] if is_gpu else CASES["images"]
    for mode in (*modes, "cuda_graph") if is_gpu else modes:
        part = learner(case, context.device, mode)
        if is_gpu:
            torch.cuda.reset_peak_memory_stats(context.device)
        changed(part, 50)
        before, peak = _megabytes(context.device), _megabytes(context.device, is_peak=is_gpu)
        changed(part, 60)
        grown, name = _megabytes(context.device) - before, _words(mode)
        yield Row(f"growth, {name}", f"{grown:.1f} MB in 60 updates", "≤ 8 MB", grown <= 8)
        if is_gpu:
            peaks[name] = peak
            bar = 2 * peaks[_words(False)]
            yield Row(f"peak, {name}", f"{peak:.0f} MB", f"≤ {bar:.0f} MB, twice eager's", peak <= bar)
        del part


def _megabytes(device: torch.device, *, is_peak: bool = False) -> float:
    """Of the GPU by torch, or resident of this process."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        count = torch.cuda.max_memory_allocated if is_peak else torch.cuda.memory_allocated
        return count(device) / 2**20
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


SMALL = (  # noqa: SIM905 (words as on the command line)
    """
env=cartpole total_frames=1500 runner.learning_starts=200 runner.every=16 runner.updates=4 trunk.num_cells=[32]
replay.batch_size=32 replay.capacity=1000 checkpoint.every=400 evaluation.every=100000 evaluation.final_episodes=1
logger.every=100 deterministic=true network=shared_trunk network.noisy=true head=quantile priorities=proportional
"""
).split()


def training(folder: Path, context: Context, *words: str) -> "subprocess.Popen[bytes]":
    """Start a run on the device, its output in ``folder.log``."""
    command = [sys.executable, "-m", "qframe", "train", *words, f"device={context.device}", f"hydra.run.dir={folder}"]
    with open(f"{folder}.log", "ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def finished(process: "subprocess.Popen[bytes]", folder: Path) -> Path:
    """The folder, once its run is over.

    Raises:
        RuntimeError: it failed; the message is its last line.
    """
    if process.wait():
        lines = Path(f"{folder}.log").read_text(errors="replace").strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"the run ended with status {process.returncode}")
    return folder


def _alike(case: str, *folders: Path) -> Row:
    prints = [fingerprint(folder) for folder in folders]
    differing = [part for part in prints[0] if any(found.get(part) != prints[0][part] for found in prints)]
    return Row(case, ", ".join(differing) or "equal", "bit for bit", not differing)


def _placed(context: Context) -> list[tuple[str, ...]]:
    """The ways that a device is used: the replay beside it, and on it with captured updates."""
    return [(), (f"compile={context.graph}", f"replay.device={context.device}")][context.device.type == "cpu" :]


def check_deterministic(context: Context) -> Iterator[Row]:
    """Two runs of a few hundred updates."""
    with tempfile.TemporaryDirectory() as base:
        for words in _placed(context):
            folders = [Path(base, f"{len(words)}-{number}") for number in range(2)]
            started = [training(folder, context, *SMALL, *words) for folder in folders]
            done = [finished(*pair) for pair in zip(started, folders, strict=True)]
            yield _alike(" ".join(words) or "eager", *done)


def check_resume(context: Context) -> Iterator[Row]:
    """Kill a run after its first checkpoint, resume it, and compare it with one that was not killed."""
    words = (*SMALL, *_placed(context)[-1])
    with tempfile.TemporaryDirectory() as base:
        whole, killed = Path(base, "whole"), Path(base, "killed")
        finished(training(whole, context, *words), whole)
        process = training(killed, context, *words)
        while process.poll() is None and not list(killed.glob("checkpoints/*")):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        status = process.wait()
        yield Row("killed by", signal.Signals(-status).name if status < 0 else f"nothing: it ended with {status}")
        finished(training(killed, context, *words, "resume=auto"), killed)
        yield _alike("killed and resumed", whole, killed)


def check_together(context: Context) -> Iterator[Row]:
    """Two runs at once, beside one alone."""
    words = (*SMALL, *_placed(context)[-1])
    with tempfile.TemporaryDirectory() as base:
        folders = [Path(base, name) for name in ("alone", "first", "second")]
        finished(training(folders[0], context, *words), folders[0])
        both = [training(folder, context, *words) for folder in folders[1:]]
        for pair in zip(both, folders[1:], strict=True):
            finished(*pair)
        yield _alike("two processes", *folders)


def check_w9(context: Context, name: str) -> Iterator[Row]:
    """Updates per second of eager and captured updates beside those of the loop, and frames per second beside it."""
    is_gpu = context.device.type == "cuda"
    case = W9[name] if is_gpu else W9[name]._replace(size=44)
    loop = TorchLoop(
        context.device, case.size, is_rainbow=name == "rainbow", capacity=case.capacity, batch_size=case.batch_size
    )
    for rows in steps(case, 100):
        at, after = rows.to(context.device), rows["next"].to(context.device)
        ended = after["terminated"].squeeze(1).float()
        loop.store(at["observation"], at["action"], after["reward"].squeeze(1), ended, after["observation"])
    adam = partial(torch.optim.Adam, eps=EPS)
    for mode in (False, "cuda_graph") if is_gpu else (False,):
        part = learner(case, context.device, mode, algorithm=adam)
        own = seconds_of(part.update, context)
        other = seconds_of(loop.captured() if mode else loop.update, context)
        speeds = f"{1 / own:,.0f} updates/s, plain torch {1 / other:,.0f}: ratio {other / own:.2f}"
        yield Row(f"updates, {_words(mode)}", speeds)
        if mode:
            assert part.compiled is not None
            (function,) = part.compiled._functions.values()
            alone = seconds_of(function._replay, context)  # pyright: ignore
            share = own / alone
            yield Row("update / its graph", f"{1e6 * own:.0f} / {1e6 * alone:.0f} µs: {share:.2f}",
                      f"≤ {GRAPH_SHARE}", share <= GRAPH_SHARE)  # fmt: skip
    yield _frames(context, name, case.size, loop)


def _frames(context: Context, name: str, size: int, loop: TorchLoop) -> Row:
    try:
        from ale_py.vector_env import AtariVectorEnv  # pyright: ignore
    except ImportError:
        return Row("frames", "not run: Pong needs the extra atari")
    start, count = 1_000, context.frames
    words = [
        "env=atari", "trunk=nature", "loss=double_dqn", "replay.n_step=1", f"replay.device={context.device}",
        "replay.capacity=20_000", "replay.batch_size=32", f"optimizer.lr={LR}", f"target.tau={TAU}", "runner.every=8",
        "runner.updates=2", f"runner.learning_starts={start}", f"total_frames={start + count}",
        "evaluation.every=10_000_000", "evaluation.final_episodes=1", "evaluation.num_envs=1",
        "env.max_episode_frames=4_000", "checkpoint.every=10_000_000", f"compile={context.graph}",
        f"env.size={size}", f"logger.every={count // 10}",
    ]  # fmt: skip
    if name == "rainbow":
        words += ["network=shared_trunk", "network.noisy=true", "head=categorical", "priorities=proportional"]
        words += [f"head.v_min={V_MIN}", f"head.v_max={V_MAX}"]
    with tempfile.TemporaryDirectory() as base:
        folder = finished(training(Path(base, "run"), context, *words), Path(base, "run"))
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    learning = [row for row in rows if {"loss/loss", "time/wall_seconds"} <= row.keys()]
    seconds = learning[-1]["time/wall_seconds"] - learning[0]["time/wall_seconds"]
    own = (learning[-1]["frames"] - learning[0]["frames"]) / seconds
    games = AtariVectorEnv("pong", 8, num_threads=2, max_num_frames_per_episode=4_000, img_height=size, img_width=size)
    other = _loop_speed(games, loop, context)
    return Row("frames", f"{own:,.0f} frames/s, plain torch {other:,.0f}: ratio {own / other:.2f}")


def _loop_speed(envs: Any, loop: TorchLoop, context: Context) -> float:
    """Frames per second of the loop: eight games, an update per four frames."""
    update = loop.captured() if context.device.type == "cuda" else loop.update
    now, frames, started = torch.from_numpy(envs.reset(seed=1)[0]).to(context.device), 0, time.perf_counter()
    while time.perf_counter() - started < 4 * context.seconds:
        action = loop.act(now)
        seen, reward, terminated, _, _ = envs.step(action.cpu().numpy())
        after = torch.from_numpy(seen).to(context.device)
        paid, ended = (torch.from_numpy(x).float().to(context.device) for x in (reward, terminated))
        loop.store(now, action, paid.sign(), ended, after)
        for _ in range(2):
            update()
        now, frames = after, frames + len(action)
    envs.close()
    return frames / (time.perf_counter() - started)


def seconds_of(call: Callable[[], Any], context: Context) -> float:
    """The seconds of a call: the median over blocks of calls, after the work on the device is done."""
    is_gpu = context.device.type == "cuda"
    blocks, calls, until = [], 1, time.perf_counter() + context.seconds
    for _ in range(3):
        call()
    while not blocks or time.perf_counter() < until:
        if is_gpu:
            torch.cuda.synchronize(context.device)
        started = time.perf_counter()
        for _ in range(calls):
            call()
        if is_gpu:
            torch.cuda.synchronize(context.device)
        blocks.append((time.perf_counter() - started) / calls)
        calls = max(1, min(100, int(context.seconds / 20 / blocks[-1])))
    return statistics.median(blocks)


def _words(mode: Mode) -> str:
    return {False: "eager", True: "compiled"}.get(mode, "captured")  # pyright: ignore


class Check(NamedTuple):
    """What is shown, and the seconds that its process may take."""

    rows: Callable[[Context], Iterator[Row]]
    budget: float


CHECKS = {
    "shapes": Check(check_shapes, 20),
    "heads-eager": Check(partial(check_heads, mode=False), 25),
    "heads-compiled": Check(partial(check_heads, mode=True), 90),
    "heads-captured": Check(partial(check_heads, mode="cuda_graph"), 35),
    "replay": Check(check_replay, 25),
    "autocast": Check(check_autocast, 20),
    "memory": Check(check_memory, 60),
    "deterministic": Check(check_deterministic, 40),
    "resume": Check(check_resume, 45),
    "together": Check(check_together, 40),
    "pong": Check(partial(check_w9, name="pong"), 35),
    "rainbow": Check(partial(check_w9, name="rainbow"), 40),
}
"""In the order of the table; their budgets add up to less than eight minutes."""


def rows_of(name: str, context: Context) -> Iterator[Row]:
    """The rows of a check; its failure is the last of them."""
    try:
        yield from CHECKS[name].rows(context)
    except Exception as failure:
        lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
        yield Row("failed", f"{type(failure).__name__}: {' '.join(lines[:2])}"[:200], "", False)


def run_apart(name: str, context: Context, budget: float | None = None, times: float = 1) -> Iterator[Row]:
    """The rows of a check, from a process of its own that ends when its budget does."""
    command = [sys.executable, __file__, "--check", name, "--device", str(context.device)]
    command += ["--frames", str(context.frames)]
    seconds = times * (budget or CHECKS[name].budget * (1 if context.device.type == "cuda" else SLOWER))
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    is_late = False
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        is_late = True
        os.killpg(process.pid, signal.SIGKILL)  # its trainings and compilers as well
        output, errors = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    yield from (Row(*json.loads(line)) for line in output.splitlines() if line.startswith("["))
    if is_late:
        yield Row("the rest", f"not finished within its budget of {seconds:.0f} s", "", False)
    elif process.returncode:
        last = (errors.strip().splitlines() or [""])[-1]
        yield Row("failed", f"status {process.returncode}: {last}"[:200], "", False)


def line_of(name: str, row: Row) -> str:
    """A line of the table."""
    word = {True: "yes", False: "NO", None: ""}[row.ok]
    return f"| {name} | {row.case} | {row.measured} | {row.bar} | {word} |"


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda}
    return {"device": str(device), "gpu": gpu, "system": platform.platform(), "cores": os.cpu_count()} | versions


def main() -> int:
    """Run the checks and print the table; 1 if a row failed, 2 where there is no such device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0", help="cuda:0 by default; cpu for what can be shown without one")
    parser.add_argument("--only", nargs="*", default=list(CHECKS), choices=list(CHECKS), metavar="CHECK")
    parser.add_argument("--frames", type=int, help="of a training whose speed is measured; 20,000, on the CPU 500")
    parser.add_argument("--budgets", type=float, default=1, help="times the budgets, for a machine that is busy")
    parser.add_argument("--json", type=Path, default=ROOT / "outputs" / "cuda.json")
    parser.add_argument("--check", choices=list(CHECKS), help=argparse.SUPPRESS)  # of a process of its own
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("this machine has no CUDA device; --device cpu runs what can be shown without one", file=sys.stderr)
        return 2
    if device.type == "cpu":
        torch.set_num_threads(1)
    context = Context(device, frames=options.frames or (20_000 if device.type == "cuda" else 500))
    if options.check:
        for row in rows_of(options.check, context):
            print(json.dumps(row), flush=True)
        return 0
    print("| check | case | measured | bar | |\n|---|---|---|---|---|", flush=True)
    report: list[dict[str, Any]] = []
    started = time.monotonic()
    for name in options.only:
        for row in run_apart(name, context, times=options.budgets):
            report.append({"check": name, **row._asdict()})
            print(line_of(name, row), flush=True)
    seconds = time.monotonic() - started
    failed = sum(row["ok"] is False for row in report)
    print(f"\n{len(report)} rows on {device}, {failed} failed, in {seconds:.0f} s")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    written = {"machine": machine(device), "seconds": round(seconds, 1), "rows": report}
    options.json.write_text(json.dumps(written, indent=1) + "\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
