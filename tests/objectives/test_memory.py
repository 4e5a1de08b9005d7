"""Losses of networks with a memory, against a twin that unrolls its own cells step by step."""

from functools import partial
from itertools import product

import pytest
import torch
from tensordict import TensorDict

from qframe.actions import Categorical
from qframe.estimators.one_step import TD0
from qframe.estimators.protocol import Batch
from qframe.estimators.soft import Munchausen
from qframe.estimators.traces import Retrace, TDLambda, WatkinsQLambda
from qframe.networks import GRU, LSTM, Memory, MLPTrunk, QNet, SharedTrunk
from qframe.objectives import DQNLoss, dqn_loss
from qframe.objectives.dqv import DQVLoss
from tests.heads.common import HEADS

ACTIONS, B, T, BURN_IN = 3, 4, 7, 2
ESTIMATORS = {
    "td0": TD0, "munchausen": Munchausen, "peng": TDLambda, "watkins": WatkinsQLambda, "retrace": Retrace,
}  # fmt: skip


def made(head="scalar", memory=LSTM, *, network=QNet, burn_in=BURN_IN, double=True, estimator="td0", **options):
    torch.manual_seed(0)
    net = network(
        MLPTrunk((2,), num_cells=[6]),
        HEADS[head],
        action_space=Categorical(ACTIONS),
        make_memory=partial(memory, **{"hidden_size": 5, "inputs": ["action", "reward"], **options}),
    )
    loss = DQNLoss(net, delay_value=True, double_dqn=double, burn_in=burn_in, gamma=0.9)
    loss.has_target_update = True
    loss.make_value_estimator(ESTIMATORS[estimator]())
    with torch.no_grad():
        for parameter in loss.target_value_network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return loss


def sequences(state_size=10, *, n_step=1, is_stored=True, masked=True, ends=True, padded=False):
    """Steps ``[B, T]`` as a replay serves them; episodes end inside, some of them truncated."""
    g = torch.Generator().manual_seed(1)

    def flags(p):
        return torch.rand(B, T, 1, generator=g) < p

    done = flags(0.3) & torch.tensor(ends)
    first = torch.cat([flags(0.3)[:, :1], done[:, :-1]], 1)
    steps = torch.ones(B, T, 1, dtype=torch.int64)
    for b, t in product(range(B), range(T)):
        while steps[b, t] < n_step and t + steps[b, t] < T and not done[b, t : t + steps[b, t]].any():
            steps[b, t] += 1
    mask = torch.rand(2, B, T, ACTIONS, generator=g) < 0.7
    mask[..., 0] |= ~mask.any(-1)
    memory = {
        "is_first": first,
        "last_action": torch.randint(-1, ACTIONS, (B, T), generator=g),
        "last_reward": torch.randn(B, T, 1, generator=g),
        **({"state": torch.randn(B, T, state_size, generator=g)} if is_stored else {}),
    }
    ended = steps.new_zeros(B, T, 1).bool()
    for b, t in product(range(B), range(T)):
        ended[b, t] = done[b, t : t + steps[b, t]].any()
    terminated = ended & flags(0.5)
    batch = TensorDict(
        {
            "observation": torch.randn(B, T, 2, generator=g),
            "action": torch.randint(ACTIONS, (B, T), generator=g),
            "action_probability": torch.rand(B, T, generator=g),
            "priority_weight": torch.rand(B, T, 1, generator=g),
            "steps_to_next_obs": steps,
            "memory": memory,
            "next": {
                "observation": torch.randn(B, T, 2, generator=g),
                "memory": {
                    "last_action": torch.randint(ACTIONS, (B, T), generator=g),
                    "last_reward": torch.randn(B, T, 1, generator=g),
                },
                "reward": torch.randn(B, T, 1, generator=g),
                "terminated": terminated,
                "done": ended,
                "discount": torch.where(terminated, 0.0, 0.9**steps),
            },
        },
        [B, T],
        names=[None, "time"],
    )
    if masked:
        batch["action_mask"], batch["next", "action_mask"] = mask
    if padded:  # as within an episode: observations follow one another, and what comes after its end does not count
        continue_episodes(batch)
        ends_before = done.int().clone()
        ends_before[:, :BURN_IN] = 0
        batch["loss_mask"] = ends_before.cumsum(1) - ends_before == 0
    return batch


def continue_episodes(batch):
    """Let the next entries of every step be those of the step that follows, unless an episode begins there."""
    first, steps = batch["memory", "is_first"], batch["steps_to_next_obs"]
    own = batch["next"].clone()
    for b, t in product(range(B), range(T)):
        last = t + int(steps[b, t]) - 1
        ends = last + 1 == T or bool(first[b, last + 1])
        source = own[b, last] if ends else batch[b, last + 1]
        batch["next", "observation"][b, t] = source["observation"]
        for key in ("last_action", "last_reward"):
            batch["next", "memory", key][b, t] = source["memory", key]


def lstm_cell(layers, x, state):
    h, c = state.chunk(2)
    z = layers.input_layers[0](x) + layers.state_layers[0](h)
    i, f, g, o = (z[k * 5 : (k + 1) * 5] for k in range(4))
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, torch.cat([h, c])


def gru_cell(layers, x, h):
    a, b = layers.input_layers[0](x), layers.state_layers[0](h)
    r, z = torch.sigmoid(a[:5] + b[:5]), torch.sigmoid(a[5:10] + b[5:10])
    h = (1 - z) * torch.tanh(a[10:] + r * b[10:]) + z * h
    return h, h


CELLS = {LSTM: lstm_cell, GRU: gru_cell}


def twin_features(network, batch, burn_in):
    """Features of every step after the burn-in and of its next observation, ``[B, T, M]`` each, one cell at a time."""
    trunk, memory = network.trunk.trunk, network.trunk.memory
    cell, now, following = CELLS[type(memory)], [], []

    def inputs(observation, last, b, t):
        one_hot = [float(last["last_action"][b, t] == a) for a in range(ACTIONS)]
        return torch.cat([trunk(observation[b, t]), torch.tensor(one_hot), last["last_reward"][b, t]])

    for b in range(B):
        stored = batch["memory"].get("state", None)
        state = torch.zeros(memory.state_size) if stored is None else stored[b, 0]
        states, features = [], []
        for t in range(T):
            if batch["memory", "is_first"][b, t]:
                state = torch.zeros_like(state)
            out, state = cell(memory, inputs(batch["observation"], batch["memory"], b, t), state)
            state = state.detach() if t < burn_in else state
            states.append(state)
            features.append(out)
        after = [t + int(batch["steps_to_next_obs"][b, t]) - 1 for t in range(T)]
        nexts = [
            cell(memory, inputs(batch["next", "observation"], batch["next", "memory"], b, t), states[after[t]])[0]
            for t in range(T)
        ]
        now.append(torch.stack(features[burn_in:]))
        following.append(torch.stack(nexts[burn_in:]))
    return torch.stack(now), torch.stack(following).detach()


def twin_loss(loss, batch, noise):
    """The loss, and |δ| of all steps, from the twin's features."""
    burn_in = loss.burn_in
    sides = [twin_features(net, batch, burn_in) for net in (loss.value_network, loss.target_value_network)]
    rest = batch[:, burn_in:]
    masks = [rest.get(key, None) for key in ("action_mask", ("next", "action_mask"))]
    plain = Batch(
        observation=0, action=rest["action"], reward=rest["next", "reward"][..., 0],  # pyright: ignore
        discount=rest["next", "discount"][..., 0], next_observation=1, done=rest["next", "done"][..., 0],  # pyright: ignore
        mask=masks[0], next_mask=masks[1], action_probability=rest["action_probability"],
    )  # fmt: skip
    online, target = (
        lambda place, noise, net=net, features=features: net.head.prediction(features[place], noise and noise.taus)
        for net, features in zip((loss.value_network, loss.target_value_network), sides, strict=True)
    )
    each, error = dqn_loss(loss.head, online, target, plain, noise, loss.estimator, double=loss.double_dqn)
    counted = rest.get("loss_mask", torch.ones(B, T - burn_in, 1, dtype=torch.bool))[..., 0]
    total = (each * rest["priority_weight"][..., 0])[counted].sum() / counted.sum()
    return total, torch.where(counted, error.abs(), 0.0)


def assert_like_the_twin(loss, batch):
    noise = loss.draw_noise(batch.batch_size)
    result = loss(batch, noise=noise)
    result["loss"].backward()
    gradients = [parameter.grad.clone() for parameter in loss.value_network.parameters()]
    loss.value_network.zero_grad()
    expected, error = twin_loss(loss, batch, noise)
    expected.backward()
    torch.testing.assert_close(result["loss"], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(batch["td_error"][:, loss.burn_in :, 0], error, rtol=1e-5, atol=1e-5)
    assert (batch["td_error"][:, : loss.burn_in] == 0).all()
    for own, parameter in zip(gradients, loss.value_network.parameters(), strict=True):
        torch.testing.assert_close(own, parameter.grad, rtol=1e-5, atol=1e-5)
        assert own.abs().sum() > 0


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("head", HEADS)
def test_every_head_and_estimator_agrees_with_the_twin(head, estimator):
    over_time = "time" in ESTIMATORS[estimator]().requires
    n_step = 1 if over_time else 3
    for is_stored, masked, padded in ((True, True, False), (False, False, True)):
        loss = made(head, estimator=estimator, double=estimator != "munchausen")
        assert_like_the_twin(loss, sequences(n_step=n_step, is_stored=is_stored, masked=masked, padded=padded))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("memory", [LSTM, GRU])
@pytest.mark.parametrize("burn_in", [0, 1, 6])
def test_every_memory_agrees_with_the_twin_after_any_burn_in(memory, burn_in, padded):
    batch = sequences(10 if memory is LSTM else 5, n_step=2, padded=padded)
    if padded and burn_in != BURN_IN:
        batch["loss_mask"] = torch.ones_like(batch["loss_mask"])
        batch["memory", "is_first"][:, burn_in + 1 :] = False
        batch["steps_to_next_obs"][:] = 1
        continue_episodes(batch)
    assert_like_the_twin(made(memory=memory, burn_in=burn_in), batch)


class Forgetful(Memory):
    """A memory that looks at its input alone."""

    def __init__(self, num_features, num_actions):
        super().__init__(num_features, num_actions)
        self.num_features, self.state_size = num_features, 2
        self.scale = torch.nn.Parameter(torch.ones(()))

    def step(self, inputs, state):
        return inputs * self.scale, state + 1


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_memory_that_forgets_has_the_loss_of_a_network_without_one(estimator):
    torch.manual_seed(0)
    trunk = MLPTrunk((2,), num_cells=[6])
    options = {"action_space": Categorical(ACTIONS)}
    forgetful = QNet(trunk, HEADS["quantile"], make_memory=Forgetful, **options)
    plain = QNet(trunk, HEADS["quantile"], **options)
    plain.head.load_state_dict(forgetful.head.state_dict())
    batch = sequences(2)
    values = []
    for network in (forgetful, plain):
        loss = DQNLoss(network, gamma=0.9)
        loss.make_value_estimator(ESTIMATORS[estimator]())
        values.append(loss(batch.clone())["loss"])
    assert values[0].item() == values[1].item()


def test_no_burn_in_and_no_stored_state_begin_from_zeros():
    loss = made(burn_in=0)
    drqn = sequences(is_stored=False)
    stored = drqn.clone()
    stored["memory", "state"] = torch.zeros(B, T, 10)
    assert loss(drqn)["loss"].item() == loss(stored)["loss"].item()


def test_sequences_do_not_mix():
    loss, batch = made(), sequences()
    order = torch.tensor([2, 0, 3, 1])
    shuffled = batch[order].clone()
    torch.testing.assert_close(loss(batch)["loss"], loss(shuffled)["loss"])
    torch.testing.assert_close(batch["td_error"][order], shuffled["td_error"], rtol=1e-6, atol=1e-6)


def test_the_dueling_network_and_dqv_remember():
    for network, make in ((partial(SharedTrunk), DQNLoss), (partial(SharedTrunk, dueling=False), DQVLoss)):
        net = network(
            MLPTrunk((2,), num_cells=[6]), HEADS["scalar"], action_space=Categorical(ACTIONS),
            make_memory=partial(LSTM, hidden_size=5),
        )  # fmt: skip
        loss = make(net, delay_value=True, burn_in=BURN_IN)
        loss.has_target_update = True
        loss(sequences())["loss"].backward()
        assert all(parameter.grad is not None for parameter in net.parameters())


def test_delta_q_is_zero_where_stored_states_are_those_of_the_network():
    loss, batch = made(burn_in=0), sequences(ends=False)
    batch["memory", "is_first"][:] = False
    trunk = loss.value_network.trunk
    inputs = trunk._inputs(batch["observation"], batch["memory"])
    _, states = trunk.memory.over_time(inputs, batch["memory", "state"][:, 0], torch.zeros(B, T, dtype=torch.bool))
    batch["memory", "state"][:, 1:] = states[:, :-1].detach()
    result = loss.memory_metrics(batch)
    assert result["delta_q_first"].item() < 1e-6
    assert result["delta_q_last"].item() < 1e-6
    batch["memory", "state"][:, -1] += 1.0
    result = loss.memory_metrics(batch)
    assert result["delta_q_first"].item() < 1e-6
    assert result["delta_q_last"].item() > 1e-3


def test_wrong_batches_and_settings_are_refused():
    loss = made()
    with pytest.raises(ValueError, match="LSTM learns from sequences: expected a batch with a time dimension"):
        loss(sequences()[:, 3].clone())
    with pytest.raises(ValueError, match="expected sequences of more than burn_in=2 steps, got 2"):
        loss(sequences()[:, :2].clone())
    plain = QNet(MLPTrunk((2,), num_cells=[6]), HEADS["scalar"], action_space=Categorical(2))
    with pytest.raises(ValueError, match="burn_in=2 has no effect on a network without a memory"):
        DQNLoss(plain, burn_in=2)
    with pytest.raises(ValueError, match="LSTM remembers, so one observation is not enough"):
        loss.value_network.predict(torch.zeros(1, 2))
