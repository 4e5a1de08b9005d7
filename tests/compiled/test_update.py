"""The update as one pure function: the same step as the eager one, for every head, and compiled."""

import warnings
from functools import partial

import pytest
import torch
from gymnasium.spaces import Discrete
from tensordict import TensorDict
from torch import nn, optim
from torch.utils import _pytree as pytree

from qframe.actions import make_action_space
from qframe.compiled import library as native
from qframe.compiled import update as compiled
from qframe.compiled.update import NotCompiled
from qframe.errors import RunError
from qframe.heads import (
    CategoricalHead,
    FullyParameterizedQuantileHead,
    HLGaussHead,
    ImplicitQuantileHead,
    QuantileHead,
    ScalarHead,
)
from qframe.networks import GRU, LSTM, MLPTrunk, QNet, SharedTrunk
from qframe.networks.normalization import NormalizedTrunk
from qframe.objectives import DQNLoss, HardUpdate, NoUpdate, SoftUpdate
from qframe.optimizer import Optimizer
from qframe.replay import FrameReplayBuffer, ReplayBuffer, SliceReplayBuffer
from qframe.training import Learner
from tests.runners import prioritized

CPU = torch.device("cpu")
HEADS = {
    "scalar": ScalarHead,
    "categorical": partial(CategoricalHead, num_atoms=11),
    "hl_gauss": partial(HLGaussHead, num_atoms=11),
    "quantile": partial(QuantileHead, num_quantiles=5),
    "implicit": partial(ImplicitQuantileHead, num_quantiles=4, num_target_quantiles=3, num_fixed_quantiles=6),
    "fqf": partial(FullyParameterizedQuantileHead, num_quantiles=4),
}


def filled(replay, *, remembers=False):
    generator = torch.Generator().manual_seed(1)
    draw = partial(torch.rand, generator=generator)
    now, begins = draw(4, 3), torch.ones(4, 1, dtype=torch.bool)
    for _ in range(30):
        following = {
            "observation": draw(4, 3), "reward": draw(4, 1), "terminated": draw(4, 1) < 0.1,
            "truncated": torch.zeros(4, 1, dtype=torch.bool), "done": torch.zeros(4, 1, dtype=torch.bool),
        }  # fmt: skip
        following["done"] = following["terminated"]
        action = torch.randint(0, 2, (4,), generator=generator)
        rows = {"observation": now, "action": action, "env": torch.arange(4), "next": TensorDict(following, [4])}
        if remembers:
            rows["memory"] = TensorDict({"is_first": begins, "state": draw(4, 10)}, [4])
        begins = following["done"]
        replay.extend(TensorDict(rows, [4]))
        now = torch.where(following["done"], draw(4, 3), following["observation"])
    return replay


def learner(
    *, compiled, head=ScalarHead, network=QNet, noisy=False, algorithm=optim.Adam, max_grad_norm=1.0, target="soft",
    replay=ReplayBuffer, estimator="TD0", autocast=False, double=False, updates=1, nonfinite="stop", normalized=False,
    may_fall_back=False, memory=None,
):  # fmt: skip
    torch.manual_seed(0)
    space = make_action_space(Discrete(2), encoding="auto")
    trunk = MLPTrunk((3,), num_cells=[16])
    remembers = {} if memory is None else {"make_memory": memory}
    net = network(NormalizedTrunk(trunk) if normalized else trunk, head, action_space=space, noisy=noisy, **remembers)
    loss = DQNLoss(net, delay_value=target != "none", double_dqn=double, burn_in=2 if remembers else 0)
    if normalized:  # the target network has not seen these
        net.trunk.update_statistics(torch.tensor([[3.0, 0.0, -2.0], [5.0, 1.0, 0.0]]))
    loss.make_value_estimator(estimator)
    targets = {
        "soft": partial(SoftUpdate, tau=0.1), "hard": partial(HardUpdate, value_network_update_interval=3),
        "none": NoUpdate,
    }  # fmt: skip
    return Learner(
        loss, filled(replay(100, 16, gamma=0.9, num_envs=4), remembers=memory is not None),
        optimizer=Optimizer(net.parameters(), algorithm, lr=1e-2, max_grad_norm=max_grad_norm, nonfinite=nonfinite),
        target_update=targets[target](loss), action_space=space, device=CPU, compiled=compiled, autocast=autocast,
        updates=updates, may_fall_back=may_fall_back,
    )  # fmt: skip


def check_equal(steps=4, rtol=1e-4, atol=1e-5, how: bool | str = True, **choices):
    eager, pure = learner(compiled=False, **choices), learner(compiled=how, **choices)
    pure.prepare()
    for part in (eager, pure):
        while part.updates < steps:
            part.learn(steps - part.updates)
    assert eager.updates == pure.updates == steps
    assert eager.batch_shape == pure.batch_shape
    for (name, a), b in zip(eager.loss.named_parameters(), pure.loss.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol, msg=lambda text, name=name: f"{name}: {text}")
    assert pure.take_metrics() == pytest.approx(eager.take_metrics(), rel=1e-3)
    return eager, pure


class TracedFunction:
    """The graph that is to be compiled, run as it is."""

    is_compiling, is_uncompiled = True, False

    def __init__(self, function, inputs, comparison):
        self.graph, self.nesting = native.trace(function, inputs)

    def wait(self, tick=None):
        if tick is not None:
            tick()

    def __call__(self, inputs):
        return pytree.tree_unflatten(self.graph(*inputs), self.nesting)


@pytest.fixture
def uncompiled(monkeypatch):
    monkeypatch.setattr(compiled, "NativeFunction", TracedFunction)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("network", [QNet, SharedTrunk])
def test_the_pure_update_is_the_eager_one_for_every_head(head, network):
    check_equal(head=HEADS[head], network=network)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    "choices",
    [
        {"target": "hard"},
        {"target": "none"},
        {"max_grad_norm": None},
        {"noisy": True},
        {"double": True},
        {"algorithm": partial(optim.Adam, fused=True, weight_decay=0.1)},
        {"algorithm": partial(optim.AdamW, weight_decay=0.1)},
        {"algorithm": partial(optim.RMSprop, alpha=0.9, centered=True, momentum=0.5, weight_decay=0.1)},
        {"algorithm": partial(optim.SGD, momentum=0.9, nesterov=True, weight_decay=0.1)},
        {"algorithm": optim.SGD},
        {"algorithm": partial(optim.RAdam, weight_decay=0.1)},
        {"algorithm": partial(optim.RAdam, decoupled_weight_decay=True, weight_decay=0.1)},
        {"estimator": "Munchausen"},
        {"replay": partial(SliceReplayBuffer, slice_length=4), "estimator": "TDLambda"},
    ],
    ids=str,
)
def test_the_pure_update_is_the_eager_one(choices):
    check_equal(**choices)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("target", ["soft", "hard"])
def test_a_round_of_updates_at_once_is_the_same_as_one_after_another(target):
    eager, pure = check_equal(steps=7, updates=3, target=target)
    assert eager.state_dict()["target_update"] == pure.state_dict()["target_update"] == {"calls": 7}
    assert torch.equal(eager.replay.sample()["index"], pure.replay.sample()["index"])


def sliced(across_episodes):
    return partial(SliceReplayBuffer, slice_length=4, across_episodes=across_episodes)


REPLAYS = {
    "uniform": ReplayBuffer,
    "n_step": partial(ReplayBuffer, n_step=3),
    "prioritized": prioritized(ReplayBuffer),
    "slices": sliced(across_episodes=True),
    "slices_of_one_episode": sliced(across_episodes=False),
    "prioritized_slices": partial(prioritized(SliceReplayBuffer), slice_length=4),
    "frames": partial(FrameReplayBuffer, stack=1, n_step=3),
    "prioritized_frames": partial(prioritized(FrameReplayBuffer), stack=1, n_step=3),
}


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("replay", REPLAYS)
def test_rounds_train_on_the_rows_that_single_updates_would(replay):
    eager, pure = check_equal(steps=12, updates=3, replay=REPLAYS[replay])
    assert torch.equal(eager.replay.generator.get_state(), pure.replay.generator.get_state())
    assert torch.equal(eager.replay.sample()["index"], pure.replay.sample()["index"])


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("across_episodes", [True, False])
@pytest.mark.parametrize(
    "choices",
    [
        {"memory": LSTM, "double": True, "replay": SliceReplayBuffer, "updates": 2},
        {"memory": GRU, "replay": prioritized(SliceReplayBuffer), "head": HEADS["implicit"], "network": SharedTrunk},
        {"memory": LSTM, "replay": SliceReplayBuffer, "estimator": "TDLambda", "noisy": True, "target": "none"},
    ],
    ids=["lstm", "gru", "noisy"],
)
def test_updates_of_a_memory_are_the_eager_ones(choices, across_episodes):
    size = 5 if choices["memory"] is LSTM else 10
    memory = partial(choices["memory"], hidden_size=size)
    replay = partial(choices["replay"], slice_length=8, burn_in=2, across_episodes=across_episodes)
    check_equal(**choices | {"memory": memory, "replay": replay})


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("target", ["soft", "hard"])
def test_statistics_of_a_target_network_move_with_every_update(target):
    eager, pure = check_equal(steps=6, updates=2, target=target, normalized=True)
    networks = [part.loss.target_value_network for part in (eager, pure)]
    assert torch.equal(*(network.trunk.norms[0].mean for network in networks))
    assert networks[0].trunk.norms[0].mean.any()


@pytest.mark.usefixtures("uncompiled")
def test_rows_that_are_gathered_before_the_compiled_update_are_those_it_would_read():
    eager, pure = (learner(compiled=compiled, updates=2) for compiled in (False, True))
    pure.compiled.reads_rows = False
    for part in (eager, pure):
        while part.updates < 4:
            part.learn(4 - part.updates)
    for a, b in zip(eager.loss.parameters(), pure.loss.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("uncompiled")
def test_preparing_without_anything_to_sample_draws_nothing(monkeypatch):
    monkeypatch.setattr(SliceReplayBuffer, "_is_start", lambda self, first: first < 0)
    part = learner(compiled=True, replay=partial(SliceReplayBuffer, slice_length=16, stride=2))
    state = part.replay.generator.get_state()
    part.prepare()
    assert torch.equal(part.replay.generator.get_state(), state)


@pytest.mark.usefixtures("uncompiled")
def test_with_priorities_every_update_draws_by_those_of_the_one_before():
    eager, pure = check_equal(steps=6, updates=3, replay=prioritized(ReplayBuffer))
    assert torch.equal(eager.replay.sample()["index"], pure.replay.sample()["index"])


@pytest.mark.usefixtures("uncompiled")
def test_priorities_are_those_of_the_eager_update():
    eager, pure = check_equal(replay=prioritized(ReplayBuffer))
    one, other = eager.replay.sample(), pure.replay.sample()
    assert torch.equal(one["index"], other["index"])
    torch.testing.assert_close(one["priority_weight"], other["priority_weight"], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("uncompiled")
def test_a_state_goes_from_an_eager_learner_to_a_compiled_one_and_back():
    eager, pure = check_equal()
    other = learner(compiled=False)
    other.load_state_dict(pure.state_dict())
    for part in (eager, other):
        part.replay.generator.manual_seed(5)
        part.update()
    for a, b in zip(eager.loss.parameters(), other.loss.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_compiled_update_is_the_eager_one_and_preparing_changes_nothing():
    eager, pure = check_equal(head=HEADS["quantile"])
    assert torch.equal(eager.replay.sample()["index"], pure.replay.sample()["index"])


def test_a_run_that_may_falls_back_to_eager_updates(monkeypatch):
    monkeypatch.setattr(compiled, "NativeFunction", Broken)
    part = learner(compiled=True, may_fall_back=True)
    with pytest.warns(UserWarning, match=r"compiled: the compiler broke more; updates run uncompiled, which is slower"):
        assert part.wait(print) == 0.0
    eager = learner(compiled=False)
    for each in (part, eager):
        assert each.learn(1) == 1
    assert part.compiled is None
    assert all(map(torch.equal, part.loss.parameters(), eager.loss.parameters()))


@pytest.mark.usefixtures("uncompiled")
def test_that_it_is_waited_for_is_said():
    said = []
    learner(compiled=True).wait(said.append)
    learner(compiled=False).wait(said.append)
    assert said == [
        "compiling the update, which takes about twenty seconds; later runs reuse it",
        "still compiling, after 0 s",
        "compiled after 0 s",
    ]


class Broken(TracedFunction):
    def wait(self, tick=None):
        raise RuntimeError("the compiler broke\nmore")


def test_what_cannot_be_compiled_is_reported(monkeypatch):
    monkeypatch.setattr(compiled, "NativeFunction", Broken)
    with pytest.raises(NotCompiled, match=r"^the update cannot be compiled: the compiler broke more; set com"):
        learner(compiled=True).update()
    assert issubclass(NotCompiled, RunError)
    with pytest.raises(ValueError, match="support Adam, AdamW, RAdam, RMSprop, SGD in plain form, not NAdam; set"):
        learner(compiled=True, algorithm=optim.NAdam)
    with pytest.raises(ValueError, match="not Adam with amsgrad; set compile=false"):
        learner(compiled=True, algorithm=partial(optim.Adam, amsgrad=True))


class Still(NoUpdate):
    """A target update that shares nothing with qframe's but the interface."""

    def __init__(self, loss):
        self.loss = loss


def test_a_learner_does_not_warn_of_a_target_update_that_it_has():
    part = learner(compiled=False)
    loss = DQNLoss(part.loss.value_network, delay_value=True)
    own = Learner(
        loss, part.replay, optimizer=part.optimizer, target_update=Still(loss), device=CPU,
        action_space=part.network.action_space,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own.update()


def test_an_update_with_effects_that_compiled_code_would_lack_is_the_eager_one(monkeypatch):
    monkeypatch.setitem(globals(), "MLPTrunk", partial(MLPTrunk, activation=partial(nn.Dropout, 0.5)))
    eager, own = learner(compiled=False), learner(compiled=True, updates=3)
    with pytest.warns(UserWarning, match="as dropout does; it runs uncompiled"):
        own.prepare()
    for part in (eager, own):
        torch.manual_seed(3)
        for _ in range(6):
            assert part.learn(6) == 1
    assert own.compiled is None
    for one, other in zip(eager.loss.parameters(), own.loss.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("uncompiled")
def test_batches_of_ever_new_layouts_are_reported_and_not_compiled_for_ever():
    part = learner(compiled=True)
    for size in range(2, 10):
        part.replay.batch_size = size
        part.update()
    part.replay.batch_size = 10
    with pytest.raises(NotCompiled, match=r"more than 8 layouts, last index \(1, 10\)"):
        part.update()


def test_autocast_computes_in_bfloat16_and_leaves_parameters_in_32_bits(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    plain, cast = learner(compiled=False), learner(compiled=False, autocast=True)
    plain.update(), cast.update()
    losses = [part.take_metrics()["loss/loss"] for part in (plain, cast)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert {parameter.dtype for parameter in cast.loss.parameters()} == {torch.float32}


def test_autocast_without_the_processor_for_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with pytest.raises(ValueError, match="autocast=true needs a processor with bfloat16, not one with AVX2; set auto"):
        learner(compiled=False, autocast=True)
