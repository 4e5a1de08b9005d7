"""Every head under the estimators: laws against loops in NumPy, what is refused, and names."""

import numpy as np
import pytest
import torch

from qframe.estimators import TD1, Munchausen, Retrace, SoftTD0, TDLambda, ValueEstimators, WatkinsQLambda
from qframe.functional.backup import LambdaBackup
from qframe.heads import Prediction
from tests.estimators.estimating import softmax
from tests.heads.test_heads_oracle import (
    ACTIONS,
    GAMMA,
    HEADS,
    B,
    T,
    built,
    head_loss,
    law_of,
    mean_of,
    outputs,
    random_batch,
)

TAU = 0.4


def masked_batch(shape, seed):
    """Random transitions whose taken action is legal; a terminal state has no legal action."""
    batch = random_batch(shape, seed)
    g = torch.Generator().manual_seed(seed)
    batch["action_mask"] = torch.rand(*shape, ACTIONS, generator=g) < 0.7
    batch["action_mask"].scatter_(-1, batch["action"].unsqueeze(-1), True)
    mask = batch["next", "action_mask"]
    mask[~mask.any(-1)] = True
    mask[batch["next", "terminated"].squeeze(-1)] = False
    batch["action_probability"] = torch.rand(*shape, 1, generator=g)
    return batch


@pytest.mark.parametrize("network", ["q_net", "shared_trunk"])
@pytest.mark.parametrize("head", HEADS)
def test_munchausen_equals_the_loops(head, network):
    loss, batch = built(head, network, False), masked_batch((12,), 1)
    loss.make_value_estimator(Munchausen(alpha=0.9, temperature=TAU, clip_value_min=-0.5))
    now = outputs(loss.value_network, batch["observation"])
    target_now = outputs(loss.target_value_network, batch["observation"])
    then = outputs(loss.target_value_network, batch["next", "observation"])
    expected = []
    for i in range(12):
        values_now = np.array([mean_of(head, target_now[i, a]) for a in range(ACTIONS)])
        _, log_prob = softmax(values_now, TAU, batch["action_mask"][i].numpy())
        r = batch["next", "reward"][i].item() + 0.9 * np.clip(TAU * log_prob[batch["action"][i]], -0.5, 0)
        atoms, masses = [np.array([r])], [np.array([1.0])]
        if not batch["next", "terminated"][i]:
            values = np.array([mean_of(head, then[i, a]) for a in range(ACTIONS)])
            prob, log_prob = softmax(values, TAU, batch["next", "action_mask"][i].numpy())
            laws = [law_of(head, then[i, a]) for a in range(ACTIONS)]
            atoms = [r + GAMMA * (location - TAU * lp) for (location, _), lp in zip(laws, log_prob, strict=True)]
            masses = [p * mass for (_, mass), p in zip(laws, prob, strict=True)]
        expected.append(head_loss(head, now[i, batch["action"][i]], np.concatenate(atoms), np.concatenate(masses)))
    assert loss(batch)["loss"].item() == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_watkins_equals_the_mixture_over_horizons_by_loops(head):
    lambda_ = 0.7
    loss, batch = built(head, "q_net", False), masked_batch((B, T), 2)
    loss.make_value_estimator("Watkins", lambda_=lambda_)
    now = outputs(loss.value_network, batch["observation"])
    then = outputs(loss.target_value_network, batch["next", "observation"])
    expected, cut = [], 0
    for b in range(B):
        for t in range(T):
            atoms, masses, reward, discount, weight = [], [], 0.0, 1.0, 1.0
            for k in range(t, T):
                reward += discount * batch["next", "reward"][b, k].item()
                terminated, done = (batch["next", name][b, k].item() for name in ("terminated", "done"))
                discount = 0.0 if terminated else discount * GAMMA
                values = np.array([mean_of(head, then[b, k, a]) for a in range(ACTIONS)])
                legal = np.where(batch["next", "action_mask"][b, k].numpy(), values, -np.inf)
                goes_on = not done and k < T - 1 and batch["action"][b, k + 1].item() == legal.argmax()
                cut += not done and k < T - 1 and not goes_on
                share = weight * (1 - lambda_) if goes_on else weight
                location, mass = law_of(head, then[b, k, legal.argmax()])
                mass = np.full(len(mass), 1 / len(mass)) if terminated else mass
                atoms.append(reward + discount * location)
                masses.append(share * mass)
                weight -= share
            out = now[b, t, batch["action"][b, t]]
            expected.append(head_loss(head, out, np.concatenate(atoms), np.concatenate(masses)))
    assert cut > 5
    assert loss(batch)["loss"].item() == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_a_bootstrap_of_several_laws_a_step_is_their_mixture_at_every_horizon(head):
    loss = built(head, "q_net", False).double()
    g = torch.Generator().manual_seed(0)
    out = torch.randn(B, T, ACTIONS, loss.head.num_outputs, generator=g).double()
    weight = torch.rand(B, T, ACTIONS, generator=g).double().softmax(-1)
    reward, trace = torch.randn(2, B, T, generator=g).double()
    discount = torch.where(torch.rand(B, T, generator=g) < 0.2, 0.0, GAMMA).double()
    trace = torch.where(torch.rand(B, T, generator=g) < 0.2, 0.0, trace.sigmoid())
    target = loss.head.lambda_target(Prediction(out), LambdaBackup(reward, discount, trace, weight))
    prediction = torch.randn(B, T, loss.head.num_outputs, generator=g).double()
    got = loss.head.loss(Prediction(prediction), target)[0]
    for b in range(B):
        for t in range(T):
            atoms, masses, total, product, reach = [], [], 0.0, 1.0, 1.0
            for k in range(t, T):
                total, product = total + product * reward[b, k].item(), product * discount[b, k].item()
                c = trace[b, k].item() if k < T - 1 and product > 0 else 0.0
                for a in range(ACTIONS):
                    location, mass = law_of(head, out[b, k, a].numpy())
                    atoms.append(total + product * location)
                    masses.append(reach * (1 - c) * weight[b, k, a].item() * mass)
                reach *= c
            expected = head_loss(head, prediction[b, t].numpy(), np.concatenate(atoms), np.concatenate(masses))
            assert got[b, t].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", list(ValueEstimators))
@pytest.mark.parametrize("head", HEADS)
def test_every_estimator_trains_every_head_without_harm_from_terminal_states(head, name):
    loss, batch = built(head, "shared_trunk", False), masked_batch((B, T), 3)
    batch["next", "observation"][batch["next", "terminated"].squeeze(-1)] = torch.nan
    loss.make_value_estimator(name)
    value = loss(batch)["loss"]
    value.backward()
    assert value.isfinite()
    assert all(p.grad.isfinite().all() for p in loss.value_network.parameters())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("td-lambda", TDLambda), ("pengs_q_lambda", TDLambda), ("Peng's Q(λ)", TDLambda), ("TD 1", TD1),
        ("watkins", WatkinsQLambda), ("Watkins-Q-Lambda", WatkinsQLambda), ("retrace", Retrace),
        ("soft_td0", SoftTD0), ("MUNCHAUSEN", Munchausen),
    ],
)  # fmt: skip
def test_a_name_may_be_written_in_any_way(name, kind):
    loss = built("scalar", "q_net", False)
    loss.make_value_estimator(name)
    assert type(loss.estimator) is kind


def test_munchausen_with_double_is_refused():
    loss = built("scalar", "q_net", True)
    with pytest.raises(ValueError, match="Munchausen takes its policy from the target network, so double_dqn=True"):
        loss.make_value_estimator("munchausen")
    assert type(loss.estimator).__name__ == "TD0"


def test_munchausen_with_lambda_is_refused():
    loss = built("scalar", "q_net", False)
    with pytest.raises(ValueError, match="Munchausen takes gamma, alpha, .*, not lambda_"):
        loss.make_value_estimator("munchausen", lambda_=0.9)


@pytest.mark.parametrize("head", ["categorical", "quantile"])
def test_soft_retrace_on_a_law_is_refused_and_greedy_retrace_is_not(head):
    loss = built(head, "q_net", False)
    with pytest.raises(ValueError, match="Retrace with a soft policy gives a mixture with .* weights, which .* cannot"):
        loss.make_value_estimator("retrace", temperature=0.5)
    loss.make_value_estimator("retrace")


def test_retrace_without_stored_probabilities_is_refused():
    loss, batch = built("scalar", "q_net", False), masked_batch((B, T), 4)
    loss.make_value_estimator("retrace")
    with pytest.raises(KeyError, match="Retrace needs 'action_probability' in the batch"):
        loss(batch.exclude("action_probability"))
