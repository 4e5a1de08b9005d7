"""Every head and estimator as one graph, and mapped over: the same numbers as eager and batched."""

from itertools import product

import pytest
import torch
from tensordict import TensorDict

from qframe.actions import Categorical
from qframe.estimators.one_step import TD0
from qframe.estimators.soft import Munchausen, SoftTD0
from qframe.estimators.traces import Retrace, TDLambda, WatkinsQLambda
from qframe.networks import MLPTrunk, QNet, SharedTrunk
from qframe.objectives import DQNLoss, Noise, dqn_loss
from tests.heads.common import HEADS

ACTIONS, B, T = 3, 4, 3
BACKEND = "aot_eager_default_partitioner"  # traces forward and backward; the other partitioner plans memory, slowly
NETWORKS = {"q_net": QNet, "shared_trunk": SharedTrunk}


@pytest.fixture(autouse=True)
def fresh_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def built(head, network="q_net", *, double=False, noisy=False, transform="none"):
    torch.manual_seed(0)
    net = NETWORKS[network](
        MLPTrunk((2,), num_cells=[8]),
        lambda f, a: HEADS[head](f, a, transform=transform),
        action_space=Categorical(ACTIONS),
        noisy=noisy,
    )
    loss = DQNLoss(net, delay_value=True, double_dqn=double, gamma=0.9)
    with torch.no_grad():
        for parameter in loss.target_value_network.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return loss


def batch_of(*shape):
    g = torch.Generator().manual_seed(1)
    done = torch.rand(*shape, generator=g) < 0.3
    mask = torch.rand(2, *shape, ACTIONS, generator=g) < 0.7
    mask[..., 0] |= ~mask.any(-1)
    return TensorDict(
        {
            "observation": torch.randn(*shape, 2, generator=g),
            "action": torch.randint(ACTIONS, shape, generator=g),
            "action_mask": mask[0],
            "action_probability": torch.rand(shape, generator=g),
            "next": {
                "observation": torch.randn(*shape, 2, generator=g),
                "reward": torch.randn(shape, generator=g),
                "terminated": done & (torch.rand(shape, generator=g) < 0.5),
                "done": done,
                "action_mask": mask[1],
            },
        },
        shape,
    )


def pure(loss, estimator):
    """The pure loss as a function of a batch and noise alone."""
    online, target = loss._random or loss._networks

    def function(batch, noise):
        return dqn_loss(
            loss.head, online.predict, target.predict, batch, noise, estimator, double=loss.double_dqn
        )

    return function


ESTIMATORS = {"TD0": TD0(), "TDLambda": TDLambda(lambda_=0.7)}
FACTORS = (tuple(HEADS), tuple(NETWORKS), tuple(ESTIMATORS), (False, True), (False, True), ("none", "h"))


def pairwise_sample():
    """Few combinations in which every two choices meet, greedily."""
    everything = list(product(*FACTORS))

    def pairs(row):
        return {(i, row[i], j, row[j]) for i in range(len(row)) for j in range(i)}

    missing, rows = set().union(*map(pairs, everything)), []
    while missing:
        best = max(everything, key=lambda row: len(pairs(row) & missing))
        rows.append(best)
        missing -= pairs(best)
    return rows


@pytest.mark.parametrize(("head", "network", "estimator", "double", "noisy", "transform"), pairwise_sample())
def test_the_pure_loss_is_one_graph(head, network, estimator, double, noisy, transform):
    loss = built(head, network, double=double, noisy=noisy, transform=transform)
    loss.make_value_estimator(ESTIMATORS[estimator])
    batch, noise = loss._read(batch_of(B, T)), loss.draw_noise(torch.Size([B, T]))
    eager = pure(loss, ESTIMATORS[estimator])
    compiled = torch.compile(eager, fullgraph=True, backend=BACKEND)
    gradients = []
    for function in (eager, compiled):
        value, td_error = function(batch, noise)
        loss.zero_grad()
        value.mean().backward()
        gradients.append((value.detach(), td_error, [p.grad.clone() for p in loss.value_network.parameters()]))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("estimator", [WatkinsQLambda, Retrace, SoftTD0, Munchausen])
def test_every_other_estimator_is_one_graph(estimator):
    loss = built("quantile")
    loss.make_value_estimator(estimator())
    batch, noise = loss._read(batch_of(B, T)), loss.draw_noise(torch.Size([B, T]))
    eager = pure(loss, loss.estimator)
    compiled = torch.compile(eager, fullgraph=True, backend=BACKEND)
    torch.testing.assert_close(compiled(batch, noise), eager(batch, noise), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of torch itself, while it compiles
def test_inductor_compiles_the_loss_and_its_gradient():
    loss = built("scalar", double=True, noisy=True)
    batch, noise = loss._read(batch_of(B)), loss.draw_noise(torch.Size([B]))
    eager = pure(loss, loss.estimator)
    compiled = torch.compile(eager, fullgraph=True)
    for drawn in (noise, loss.draw_noise(torch.Size([B]))):
        torch.testing.assert_close(compiled(batch, drawn), eager(batch, drawn), rtol=1e-4, atol=1e-5)
    compiled(batch, noise)[0].mean().backward()
    assert all(p.grad is not None for p in loss.value_network.parameters())


def keywords(data):
    entries = {name: data[name] for name in ("observation", "action")}
    return entries | {f"next_{name}": data["next", name] for name in ("observation", "reward", "terminated", "done")}


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("head", HEADS)
def test_a_call_with_keywords_is_one_graph(head, double):
    loss = built(head, double=double)
    entries, noise = keywords(batch_of(B)), loss.draw_noise(torch.Size([B]))
    compiled = torch.compile(loss, fullgraph=True, backend=BACKEND)
    torch.testing.assert_close(compiled(noise=noise, **entries), loss(noise=noise, **entries), rtol=1e-4, atol=1e-5)


def test_a_call_without_noise_is_one_graph_where_nothing_is_random():
    loss, entries = built("scalar"), keywords(batch_of(B))
    compiled = torch.compile(loss, fullgraph=True, backend=BACKEND)
    torch.testing.assert_close(compiled(**entries), loss(**entries))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", HEADS)
def test_the_pure_loss_can_be_mapped_over(head, network, estimator):
    loss = built(head, network, double=True)
    loss.make_value_estimator(ESTIMATORS[estimator])
    batch, noise = loss._read(batch_of(B, T)), loss.draw_noise(torch.Size([B, T]))
    online, target = loss._networks
    used = {name: value for name, value in batch._asdict().items() if value is not None}
    taus = {name: one.taus for name, one in noise._asdict().items() if one is not None}

    def one(entries, taus):
        of_one = batch._replace(**entries)
        return dqn_loss(
            loss.head, online.predict, target.predict, of_one, Noise(**taus), loss.estimator, double=True
        )

    torch.testing.assert_close(torch.vmap(one)(used, taus), one(used, taus), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_gradients_for_each_transition_can_be_mapped_over(head):
    loss = built(head)
    observation = torch.randn(B, 2)
    parameters = dict(loss.value_network.named_parameters())

    def mean(parameters, x):
        written = torch.func.functional_call(loss.value_network, parameters, (TensorDict({"observation": x}),))
        return written["action_value"].sum()

    each = torch.vmap(torch.func.grad(mean), in_dims=(None, 0))(parameters, observation)
    whole = torch.func.grad(lambda p: sum(mean(p, x) for x in observation))(parameters)
    for name in parameters:
        torch.testing.assert_close(each[name].sum(0), whole[name], rtol=1e-4, atol=1e-5)
