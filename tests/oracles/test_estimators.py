"""Every value estimator under the real loss of every head on random masked slices, against its own definition."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from tests.oracles import agent, estimators
from tests.oracles.test_losses import ACTIONS, FEATURES, GAMMA, HEADS, built

SLICES, T = 200, 5
LAMBDA, TEMPERATURE, ALPHA, CLIP = 0.8, 0.4, 0.9, -0.5


def random_slices(seed):
    """Slices that hold several episodes; what is taken is legal, and each state's mask is that of the step before."""
    rng = np.random.default_rng(seed)
    legal = rng.random((SLICES, T + 1, ACTIONS)) < 0.7
    action = rng.integers(ACTIONS, size=(SLICES, T + 1))
    np.put_along_axis(legal, action[..., None], True, -1)
    state = rng.normal(size=(SLICES, T + 1, FEATURES))
    return {
        "observation": state[:, :-1], "next_observation": state[:, 1:],
        "mask": legal[:, :-1], "next_mask": legal[:, 1:], "action": action[:, :-1],
        "behaviour": rng.uniform(0.2, 1, (SLICES, T)), "reward": rng.normal(size=(SLICES, T)),
        "terminated": rng.random((SLICES, T)) < 0.15, "truncated": rng.random((SLICES, T)) < 0.15,
    }  # fmt: skip


def as_tensordict(batch):
    x = {name: torch.from_numpy(value.copy()) for name, value in batch.items()}
    following = {
        "observation": x["next_observation"],
        "reward": x["reward"],
        "terminated": x["terminated"],
        "done": x["terminated"] | x["truncated"],
        "action_mask": x["next_mask"],
    }
    return TensorDict(
        {
            "observation": x["observation"], "action": x["action"], "action_mask": x["mask"],
            "action_probability": x["behaviour"], "next": following,
        },
        [SLICES, T],
    )  # fmt: skip


def outputs(weights, observation):
    flat = agent.outputs(weights, observation.reshape(-1, FEATURES), ACTIONS)
    return flat.reshape(*observation.shape[:-1], *flat.shape[1:])  # [slices, T, A, N]


def expected(name, head, online, target, batch, target_of):
    """The loss of every step, its target law given by ``target_of(slice, discount, laws, target values, selector)``."""
    now, then, chooser = (
        outputs(weights, batch[key])
        for weights, key in ((online, "observation"), (target, "next_observation"), (online, "next_observation"))
    )
    losses = np.zeros((SLICES, T))
    for i in range(SLICES):
        discount = np.where(batch["terminated"][i], 0.0, GAMMA)
        laws = [[list(zip(*head.law(out), strict=True)) for out in step] for step in then[i]]
        values, selector = (np.array([head.value(step) for step in x[i]]) for x in (then, chooser))
        for t, law in enumerate(target_of(i, discount, laws, values, selector)):
            location, mass = (np.array(column) for column in zip(*law, strict=True))
            losses[i, t] = head.loss(now[i, t, batch["action"][i, t]], location, mass)[0]
    return losses


def loss_of(name, estimator, double, batch, **hyperparams):
    loss, online, target = built(name, double)
    loss.reduction = "none"
    loss.make_value_estimator(estimator, **hyperparams)
    return loss(as_tensordict(batch))["loss"].detach().numpy(), online, target


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize(
    ("estimator", "kind"), [("TDLambda", "peng"), ("WatkinsQLambda", "watkins"), ("Retrace", "retrace")]
)
@pytest.mark.parametrize("name", ["l2", "categorical", "quantile"])
def test_lambda_estimators_equal_their_definitions(name, estimator, kind, double):
    batch, head = random_slices(0), HEADS[name][0]
    got, online, target = loss_of(name, estimator, double, batch, lambda_=LAMBDA)

    def target_of(i, discount, laws, values, selector):
        select, legal = (selector if double else values), batch["next_mask"][i]
        done = batch["terminated"][i] | batch["truncated"][i]
        trace = estimators.traces(kind, LAMBDA, select, legal, batch["action"][i], batch["behaviour"][i], done)
        return estimators.lambda_target(batch["reward"][i], discount, laws, select, legal, trace)

    np.testing.assert_allclose(got, expected(name, head, online, target, batch, target_of), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("double", [False, True])
def test_soft_retrace_equals_its_definition(double):
    batch, head = random_slices(1), HEADS["l2"][0]
    got, online, target = loss_of("l2", "Retrace", double, batch, lambda_=LAMBDA, temperature=TEMPERATURE)

    def target_of(i, discount, laws, values, selector):
        select, legal, action = (selector if double else values), batch["next_mask"][i], batch["action"][i]
        done = batch["terminated"][i] | batch["truncated"][i]
        behaviour = batch["behaviour"][i]
        trace = estimators.traces("retrace", LAMBDA, select, legal, action, behaviour, done, TEMPERATURE)
        goals = estimators.soft_retrace(
            batch["reward"][i], discount, values, select, legal, action, trace, TEMPERATURE
        )
        return [[(goal, 1.0)] for goal in goals]

    np.testing.assert_allclose(got, expected("l2", head, online, target, batch, target_of), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("munchausen", [False, True])
@pytest.mark.parametrize("name", ["l2", "categorical", "quantile"])
def test_soft_targets_and_munchausen_equal_their_definitions(name, munchausen):
    batch, head = random_slices(2), HEADS[name][0]
    hyperparams = {"alpha": ALPHA, "clip_value_min": CLIP} if munchausen else {}
    estimator = "Munchausen" if munchausen else "SoftTD0"
    got, online, target = loss_of(name, estimator, False, batch, temperature=TEMPERATURE, **hyperparams)
    now = outputs(target, batch["observation"])

    def target_of(i, discount, laws, values, selector):
        found = []
        for t in range(T):
            reward = batch["reward"][i, t]
            if munchausen:
                present, legal, action = head.value(now[i, t]), batch["mask"][i, t], batch["action"][i, t]
                reward += estimators.munchausen_bonus(present, legal, action, ALPHA, TEMPERATURE, CLIP)
            rest = laws[t], values[t], batch["next_mask"][i, t], TEMPERATURE
            found.append(estimators.soft_target(reward, discount[t], *rest))
        return found

    np.testing.assert_allclose(got, expected(name, head, online, target, batch, target_of), rtol=1e-6, atol=1e-8)
