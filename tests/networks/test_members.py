"""The ensemble network, its members in the loss, and acting by one of them."""

import pytest
import torch
from tensordict import TensorDict

from qframe.actions import Categorical, MultiCategorical
from qframe.exploration import Bootstrapped, set_exploration_type
from qframe.heads import CategoricalHead, FullyParameterizedQuantileHead, ImplicitQuantileHead, QuantileHead, ScalarHead
from qframe.networks import EnsembleQNet, MLPTrunk, QNet
from qframe.objectives import DQNLoss

HEADS = {
    "scalar": ScalarHead,
    "categorical": lambda features, actions: CategoricalHead(features, actions, num_atoms=5, v_min=-2, v_max=2),
    "quantile": lambda features, actions: QuantileHead(features, actions, num_quantiles=4),
    "implicit quantile": ImplicitQuantileHead,
    "fully parameterized quantile": FullyParameterizedQuantileHead,
}
K, A, B = 3, 2, 6
INDEX = torch.zeros(1, dtype=torch.int64)


def ensemble(head=ScalarHead, **options):
    torch.manual_seed(0)
    options = {"num_members": K} | options
    return EnsembleQNet(MLPTrunk((4,), num_cells=[8]), head, action_space=Categorical(A), **options)


def batch(generator, *size):
    size = size or (B,)
    draw = {"generator": generator}
    return TensorDict(
        {
            "observation": torch.randn(*size, 4, **draw),
            "action": torch.randint(A, size, **draw),
            "next": {
                "observation": torch.randn(*size, 4, **draw),
                "reward": torch.randn(*size, 1, **draw),
                "terminated": torch.rand(*size, 1, **draw) < 0.2,
                "done": torch.rand(*size, 1, **draw) < 0.2,
            },
        },
        size,
    )


def member(network, k):
    """One member as a plain network with the same weights."""
    alone = QNet(network.trunk, HEADS["scalar"], action_space=Categorical(A))
    rows = slice(k * A, (k + 1) * A)
    alone.head.layer.weight.data, alone.head.layer.bias.data = (
        parameter.data[rows].clone() for parameter in (network.head.layer.weight, network.head.layer.bias)
    )
    return alone


@pytest.mark.parametrize("double", [False, True])
def test_the_loss_is_the_mean_of_what_each_member_alone_would_have(generator, double):
    data, network = batch(generator), ensemble()
    loss = DQNLoss(network, delay_value=True, double_dqn=double)
    alone = [DQNLoss(member(network, k), delay_value=True, double_dqn=double) for k in range(K)]
    data["bootstrap_mask"] = torch.tensor([[True, False, True]]).expand(B, K)
    result = loss(data)
    each = [own(data.clone()) for own in alone]
    assert result["loss"].item() == pytest.approx((each[0]["loss"] + each[2]["loss"]).item() / K, rel=1e-5)
    errors = []
    for own in alone:
        copy = data.clone()
        own(copy)
        errors.append(copy["td_error"])
    assert torch.allclose(data["td_error"], torch.stack(errors).mean(0), atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize(
    ("estimator", "size"), [("TD0", (B,)), ("munchausen", (B,)), ("TDLambda", (2, 3)), ("watkins", (2, 3))]
)
def test_every_head_and_estimator_trains_an_ensemble(generator, head, dueling, estimator, size):
    network = ensemble(HEADS[head], dueling=dueling, prior_scale=1.0)
    loss, data = DQNLoss(network, delay_value=True), batch(generator, *size)
    loss.make_value_estimator(estimator)
    data["action_mask"] = data["next", "action_mask"] = torch.ones(*size, A, dtype=torch.bool)
    data["bootstrap_mask"] = torch.rand(*size, K, generator=generator) < 0.5
    loss(data)["loss"].backward()
    assert data["td_error"].shape == (*size, 1)
    trained = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in network.named_parameters() if not name.startswith("prior")}


def test_a_member_that_is_masked_everywhere_learns_nothing(generator):
    data, network = batch(generator), ensemble()
    data["bootstrap_mask"] = torch.tensor([[True, False, True]]).expand(B, K)
    DQNLoss(network)(data)["loss"].backward()
    moved = network.head.layer.weight.grad.abs().sum(-1).view(K, A).sum(-1) > 0
    assert moved.tolist() == [True, False, True]


def test_scaled_gradients_are_k_times_as_large_for_members_and_the_same_for_the_trunk(generator):
    data, gradients = batch(generator), []
    for scale in (True, False):
        network = ensemble(scale_gradients=scale)
        DQNLoss(network)(data.clone())["loss"].backward()
        gradients.append([network.head.layer.weight.grad, network.trunk[0].weight.grad])
    (head, trunk), (plain_head, plain_trunk) = gradients
    assert torch.allclose(head, K * plain_head, atol=1e-6)
    assert torch.allclose(trunk, plain_trunk, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_the_prior_is_added_scaled_at_the_same_levels_and_never_moves(head):
    observation = torch.randn(5, 4)
    with_prior, without = ensemble(HEADS[head], prior_scale=2.0), ensemble(HEADS[head])
    plain = without.predict(observation)
    added = with_prior.predict(observation).out - plain.out
    prior = with_prior.prior_head.prediction(with_prior.prior_trunk(observation), plain.levels).out
    assert torch.allclose(added, 2.0 * with_prior.members.split(prior), atol=1e-5)
    assert not any(parameter.requires_grad for parameter in with_prior.prior_trunk.parameters())


def test_evaluation_takes_the_greedy_action_of_the_mean():
    network = ensemble()
    value = torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]], [[9.0, 0.0]]])  # two members of three would take 1
    mean = network.branches.join(value)
    assert network.action_space.greedy_index(mean).tolist() == [0]
    assert network.action_space.greedy_index(mean, torch.tensor([[False, True]])).tolist() == [1]
    data = network(TensorDict({"observation": torch.zeros(B, 4)}, [B]))
    assert data["action_value"].shape == (B, A)


def test_an_environment_acts_by_one_member_until_its_episode_ends():
    explore = Bootstrapped(Categorical(K), num_members=K, num_envs=500, seed=1)
    value = torch.eye(K).unsqueeze(1).expand(K, 500, K)  # member k prefers action k
    greedy, first = torch.zeros(500, dtype=torch.int64), explore.member.clone()
    assert first.bincount().tolist() == pytest.approx([500 / K] * K, abs=60)
    for _ in range(3):
        assert torch.equal(explore.explore(greedy, None, value), first)
        explore.step(500, torch.zeros(500, dtype=torch.bool))
    done = torch.arange(500) < 250
    explore.step(500, done)
    changed = explore.explore(greedy, None, value) != first
    assert not bool(changed[250:].any())
    assert changed[:250].float().mean().item() == pytest.approx(2 / 3, abs=0.1)
    with set_exploration_type("deterministic"):
        assert torch.equal(explore.explore(greedy, None, value), greedy)


def test_a_bootstrap_mask_holds_each_member_with_its_probability():
    explore = Bootstrapped(Categorical(2), num_members=K, num_envs=4000, bootstrap_probability=0.25)
    mask = explore.stored()["bootstrap_mask"]
    assert (mask.shape, mask.dtype) == ((4000, K), torch.bool)
    assert mask.float().mean(0).tolist() == pytest.approx([0.25] * K, abs=0.03)
    assert Bootstrapped(Categorical(2), num_members=K, num_envs=2).stored() == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ensemble(num_members=1), "num_members of at least 2, got 1; for one, use network=q_net"),
        (lambda: ensemble(prior_scale=-1.0), "prior_scale of at least 0"),
        (
            lambda: EnsembleQNet(MLPTrunk((4,), num_cells=[8]), ScalarHead, action_space=MultiCategorical([2, 2])),
            "an ensemble takes no joint actions, got MultiCategorical.*enumerated",
        ),
        (lambda: Bootstrapped(Categorical(2), num_members=2, num_envs=1, bootstrap_probability=0.0), r"in \(0, 1\]"),
        (
            lambda: Bootstrapped(Categorical(2), num_members=2, num_envs=1).explore(INDEX, None, torch.ones(4)),
            r"\[K, E, A\] of 2 members, got \[4\]; use network=ensemble",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
