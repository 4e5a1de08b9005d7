"""n-step sums, λ-returns and mixtures over horizons on random trajectories, against their recursive definitions."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.functional.backup import Backup, Law, apply
from qframe.functional.returns import lambda_horizons, lambda_return, n_step_return
from qframe.functional.value_learning import td_zero
from qframe.replay import ReplayBuffer
from tests.oracles import returns

CASES, T = 4_000, 5


def trajectories(seed):
    """Rewards, discounts, values and traces ``[CASES, T]``, many of them 0, and values that no return may see."""
    rng = np.random.default_rng(seed)
    reward, value = rng.normal(0, 3, (2, CASES, T))
    discount = np.where(rng.random((CASES, T)) < 0.2, 0.0, rng.uniform(0.3, 1, (CASES, T)))
    discount[rng.random((CASES, T)) < 0.1] = 1.0
    trace = np.where(rng.random((CASES, T)) < 0.2, 0.0, rng.random((CASES, T)))
    trace[rng.random((CASES, T)) < 0.1] = 1.0
    beyond = (discount == 0) & (rng.random((CASES, T)) < 0.5)
    value[beyond] = rng.choice([np.nan, np.inf, -np.inf], beyond.sum())
    return reward, discount, value, trace


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_n_step_returns_equal_the_sum_written_out(dtype, accuracy):
    reward, discount, value, _ = trajectories(0)
    end = value[:, -1]
    got = n_step_return(*(torch.from_numpy(x).to(dtype) for x in (reward, discount, end)))
    expected = [returns.n_step(reward[i], discount[i], end[i]) for i in range(CASES)]
    np.testing.assert_allclose(got.double().numpy(), expected, rtol=accuracy, atol=accuracy)
    one = td_zero(*(torch.from_numpy(x[:, -1]).to(dtype) for x in (reward, discount, value)))
    expected = [returns.n_step(reward[i, -1:], discount[i, -1:], end[i]) for i in range(CASES)]
    np.testing.assert_allclose(one.double().numpy(), expected, rtol=accuracy, atol=accuracy)


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float64, 1e-11), (torch.float32, 1e-4)])
def test_lambda_returns_equal_the_recursion(dtype, accuracy):
    reward, discount, value, trace = trajectories(1)
    got = lambda_return(*(torch.from_numpy(x).to(dtype) for x in (reward, discount, value, trace)))
    expected = [
        [returns.lambda_return(reward[i], discount[i], value[i], trace[i], t=t) for t in range(T)] for i in range(CASES)
    ]
    np.testing.assert_allclose(got.double().numpy(), expected, rtol=accuracy, atol=accuracy)


def test_the_mixture_over_horizons_is_the_law_of_the_recursion():
    reward, discount, value, trace = trajectories(2)
    spread = np.random.default_rng(3).random((CASES, T))
    location = np.stack([value, value + spread], -1)  # [CASES, T, 2]
    weights = np.array([0.25, 0.75])
    each = torch.from_numpy(location).unsqueeze(1).expand(CASES, T, T, 2)
    law = Law(each, torch.from_numpy(weights).expand_as(each))
    horizons = lambda_horizons(*(torch.from_numpy(x) for x in (reward, discount, trace)))
    got = apply(horizons, law)
    places = torch.linspace(-20, 20, 9, dtype=torch.float64)
    survives = (got.mass.unsqueeze(-1) * (got.location.unsqueeze(-1) > places)).sum(-2).numpy()  # [CASES, T, 9]
    first, second = got.mean.numpy(), (got.mass * got.location.square()).sum(-1).numpy()
    for i in range(0, CASES, 5):
        laws = [list(zip(location[i, t], weights, strict=True)) for t in range(T)]
        for t in range(T):
            expected = returns.lambda_law(reward[i], discount[i], laws, trace[i], t)
            assert first[i, t] == pytest.approx(returns.mean(expected), abs=1e-9)
            assert second[i, t] == pytest.approx(sum(z * z * p for z, p in expected), abs=1e-8)
            tail = [sum(p for z, p in expected if z > place) for place in places.tolist()]
            np.testing.assert_allclose(survives[i, t], tail, atol=1e-9)


def test_a_lambda_return_of_a_two_point_law_keeps_its_spread():
    # Every step ahead is worth −1 or 1 with equal chance: whatever λ, the return has standard deviation 1, not .71.
    zero, one, trace = torch.zeros(1, 4), torch.ones(1, 4), torch.full((1, 4), 0.7)
    coin = Law(torch.tensor([-1.0, 1.0]).expand(1, 4, 4, 2), torch.full((1, 4, 4, 2), 0.5))
    law = apply(lambda_horizons(zero, one, trace), coin)
    assert (law.mass * law.location.square()).sum(-1).tolist() == [pytest.approx([1.0] * 4)]
    assert law.mean.tolist() == [pytest.approx([0.0] * 4, abs=1e-6)]


def test_a_mixed_backup_moves_every_law_and_weighs_it():
    rng = np.random.default_rng(4)
    reward, location = rng.normal(size=(CASES, 3)), rng.normal(size=(CASES, 3, 2))
    discount = np.where(rng.random((CASES, 3)) < 0.3, 0.0, rng.random((CASES, 3)))
    weight, mass = rng.dirichlet(np.ones(3), CASES), rng.dirichlet(np.ones(2), (CASES, 3))
    dead = np.broadcast_to(discount[..., None] == 0, location.shape)
    location[dead], mass[dead] = np.nan, np.nan
    backup = Backup(*(torch.from_numpy(x) for x in (reward, discount, weight)))
    got = apply(backup, Law(torch.from_numpy(location), torch.from_numpy(mass)))
    assert got.location.shape == got.mass.shape == (CASES, 6)
    mean = np.zeros(CASES)
    for k in range(3):
        inside = np.where(dead[:, k, 0], 0.0, discount[:, k] * np.nan_to_num(location[:, k] * mass[:, k]).sum(-1))
        mean += weight[:, k] * (reward[:, k] + inside)
    np.testing.assert_allclose(got.mean.numpy(), mean, atol=1e-12)
    np.testing.assert_allclose(got.mass.sum(-1).numpy(), 1.0)


@pytest.mark.parametrize(("n", "gamma"), [(1, 0.9), (2, 1.0), (3, 0.8), (5, 0.0)])
def test_the_replay_folds_as_the_sums_say(n, gamma):
    rng, count, num_envs = np.random.default_rng(n), 3000, 3
    reward = rng.normal(size=(count, num_envs)).astype(np.float32)
    terminated, truncated = rng.random((2, count, num_envs)) < 0.15
    buffer = ReplayBuffer(count * num_envs, 1, gamma=gamma, n_step=n, num_envs=num_envs)
    for t in range(count):
        buffer.extend(_step(t, reward[t], terminated[t], truncated[t]))
    rows = TensorDict(buffer.state_dict()["rows"], [len(buffer)])
    for env in range(num_envs):
        mine = rows[rows["stream"].squeeze(-1) == env]
        stream = list(zip(reward[:, env].astype(float), terminated[:, env], truncated[:, env], strict=True))
        start, total, discount, steps, last = zip(*returns.fold(stream, n, gamma), strict=True)
        assert mine["observation"].flatten().tolist() == list(start)
        np.testing.assert_allclose(mine["next", "reward"].flatten(), total, atol=1e-6)
        np.testing.assert_allclose(mine["next", "discount"].flatten(), discount, atol=1e-6)
        assert mine["steps_to_next_obs"].flatten().tolist() == list(steps)
        assert mine["next", "observation"].flatten().tolist() == [t + 1 for t in last]
        assert mine["next", "terminated"].flatten().tolist() == [stream[t][1] for t in last]
        assert mine["next", "truncated"].flatten().tolist() == [stream[t][2] for t in last]


def _step(t, reward, terminated, truncated):
    flags = {"terminated": terminated, "truncated": truncated, "done": terminated | truncated}
    num_envs = len(reward)
    return TensorDict(
        {
            "observation": torch.full((num_envs, 1), float(t)),
            "stream": torch.arange(num_envs).unsqueeze(-1),
            "action": torch.zeros(num_envs, dtype=torch.int64),
            "env": torch.arange(num_envs),
            "next": {
                "observation": torch.full((num_envs, 1), float(t + 1)),
                "reward": torch.from_numpy(reward).unsqueeze(-1),
                **{name: torch.from_numpy(flag).unsqueeze(-1) for name, flag in flags.items()},
            },
        },
        [num_envs],
    )
