"""Memories, and what a network carries while it acts."""

from functools import partial

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.actions import Categorical, make_action_space
from qframe.heads import ScalarHead
from qframe.networks import GRU, LSTM, EnsembleQNet, Memory, MLPTrunk, QNet
from qframe.networks.carried import carried
from qframe.networks.recurrent_trunk import recurrent_trunk
from qframe.objectives import DQNLoss

KINDS = [LSTM, GRU]


@pytest.mark.parametrize(("kind", "of_torch"), [(LSTM, nn.LSTM), (GRU, nn.GRU)])
def test_a_memory_is_torchs_layer_of_the_same_weights(kind, of_torch):
    torch.manual_seed(0)
    memory, layer = kind(3, 2, hidden_size=4, num_layers=2), of_torch(3, 4, 2, batch_first=True)
    with torch.no_grad():
        for number in range(2):
            for part, name in ((memory.input_layers, "ih"), (memory.state_layers, "hh")):
                getattr(layer, f"weight_{name}_l{number}").copy_(part[number].weight)
                getattr(layer, f"bias_{name}_l{number}").copy_(part[number].bias)
    inputs, nowhere = torch.randn(5, 6, 3), torch.zeros(5, 6, dtype=torch.bool)
    features, _ = memory.over_time(inputs, memory.initial_state([5]), nowhere)
    torch.testing.assert_close(features, layer(inputs)[0])


@pytest.mark.parametrize("options", [{}, {"num_layers": 3}, {"num_layers": 2, "layer_norm": True}])
@pytest.mark.parametrize("kind", KINDS)
def test_all_passes_of_a_memory_agree(kind, options):
    torch.manual_seed(0)
    memory = kind(3, 2, hidden_size=4, **options)
    inputs, start, first = torch.randn(2, 5, 6, 3), torch.randn(2, 5, memory.state_size), torch.rand(2, 5, 6) < 0.3
    features, states = memory.over_time(inputs, start, first)
    state = start
    for t in range(6):
        state = torch.where(first[..., t, None], memory.initial_state([2, 5]), state)
        out, state = memory.step(inputs[:, :, t], state)
        torch.testing.assert_close(out, features[:, :, t])
        torch.testing.assert_close(state, states[:, :, t])
    nowhere = torch.zeros_like(first)
    features, states = memory.over_time(inputs, start, nowhere)
    own_features, last = memory.over_episode(inputs, start)
    torch.testing.assert_close(own_features, features)
    torch.testing.assert_close(last, states[:, :, -1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_with_a_horizon_keeps_its_state_for_that_long(kind):
    torch.manual_seed(0)
    memory = kind(3, 2, hidden_size=200, horizon=100)
    with torch.no_grad():
        memory.state_layers[0].weight.zero_()
    _, states = memory.over_time(torch.zeros(1, 1, 3), torch.ones(1, memory.state_size), torch.zeros(1, 1).bool())
    kept = states[0, 0, -200:]  # of 1, after one step: about 1 − 1/steps, steps between 1 and 99
    assert ((kept > 0.45) & (kept < 1.01)).all()
    assert kept.median().item() == pytest.approx(1 - 1 / 50, abs=0.01)


def test_a_horizon_of_a_step_or_two_is_refused():
    with pytest.raises(ValueError, match="expected a horizon of at least 3 steps, or none, got 2"):
        LSTM(3, 2, horizon=2)


def test_a_size_below_one_is_refused():
    with pytest.raises(ValueError, match="expected hidden_size of at least 1, got 0"):
        LSTM(3, 2, hidden_size=0)


class Counting(Memory):
    """Counts the steps of an episode, from 10 on."""

    def __init__(self, num_features, num_actions):
        super().__init__(num_features, num_actions)
        self.num_features = self.state_size = 1
        self.unused = nn.Parameter(torch.zeros(()))

    def initial_state(self, batch):
        return torch.full((*batch, 1), 10.0)

    def step(self, inputs, state):
        return state, state + 1


def test_a_memory_of_ones_own_needs_one_step_and_may_have_another_initial_state():
    memory = Counting(3, 2)
    first = torch.tensor([[False, False, True, False]])
    features, states = memory.over_time(torch.zeros(1, 4, 3), torch.tensor([[5.0]]), first)
    assert features.flatten().tolist() == [5.0, 6.0, 10.0, 11.0]
    assert states.flatten().tolist() == [6.0, 7.0, 11.0, 12.0]
    assert memory.over_episode(torch.zeros(1, 2, 3), torch.tensor([[5.0]]))[1].tolist() == [[7.0]]


def network(action_space=None, **options):
    torch.manual_seed(0)
    memory = partial(LSTM, **{"hidden_size": 4, "inputs": ["action", "reward"]} | options)
    trunk = MLPTrunk((3,), num_cells=[5])
    return QNet(trunk, ScalarHead, action_space=action_space or Categorical(2), make_memory=memory)


def played(net, observations, begins, *, rows=None):
    """The action values ``[T, E, A]`` of environments that are stepped together."""
    remembered, values = carried(net, observations.shape[1], net.action_space), []
    for observation, begin in zip(observations, begins, strict=True):
        values.append(remembered.predict(observation).out)
        remembered.after(values[-1].squeeze(-1).argmax(-1), observation[:, 0], begin)
    return torch.stack(values)


def test_environments_do_not_see_one_another_and_are_reset_with_each_episode():
    net = network()
    observations, begins = torch.randn(8, 3, 3), torch.rand(8, 3) < 0.3
    together = played(net, observations, begins)
    for env in range(3):
        alone = played(net, observations[:, env : env + 1], begins[:, env : env + 1])
        torch.testing.assert_close(together[:, env : env + 1], alone)
    ends = begins[:, 0].nonzero().flatten().tolist()
    start = next(end + 1 for end in ends if end < 6)
    torch.testing.assert_close(together[start:, :1], played(net, observations[start:, :1], begins[start:, :1]))


def test_only_environments_that_step_move_on():
    net = network()
    remembered = carried(net, 3, net.action_space)
    before = remembered.state_dict()["state"].clone()
    value = remembered.predict_some(torch.randn(1, 3), torch.tensor([False, True, False])).out
    after = remembered.state_dict()["state"]
    assert value.shape == (1, 2, 1)
    assert (after != before).any(-1).tolist() == [False, True, False]


def test_what_is_stored_unrolls_to_what_was_seen():
    net = network()
    remembered = carried(net, 2, net.action_space, stores_state=True)
    observations, begins = torch.randn(7, 2, 3), torch.rand(7, 2) < 0.3
    steps, values = [], []
    for t in range(6):
        values.append(remembered.predict(observations[t]).out)
        action, reward = values[-1].squeeze(-1).argmax(-1), torch.randn(2)
        ahead = {"steps_to_next_obs": torch.ones(2, 1, dtype=torch.int64)}
        rows = {"observation": observations[t], **remembered.stored, **ahead}
        following = remembered.after(action, reward, begins[t])
        nexts = TensorDict({"observation": observations[t + 1], **following}, [2])
        steps.append(TensorDict({**rows, "next": nexts}, [2]))
    unrolled = recurrent_trunk(net).unroll(torch.stack(steps, 1), compares=True)
    torch.testing.assert_close(net.predict(unrolled.now).out, torch.stack(values, 1))
    torch.testing.assert_close(unrolled.stored.features, unrolled.now.features[:, [0, -1]])


def test_the_actions_of_all_branches_are_inputs():
    from gymnasium.spaces import MultiDiscrete

    space = make_action_space(MultiDiscrete([2, 3]), encoding="multi-categorical")
    net = network(space, inputs=["action"])
    trunk = recurrent_trunk(net)
    assert trunk.memory.num_inputs == 5 + 5
    inputs = trunk._inputs(torch.zeros(2, 3), {"last_action": torch.tensor([[1, 2], [-1, -1]])})
    assert inputs[:, 5:].tolist() == [[0.0, 1.0, 0.0, 0.0, 1.0], [0.0] * 5]


@pytest.mark.parametrize("dueling", [False, True])
def test_every_member_of_an_ensemble_is_a_network_with_a_memory_of_its_own(dueling):
    torch.manual_seed(0)
    make = partial(LSTM, hidden_size=4, inputs=["action", "reward"])
    ensemble = EnsembleQNet(
        MLPTrunk((3,), num_cells=[5]), ScalarHead, action_space=Categorical(2), make_memory=make, num_members=3,
        dueling=dueling,
    )  # fmt: skip
    trunk = recurrent_trunk(ensemble)
    sequence = random_sequence(trunk.memory.state_size)
    found = ensemble.predict(trunk.unroll(sequence).now).out  # [K, B, T, A, 1]
    assert found.shape == (3, 2, 4, 2, 1)
    for number, member in enumerate(trunk.memory.members):
        network = QNet(trunk.trunk, ScalarHead, action_space=Categorical(2), make_memory=lambda *_, own=member: own)
        with torch.no_grad():
            network.head.layer.weight.copy_(ensemble.head.layer.weight.view(3, 2, 4)[number])
            network.head.layer.bias.copy_(ensemble.head.layer.bias.view(3, 2)[number])
        state = sequence["memory", "state"].unflatten(-1, (3, -1))[:, :, number]
        own = sequence.clone().set(("memory", "state"), state)
        out = network.predict(recurrent_trunk(network).unroll(own).now).out
        if dueling:
            layer = ensemble.state_head.layer
            features = recurrent_trunk(network).unroll(own).now.features
            value = features @ layer.weight[number] + layer.bias[number]  # [B, T]
            out = value[..., None, None] + out - out.mean(-2, keepdim=True)
        torch.testing.assert_close(found[number], out)


def test_the_trunk_of_an_ensemble_learns_from_the_mean_of_its_members_and_each_memory_from_its_own():
    torch.manual_seed(0)
    trunks = {}
    for scale_gradients in (True, False):
        torch.manual_seed(1)
        ensemble = EnsembleQNet(
            MLPTrunk((3,), num_cells=[5]), ScalarHead, action_space=Categorical(2), num_members=3,
            make_memory=partial(LSTM, hidden_size=4), scale_gradients=scale_gradients,
        )  # fmt: skip
        trunk = recurrent_trunk(ensemble)
        torch.manual_seed(2)
        ensemble.predict(trunk.unroll(random_sequence(trunk.memory.state_size)).now).out.mean().backward()
        trunks[scale_gradients] = [p.grad for part in (trunk.trunk, trunk.memory) for p in part.parameters()]
    scaled, plain = trunks.values()
    for number, (one, other) in enumerate(zip(scaled, plain, strict=True)):
        torch.testing.assert_close(one, other * (1 if number < 2 else 3))


def test_members_with_memories_heed_a_bootstrap_mask():
    torch.manual_seed(0)
    ensemble = EnsembleQNet(
        MLPTrunk((3,), num_cells=[5]), ScalarHead, action_space=Categorical(2), num_members=3,
        make_memory=partial(LSTM, hidden_size=4, inputs=["action", "reward"]),
    )  # fmt: skip
    loss, sequence = DQNLoss(ensemble, delay_value=False), random_sequence(24)
    sequence["action"] = torch.zeros(2, 4, dtype=torch.int64)
    sequence["bootstrap_mask"] = torch.tensor([True, False, True]).expand(2, 4, 3)
    sequence["next"].update({key: torch.zeros(2, 4, 1) for key in ("reward", "done", "terminated")})
    loss.has_target_update = True
    loss(sequence)["loss"].backward()
    moved = [bool(member.input_layers[0].weight.grad.any()) for member in recurrent_trunk(ensemble).memory.members]
    assert moved == [True, False, True]


def test_a_prior_is_refused_beside_a_memory():
    with pytest.raises(ValueError, match="a prior sees one observation"):
        EnsembleQNet(
            MLPTrunk((3,), num_cells=[5]), ScalarHead, action_space=Categorical(2), make_memory=LSTM, prior_scale=1.0,
        )  # fmt: skip


def random_sequence(state_size):
    """Two sequences of four steps in which no episode ends."""
    following = TensorDict({"observation": torch.randn(2, 4, 3), "memory": last()}, [2, 4])
    entries = {
        "observation": torch.randn(2, 4, 3),
        "memory": {**last(), "state": torch.randn(2, 4, state_size), "is_first": torch.zeros(2, 4, 1).bool()},
        "steps_to_next_obs": torch.ones(2, 4, 1, dtype=torch.int64),
        "next": following,
    }
    return TensorDict(entries, [2, 4])


def last():
    return {"last_action": torch.randint(2, (2, 4)), "last_reward": torch.randn(2, 4, 1)}

