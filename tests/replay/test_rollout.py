"""Rollouts: which sequences a pass serves, and the λ-returns learned from them, against loops."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.estimators import TDLambda
from qframe.objectives import DQNLoss
from qframe.replay import RolloutBuffer


def rollout(**settings):
    return RolloutBuffer(**{"steps": 6, "minibatches": 2, "epochs": 3, "slice_length": 3, "gamma": 0.9} | settings)


def vector_steps(count, num_envs, seed=0):
    """``count`` steps of all environments, rows in time order; row t · E + e has this number as its action."""
    rng = np.random.default_rng(seed)
    shape = (count * num_envs, 1)
    terminated, truncated = rng.random((2, *shape)) < 0.15
    return TensorDict(
        {
            "observation": torch.from_numpy(rng.normal(size=(shape[0], 2)).astype(np.float32)),
            "action": torch.arange(shape[0]),
            "env": torch.arange(num_envs).repeat(count),
            "next": {
                "observation": torch.from_numpy(rng.normal(size=(shape[0], 2)).astype(np.float32)),
                "reward": torch.from_numpy(rng.normal(size=shape).astype(np.float32)),
                "terminated": torch.from_numpy(terminated),
                "truncated": torch.from_numpy(truncated),
                "done": torch.from_numpy(terminated | truncated),
            },
        },
        batch_size=[shape[0]],
    )


def sequences(first_step, steps, length, num_envs):
    """The sequences of the rollout that begins at a vector step, as row numbers."""
    starts = range(first_step, first_step + steps, length)
    return {tuple((start + k) * num_envs + env for k in range(length)) for start in starts for env in range(num_envs)}


@pytest.mark.parametrize("num_envs", [1, 4])
@pytest.mark.parametrize("first_step", [0, 6, 8])
def test_a_pass_serves_every_sequence_of_the_last_rollout_once(num_envs, first_step):
    buffer = rollout(num_envs=num_envs)
    for piece in vector_steps(first_step + 6, num_envs).split(num_envs):
        buffer.extend(piece)
    orders = set()
    for _ in range(3):
        served = [tuple(row) for _ in range(2) for row in buffer.sample()["action"].tolist()]
        assert len(served) == 2 * num_envs
        assert set(served) == sequences(first_step, 6, 3, num_envs)
        orders.add(tuple(served))
    assert len(orders) > 1 or num_envs == 1


def test_new_steps_end_the_pass():
    buffer = rollout(num_envs=2)
    steps = vector_steps(12, 2)
    buffer.extend(steps[:12])
    buffer.sample()
    buffer.extend(steps[12:])
    served = {tuple(row) for _ in range(2) for row in buffer.sample()["action"].tolist()}
    assert served == sequences(6, 6, 3, 2)


def test_environments_that_skip_steps_keep_batches_whole():
    buffer = rollout(num_envs=2)
    steps = vector_steps(6, 2)
    buffer.extend(steps[steps["action"] != 3])  # the second environment has five steps: one sequence, not two
    shapes = {buffer.sample().batch_size for _ in range(6)}
    assert shapes == {torch.Size([2, 3])}


def test_a_round_is_the_frames_and_updates_of_a_rollout():
    assert rollout(num_envs=4).round == (24, 6)
    assert RolloutBuffer.round_of({"steps": 64, "minibatches": 16, "epochs": 4}, 32) == (2048, 64)


def test_draws_can_be_taken_back():
    one, other = rollout(num_envs=2, seed=3), rollout(num_envs=2, seed=3)
    for buffer in (one, other):
        buffer.extend(vector_steps(6, 2))
        buffer.sample()
    with one.unchanged():
        one.sample(batches=4)
    assert torch.equal(one.sample(batches=4)["index"], other.sample(batches=4)["index"])


def test_a_rollout_resumes_in_the_middle_of_a_pass(saved_and_loaded):
    one, other = rollout(num_envs=2, seed=3), rollout(num_envs=2, seed=4)
    one.extend(vector_steps(6, 2))
    one.sample()
    other.load_state_dict(saved_and_loaded(one.state_dict()))
    for _ in range(5):
        assert (one.sample() == other.sample()).all()


@pytest.mark.parametrize("reuse_values", [False, True])
@pytest.mark.parametrize("lambda_", [0.0, 0.65, 1.0])
def test_the_loss_is_that_of_lambda_returns_computed_by_a_loop(lambda_, reuse_values):
    torch.manual_seed(0)
    network = nn.Linear(2, 3)
    buffer = rollout(num_envs=4, minibatches=1, reuse_values=reuse_values)
    steps = vector_steps(6, 4, seed=1)
    steps["action"] %= 3
    buffer.extend(steps)
    loss = DQNLoss(network, action_space="categorical", loss_function="l2")
    loss.make_value_estimator(TDLambda(lambda_=lambda_))
    acted = [x.detach().double().numpy() for x in (network.weight, network.bias)]
    if reuse_values:
        buffer.write_prediction(loss.predict_next(buffer.unpredicted))
    network.weight.data, network.bias.data = torch.randn(3, 2), torch.randn(3)  # an update
    batch = buffer.sample()
    got = loss(batch)["loss"]
    weight, bias = (x.detach().double().numpy() for x in (network.weight, network.bias))
    before = acted if reuse_values else (weight, bias)
    errors = []
    for row in batch:
        ahead, reward, end = (
            row["next", name].double().numpy() for name in ("observation", "reward", "done")
        )
        now, action, terminated = row["observation"].double().numpy(), row["action"], row["next", "terminated"]
        value = np.where(terminated.numpy()[:, 0], 0.0, (ahead @ before[0].T + before[1]).max(-1))
        target = value[-1]
        for t in (2, 1, 0):
            follows = t < 2 and not end[t, 0]
            target = reward[t, 0] + 0.9 * ((1 - lambda_) * value[t] + lambda_ * target if follows else value[t])
            errors.append((target - (now[t] @ weight.T + bias)[action[t]]) ** 2)
    assert len(errors) == 24
    assert got.item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_predictions_are_needed_once_per_rollout_and_resume(saved_and_loaded):
    buffer, other = (rollout(num_envs=2, reuse_values=True) for _ in range(2))
    assert buffer.unpredicted is None  # there is nothing to predict yet
    buffer.extend(vector_steps(6, 2))
    with buffer.unchanged():
        buffer.write_prediction(torch.zeros(12, 3, 1))
    buffer.write_prediction(buffer.unpredicted["action"].float())
    assert buffer.unpredicted is None
    other.load_state_dict(saved_and_loaded(buffer.state_dict()))
    for _ in range(3):
        sample = other.sample()
        assert torch.equal(sample["next", "prediction"], sample["action"].float())
        assert torch.equal(sample["index"], buffer.sample()["index"])
    buffer.extend(vector_steps(1, 2))
    assert buffer.unpredicted is not None
    assert ("next", "prediction") not in buffer.sample().keys(True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minibatches": 3}, "3 minibatches do not divide the rollout's 2 sequences"),
        ({"slice_length": 4}, "slice_length=4 does not divide the rollout's 6 steps"),
        ({"epochs": 0}, "expected epochs of at least 1, got 0"),
        ({"steps": 0}, "expected steps of at least 1, got 0"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        rollout(**settings)


def test_nothing_is_served_before_a_sequence_is_complete():
    buffer = rollout(num_envs=2)
    buffer.extend(vector_steps(2, 2))
    with pytest.raises(RuntimeError, match="no environment has the 3 steps of a slice yet"):
        buffer.sample()
