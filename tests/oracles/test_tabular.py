"""Every head and estimator, trained by the real loss on all transitions of a random MDP with masks, reaches Q*."""

import functools

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.actions import Categorical
from qframe.heads import CategoricalHead, QuantileHead, ScalarHead
from qframe.networks import QNet, SharedTrunk
from qframe.networks.trunks import Trunk
from qframe.objectives import DQNLoss, SoftUpdate
from tests.oracles.mdp import random_mdp

STATES, ACTIONS, OUTCOMES, GAMMA = 6, 3, 2, 0.8
TOLERANCE = 0.02
HEADS = {
    "scalar": ScalarHead,
    "categorical": lambda f, a, **o: CategoricalHead(f, a, num_atoms=41, v_min=-6.0, v_max=6.0, **o),
    "quantile": lambda f, a, **o: QuantileHead(f, a, num_quantiles=32, kappa=0.02, **o),
}
ALONG_TIME = HEADS | {"quantile": lambda f, a: QuantileHead(f, a, num_quantiles=16, kappa=0.02)}  # pairs grow by T²


class RowsPerState(Trunk):
    """The state as a unit vector, every entry ``rows`` times: the head's layer is then a table.

    Heads that multiply features by an embedding of levels need several rows for as many shapes of a law.
    """

    def __init__(self, rows=1):
        super().__init__()
        self.rows, self.num_features = rows, rows * STATES

    def forward(self, observation):
        return observation.repeat_interleave(self.rows, -1)


@functools.cache
def problem():
    mdp = random_mdp(STATES, ACTIONS, OUTCOMES, GAMMA, seed=53)
    return mdp, mdp.optimal()


def as_batch(steps, shape):
    """Steps as a tensordict of the given shape, states as unit vectors."""
    mdp, _ = problem()
    eye, legal = torch.eye(STATES), torch.from_numpy(mdp.legal)
    state, action, following, terminated = (
        torch.tensor([step[key] for step in steps]) for key in ("state", "action", "next", "terminated")
    )
    reward = torch.tensor([step["reward"] for step in steps])
    flat = TensorDict(
        {
            "observation": eye[state],
            "action": action,
            "action_mask": legal[state],
            "action_probability": 1 / legal[state].sum(-1),
            "next": {
                "observation": eye[following],
                "reward": reward.unsqueeze(-1),
                "terminated": terminated.unsqueeze(-1),
                "done": terminated.unsqueeze(-1),
                "action_mask": legal[following],
            },
        },
        [len(steps)],
    )
    return flat.view(*shape)


def learned(
    head, batch, *, double=False, network=QNet, rows=1, noisy=False, estimator="TD0", updates=0, lr=0.1, **hyperparams
):
    """The action values of a table trained by the loss; illegal actions start out tempting."""
    updates = updates or (360 if head is ScalarHead else 600)
    torch.manual_seed(0)
    mdp, _ = problem()
    table = network(RowsPerState(rows), head, action_space=Categorical(ACTIONS), noisy=noisy)
    loss = DQNLoss(table, delay_value=True, double_dqn=double, gamma=GAMMA)
    loss.make_value_estimator(estimator, **hyperparams)
    with torch.no_grad():
        layer = table.head.layer
        weight = layer.weight_mu if noisy else layer.weight
        outputs = len(weight) // ACTIONS
        tempting = torch.from_numpy(~mdp.legal).T.repeat_interleave(outputs, 0)  # [A·N, S]
        rising = 5.0 + torch.arange(len(weight)).unsqueeze(-1) % outputs / 4
        weight.copy_(torch.where(tempting, rising, 0.0).repeat_interleave(rows, 1))
    target = SoftUpdate(loss, tau=0.2)
    optimizer = torch.optim.Adam(loss.value_network.parameters(), lr=lr, eps=1e-4)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates, eta_min=1e-4)
    for _ in range(updates):
        optimizer.zero_grad()
        loss(batch)["loss"].backward()
        optimizer.step()
        decay.step()
        target.step()
    table.eval()
    with torch.no_grad():
        return table.head.value(table.predict(torch.eye(STATES))).numpy()


def error(values, goal=None):
    """The largest distance from Q*, or from another goal, over legal actions."""
    mdp, optimal = problem()
    return np.abs(values - (optimal if goal is None else goal))[mdp.legal].max()


@functools.cache
def transitions():
    steps = problem()[0].transitions()
    return as_batch(steps, (len(steps),))


@functools.cache
def optimal_slices():
    """All paths of three steps whose first action is any and whose later ones are optimal."""
    mdp, optimal = problem()
    best = np.where(mdp.legal, optimal, -np.inf).argmax(1)
    paths = mdp.slices(3, lambda s: [best[s]])
    return as_batch([step for path in paths for step in path], (len(paths), 3))


@functools.cache
def any_slices():
    """All paths of two steps with any legal actions, by their probability under uniform behaviour from every step."""
    mdp, _ = problem()
    paths = mdp.slices(2, lambda s: np.flatnonzero(mdp.legal[s]))
    batch = as_batch([step for path in paths for step in path], (len(paths), 2))
    batch["priority_weight"] = batch["action_probability"][:, 1:].expand(len(paths), 2)
    return batch


def test_the_mdp_has_illegal_actions_terminations_and_a_choice():
    mdp, optimal = problem()
    assert 0 < (~mdp.legal).sum() < mdp.legal.size
    assert mdp.terminated.any()
    unmasked = np.where(mdp.legal, optimal, optimal + 5).argmax(1)
    assert (unmasked != np.where(mdp.legal, optimal, -np.inf).argmax(1)).any()


@pytest.mark.parametrize("network", [QNet, SharedTrunk])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("head", HEADS)
def test_one_step_targets_reach_the_optimal_values(head, double, network):
    updates = 300 if network is QNet else 600
    assert error(learned(HEADS[head], transitions(), double=double, network=network, updates=updates)) < TOLERANCE


@pytest.mark.parametrize(("estimator", "hyperparams"), [("TDLambda", {"lambda_": 0.7}), ("TD1", {})])
@pytest.mark.parametrize("head", HEADS)
def test_returns_along_optimal_paths_reach_the_optimal_values(head, estimator, hyperparams):
    values = learned(ALONG_TIME[head], optimal_slices(), estimator=estimator, updates=200, **hyperparams)
    assert error(values) < TOLERANCE


@pytest.mark.parametrize("estimator", ["WatkinsQLambda", "Retrace"])
@pytest.mark.parametrize("head", HEADS)
def test_returns_along_any_paths_reach_the_optimal_values_where_traces_are_cut(head, estimator):
    values = learned(ALONG_TIME[head], any_slices(), estimator=estimator, updates=200, lambda_=0.9)
    assert error(values) < TOLERANCE


def test_returns_along_any_paths_do_not_without_cuts():
    values = learned(ScalarHead, any_slices(), estimator="TDLambda", updates=200, lambda_=0.9)
    assert error(values) > 0.1


def test_soft_retrace_reaches_the_values_of_its_boltzmann_policy():
    mdp, _ = problem()
    goal = mdp.fixed_point(lambda q: (mdp.boltzmann(q, 0.3)[0] * q).sum(1))
    values = learned(ScalarHead, any_slices(), estimator="Retrace", updates=200, lambda_=0.9, temperature=0.3)
    assert error(values, goal) < 1e-3


@pytest.mark.parametrize("alpha", [None, 0.7])
@pytest.mark.parametrize("head", HEADS)
def test_soft_targets_and_munchausen_reach_their_fixed_points(head, alpha):
    mdp, _ = problem()

    def value(q):
        prob, log_prob = mdp.boltzmann(q, 0.3)
        return (prob * (q - 0.3 * log_prob)).sum(1)

    def bonus(q):
        return 0.0 if alpha is None else alpha * np.clip(0.3 * mdp.boltzmann(q, 0.3)[1], -0.5, 0.0)

    options = {} if alpha is None else {"alpha": alpha, "clip_value_min": -0.5}
    estimator = "SoftTD0" if alpha is None else "Munchausen"
    values = learned(HEADS[head], transitions(), estimator=estimator, updates=300, temperature=0.3, **options)
    assert error(values, mdp.fixed_point(value, bonus)) < TOLERANCE


def test_without_the_mask_the_values_are_wrong():
    batch = transitions().exclude("action_mask", ("next", "action_mask"))
    assert error(learned(ScalarHead, batch)) > 1.0
