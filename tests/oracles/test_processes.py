"""Target updates, schedules, ε-greedy frequencies and priorities on random inputs, against the oracle."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.actions import Categorical, MultiCategorical, OneHot
from qframe.exploration import EGreedyModule
from qframe.exploration.schedules import ExponentialSchedule, LinearSchedule
from qframe.objectives import DQNLoss, HardUpdate, SoftUpdate
from qframe.replay import ReplayBuffer
from tests.oracles import processes
from tests.runners import prioritized


class WithBuffers(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
        self.register_buffer("level", torch.zeros(4))
        self.register_buffer("count", torch.zeros(2, dtype=torch.int64))


def drifting(update, seed, steps=60):
    """The target's tensors after every step of an update, and the online network's before it, as it drifts."""
    torch.manual_seed(seed)
    loss = DQNLoss(WithBuffers(), delay_value=True, action_space="categorical")
    target_update = update(loss)
    online, target = loss.value_network, loss.target_value_network
    for _ in range(steps):
        before = {key: x.clone().numpy() for key, x in target.state_dict().items()}
        with torch.no_grad():
            for x in online.state_dict().values():
                x.add_(torch.randint(1, 5, x.shape) if x.dtype is torch.int64 else torch.randn(x.shape))
        target_update.step()
        yield before, *({key: x.clone().numpy() for key, x in net.state_dict().items()} for net in (online, target))


@pytest.mark.parametrize("tau", [0.005, 0.3, 1.0])
def test_soft_updates_equal_the_formula_at_every_step(tau):
    for before, online, after in drifting(lambda loss: SoftUpdate(loss, tau=tau), 0):
        for key, x in after.items():
            whole = x.dtype == np.int64
            expected = online[key] if whole else processes.soft_update(before[key], online[key], tau)
            np.testing.assert_allclose(x, expected, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("interval", [1, 2, 7])
def test_hard_updates_copy_at_multiples_of_the_interval_and_else_do_nothing(interval):
    steps = drifting(lambda loss: HardUpdate(loss, value_network_update_interval=interval), 1)
    for call, (before, online, after) in enumerate(steps, start=1):
        for key, x in after.items():
            np.testing.assert_array_equal(x, online[key] if call % interval == 0 else before[key])


def test_schedules_equal_their_closed_forms():
    rng = np.random.default_rng(0)
    for _ in range(5000):
        start, end = rng.uniform(0.001, 1, 2)
        frames, frame = int(rng.integers(1, 10_000)), int(rng.integers(0, 12_000))
        straight, curved = LinearSchedule(start, end, frames), ExponentialSchedule(start, end, frames)
        assert straight(frame) == pytest.approx(processes.linear(start, end, frames, frame), rel=1e-9)
        assert curved(frame) == pytest.approx(processes.exponential(start, end, frames, frame), rel=1e-9)


@pytest.mark.parametrize("form", ["explore", "module", "one_hot"])
@pytest.mark.parametrize("legal", [[1, 1, 1, 1], [0, 1, 1, 0], [1, 1, 0, 1], [0, 0, 0, 1]])
def test_epsilon_greedy_frequencies_are_those_of_the_oracle(legal, form):
    draws, epsilon, greedy = 40_000, 0.3, int(np.flatnonzero(legal)[0])
    mask = torch.tensor(legal, dtype=torch.bool).expand(draws, 4)
    spec = OneHot(4) if form == "one_hot" else Categorical(4)
    module = EGreedyModule(spec, epsilon, epsilon, 1, action_mask_key="mask", seed=3)
    action = torch.full((draws,), greedy)
    if form == "explore":
        chosen = module.explore(action, mask)
    elif form == "module":
        chosen = module(TensorDict({"action": action, "mask": mask}, [draws]))["action"]
    else:
        hot = nn.functional.one_hot(action, 4)
        chosen = module(TensorDict({"action": hot, "mask": mask}, [draws]))["action"].argmax(-1)
    share = np.bincount(chosen.numpy(), minlength=4) / draws
    expected = processes.epsilon_greedy(greedy, legal, epsilon)
    assert (share[expected == 0] == 0).all()
    np.testing.assert_allclose(share, expected, atol=4.5 * np.sqrt(0.25 / draws))


def test_epsilon_greedy_draws_the_components_of_a_joint_action_independently():
    draws = 40_000
    mask = torch.tensor([1, 0, 1, 1, 1], dtype=torch.bool).expand(draws, 5)  # components of 3 and of 2
    module = EGreedyModule(MultiCategorical([3, 2]), 1.0, 1.0, 1, action_mask_key="mask")
    chosen = module(TensorDict({"action": torch.zeros(draws, 2, dtype=torch.int64), "mask": mask}, [draws]))["action"]
    share = np.bincount((chosen[:, 0] * 2 + chosen[:, 1]).numpy(), minlength=6) / draws
    np.testing.assert_allclose(share, [0.25, 0.25, 0, 0, 0.25, 0.25], atol=0.01)


@pytest.mark.parametrize(("alpha", "epsilon"), [(0.6, 1e-6), (1.0, 0.1), (0.0, 1e-3), (0.3, 0.0)])
def test_priorities_and_weights_equal_the_lists_through_a_random_history(alpha, epsilon):
    rng, capacity = np.random.default_rng(5), 40
    priorities = {"alpha": alpha, "epsilon": epsilon, "beta": 0.4, "beta_end": 0.9}
    buffer = prioritized(ReplayBuffer, **priorities)(capacity, 8, gamma=0.9)
    twin, fraction = processes.Priorities(capacity, alpha, epsilon), 0.0
    for round_ in range(400):
        count = int(rng.integers(1, 6))
        buffer.extend(_steps(count))
        twin.store(count)
        if round_ % 7 == 0:
            fraction = float(rng.random())
            buffer.anneal(fraction)
        sample = buffer.sample()
        index = sample["index"].tolist()
        expected = twin.weights(index, 0.4 + 0.5 * fraction)
        np.testing.assert_allclose(sample["priority_weight"].squeeze(-1), expected, rtol=1e-5)
        error = np.abs(rng.standard_cauchy(8)) + 1e-3
        buffer.update_priority(sample["index"], torch.from_numpy(error))
        twin.update(index, error)
        filled = min(twin.count, capacity)
        np.testing.assert_allclose(buffer.state_dict()["priorities"]["priority"], twin.rows[:filled], rtol=1e-9)


def _steps(count):
    flag = torch.zeros(count, 1, dtype=torch.bool)
    return TensorDict(
        {
            "observation": torch.zeros(count, 1),
            "action": torch.zeros(count, dtype=torch.int64),
            "env": torch.zeros(count, dtype=torch.int64),
            "next": {
                "observation": torch.zeros(count, 1), "reward": torch.zeros(count, 1),
                "terminated": flag, "truncated": flag, "done": flag,
            },
        },
        [count],
    )  # fmt: skip
