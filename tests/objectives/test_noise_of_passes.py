"""Randomness in the loss: online, target and selector draw their own, outside the mathematics."""

import copy
import pickle

import pytest
import torch

from qframe.actions import Categorical
from qframe.heads import ScalarHead
from qframe.networks import MLPTrunk, QNet, SharedTrunk
from qframe.networks.noise import noisy_layers
from qframe.objectives import DQNLoss, Noise, dqn_loss

BATCH = torch.Size((6,))


def loss_of(kind=QNet, *, noisy=True, seed=0, **options):
    torch.manual_seed(0)
    network = kind(MLPTrunk((4,), num_cells=[8]), ScalarHead, action_space=Categorical(2), noisy=noisy)
    return DQNLoss(network, seed=seed, **options)


def entries():
    g = torch.Generator().manual_seed(1)
    return {
        "observation": torch.randn(*BATCH, 4, generator=g),
        "action": torch.randint(2, BATCH, generator=g),
        "next_observation": torch.randn(*BATCH, 4, generator=g),
        "next_reward": torch.randn(*BATCH, generator=g),
        "next_done": torch.rand(BATCH, generator=g) < 0.3,
    }


def test_each_pass_draws_its_own_noise():
    noise = loss_of(delay_value=True, double_dqn=True).draw_noise(BATCH)
    drawn = [one.weights for one in noise]
    assert not any(torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])
    assert all(one.taus is None for one in noise)


@pytest.mark.parametrize("options", [{}, {"delay_value": True}, {"delay_value": True, "double_dqn": True}])
def test_the_noise_of_each_pass_matters_where_the_pass_is_run(options):
    loss = loss_of(**options)
    noise, other = loss.draw_noise(BATCH), loss.draw_noise(BATCH)
    value = loss(noise=noise, **entries())
    differs = {
        name: not torch.equal(loss(noise=noise._replace(**{name: getattr(other, name)}), **entries()), value)
        for name in Noise._fields
    }
    assert differs == {"online": True, "target": True, "selector": bool(options.get("double_dqn"))}


def test_without_a_target_network_prediction_and_target_still_have_their_own_noise():
    loss, batch = loss_of(), entries()
    noise = loss.draw_noise(BATCH)
    same = loss(noise=noise._replace(target=noise.online), **batch)
    assert not torch.equal(same, loss(noise=noise, **batch))


def test_every_call_draws_noise_from_the_losss_generator():
    loss, twin, batch = loss_of(seed=3), loss_of(seed=3), entries()
    first, second = loss(**batch).item(), loss(**batch).item()
    assert first != second
    assert [twin(**batch).item(), twin(**batch).item()] == [first, second]
    assert loss_of(seed=4)(**batch).item() != first


def test_the_loss_leaves_the_noise_of_acting_alone():
    loss = loss_of(SharedTrunk, delay_value=True, double_dqn=True)
    before = [layer.stream.noise for layer in noisy_layers(loss.value_network)]
    states = [layer.stream.generator.get_state() for layer in noisy_layers(loss)]
    loss(**entries()).backward()
    assert all(a.stream.noise is b for a, b in zip(noisy_layers(loss.value_network), before, strict=True))
    assert all(
        torch.equal(a.stream.generator.get_state(), b) for a, b in zip(noisy_layers(loss), states, strict=True)
    )
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.value_network.parameters())


def test_a_loss_in_evaluation_mode_uses_mean_weights():
    loss, batch = loss_of(delay_value=True).eval(), entries()
    assert torch.equal(loss(**batch), loss(**batch))


def test_a_network_without_anything_random_draws_nothing():
    loss = loss_of(noisy=False)
    before = loss.generator.get_state()
    assert loss.draw_noise(BATCH) == Noise()
    loss(**entries())
    assert torch.equal(loss.generator.get_state(), before)


def test_a_noisy_loss_can_be_copied_and_pickled():
    loss, batch = loss_of(delay_value=True), entries()
    noise = loss.draw_noise(BATCH)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(other(noise=noise, **batch), loss(noise=noise, **batch))
        assert not set(map(id, noisy_layers(other))) & set(map(id, noisy_layers(loss)))


def test_the_selector_may_be_the_same_network_with_other_noise():
    loss = loss_of(delay_value=True, double_dqn=True)
    batch = loss._read(_tensordict())
    noise, (online, target) = loss.draw_noise(BATCH), loss._random
    per_transition, _ = dqn_loss(
        loss.head, online.predict, target.predict, batch, noise, loss.estimator, double=True
    )
    with torch.no_grad():
        best = online.predict(batch.next_observation, noise.selector).out.squeeze(-1).argmax(-1, keepdim=True)
        value = target.predict(batch.next_observation, noise.target).out.squeeze(-1).gather(-1, best).squeeze(-1)
        taken = online.predict(batch.observation, noise.online).out.squeeze(-1)
        taken = taken.gather(-1, batch.action.unsqueeze(-1)).squeeze(-1)
    goal = batch.reward + torch.where(batch.done, 0.0, 0.99 * value)
    torch.testing.assert_close(per_transition, (goal - taken).square())


def _tensordict():
    from tensordict import TensorDict

    plain = entries()
    following = {name.removeprefix("next_"): plain.pop(name) for name in list(plain) if name.startswith("next_")}
    return TensorDict({**plain, "next": TensorDict(following, BATCH)}, BATCH)
