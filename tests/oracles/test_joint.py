"""The loss of a joint action, by branching, sum and mean, on random masked transitions, against loops over branches."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.actions import MultiCategorical, MultiOneHot
from qframe.networks import QNet
from qframe.objectives import DQNLoss
from tests.oracles import actions, agent
from tests.oracles.test_losses import FEATURES, GAMMA, HEADS, Features, weights_of

SIZES, B = (2, 3, 1), 400
WIDTH, SPANS = sum(SIZES), actions.components(SIZES)
COMBINED = {"sum": np.sum, "mean": np.mean}


def random_batch(seed):
    rng = np.random.default_rng(seed)
    return {
        "observation": rng.normal(size=(B, FEATURES)),
        "next_observation": rng.normal(size=(B, FEATURES)),
        "action": np.stack([rng.integers(size, size=B) for size in SIZES], -1),
        "reward": rng.normal(size=B),
        "terminated": rng.random(B) < 0.2,
        "next_mask": rng.random((B, WIDTH)) < 0.6,
    }


def as_tensordict(batch, one_hot):
    x = {name: torch.from_numpy(value) for name, value in batch.items()}
    hot = [torch.nn.functional.one_hot(index, size) for index, size in zip(x["action"].unbind(-1), SIZES, strict=True)]
    following = {
        "observation": x["next_observation"], "reward": x["reward"], "terminated": x["terminated"],
        "done": x["terminated"], "action_mask": x["next_mask"],
    }  # fmt: skip
    action = torch.cat(hot, -1) if one_hot else x["action"]
    return TensorDict({"observation": x["observation"], "action": action, "next": following}, [B])


def by_loops(head, joint, online, target, batch, double):
    """The loss and the |td_error| of every transition."""
    now, then, chooser = (
        agent.outputs(weights, batch[key], WIDTH)
        for weights, key in ((online, "observation"), (target, "next_observation"), (online, "next_observation"))
    )
    losses, errors = np.zeros(B), np.zeros(B)
    for i in range(B):
        values = head.value(chooser[i] if double else then[i])
        picks = [s + actions.best(values[s:e], batch["next_mask"][i, s:e]) for s, e in SPANS]
        taken = [now[i, s + a] for (s, _), a in zip(SPANS, batch["action"][i], strict=True)]
        if batch["terminated"][i]:
            location, mass = np.array([batch["reward"][i]]), np.array([1.0])
        elif joint in COMBINED:
            location, mass = head.law(COMBINED[joint]([then[i, pick] for pick in picks], 0))
            location = batch["reward"][i] + GAMMA * location
        else:
            laws = [head.law(then[i, pick]) for pick in picks]
            location = np.concatenate([batch["reward"][i] + GAMMA * z for z, _ in laws])
            mass = np.concatenate([p / len(SIZES) for _, p in laws])
        outs = [COMBINED[joint](taken, 0)] if joint in COMBINED else taken
        pairs = [head.loss(out, location, mass) for out in outs]
        losses[i] = np.mean([loss for loss, _ in pairs])
        errors[i] = np.mean([abs(error) for _, error in pairs])
    return losses, errors


@pytest.mark.parametrize("spec", [MultiCategorical, MultiOneHot])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize(
    ("name", "joint"),
    [("l2", "branching"), ("smooth_l1", "branching"), ("categorical", "branching"), ("quantile", "branching"),
     ("l2", "sum"), ("quantile", "sum"), ("l2", "mean"), ("quantile", "mean")],
)  # fmt: skip
def test_the_loss_of_a_joint_action_equals_the_loops(name, joint, double, spec):
    torch.manual_seed(0)
    network = QNet(Features(), HEADS[name][1], action_space=spec(SIZES)).double()
    loss = DQNLoss(network, delay_value=True, double_dqn=double, gamma=GAMMA, joint=joint, reduction="none")
    for parameter in loss.parameters():
        parameter.data.copy_(torch.randn(parameter.shape))
    batch = random_batch(1)
    rows = as_tensordict(batch, spec is MultiOneHot)
    got = loss(rows)["loss"].detach().numpy()
    weights = weights_of(loss.value_network), weights_of(loss.target_value_network)
    losses, errors = by_loops(HEADS[name][0], joint, *weights, batch, double)
    np.testing.assert_allclose(got, losses, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(rows["td_error"].squeeze(-1), errors, rtol=1e-6, atol=1e-6)
