"""A support that follows the returns moves under a compiled update as under an eager one, and resumes."""

from functools import partial

import pytest
import torch
from tensordict import TensorDict

from qframe.compiled import update as compiled
from qframe.heads import CategoricalHead, HLGaussHead
from qframe.networks import SharedTrunk
from tests.compiled.test_update import TracedFunction, learner

HEADS = {
    name: partial(head, num_atoms=11, v_min="auto", v_max="auto")
    for name, head in {"categorical": CategoricalHead, "hl_gauss": HLGaussHead}.items()
}


def see(part, reward):
    """An episode of one step."""
    following = {"reward": [[reward]], "done": [[True]], "truncated": [[False]]}
    rows = {"env": [0], "next": {key: torch.tensor(value) for key, value in following.items()}}
    part.support.add(TensorDict(rows, [1]))


def learn(part, updates):
    goal = part.updates + updates
    while part.updates < goal:
        part.learn(goal - part.updates)


def widened(**choices):
    """A learner whose compiled update has run with one support, which is then widened."""
    part = learner(compiled=True, **choices)
    part.prepare()
    for reward in (0.0, 1.0):
        see(part, reward)
    learn(part, 3)
    see(part, 30.0)
    part.support.fit(part._transitions)
    pad = 45.0 * part.loss.head.padding / (1 - 2 * part.loss.head.padding)
    assert ends(part) == [pytest.approx([-pad, 45.0 + pad])] * 2
    return part


def ends(part):
    networks = part.loss.value_network, part.loss.target_value_network
    return [network.head.support[[0, -1]].tolist() for network in networks]


def twin(part, *, compiled, **choices):
    """Another learner in the state of this one."""
    other = learner(compiled=compiled, **choices)
    other.load_state_dict(part.state_dict())
    other.replay.load_state_dict(part.replay.state_dict())
    return other


def check_widened(**choices):
    pure = widened(**choices)
    pure.take_metrics()
    eager = twin(pure, compiled=False, **choices)
    for part in (pure, eager):
        learn(part, 3)
    for (name, a), b in zip(eager.loss.named_parameters(), pure.loss.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    assert pure.take_metrics() == pytest.approx(eager.take_metrics(), rel=1e-3)


@pytest.mark.parametrize("network", [{}, {"network": SharedTrunk}, {"noisy": True}, {"updates": 3}])
@pytest.mark.parametrize("head", HEADS)
def test_a_traced_update_sees_the_new_atoms_and_weights(head, network, monkeypatch):
    monkeypatch.setattr(compiled, "NativeFunction", TracedFunction)
    check_widened(head=HEADS[head], **network)


def test_compiled_code_sees_the_new_atoms_and_weights_and_resumes_bit_for_bit():
    choices = {"head": HEADS["categorical"], "updates": 3}
    check_widened(**choices)
    whole = widened(**choices)
    resumed = twin(whole, compiled=True, **choices)
    for part in (whole, resumed):
        see(part, -50.0)
        learn(part, 6)
    assert ends(whole) == ends(resumed)
    assert ends(whole)[0][0] < -50.0
    for (name, one), other in zip(whole.loss.state_dict().items(), resumed.loss.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
