"""The exported policy is the network, whatever it observes and however it acts: run by the formats' own loaders."""

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces

from qframe.actions import make_action_space
from qframe.export.formats import FORMATS
from qframe.export.policy import Entries, GreedyPolicy, Policy
from qframe.heads import CategoricalHead, ScalarHead
from qframe.networks import LSTM, EncodedTrunk, MLPTrunk, QNet, SharedTrunk, make_encoder
from qframe.networks.carried import carried

BOX = spaces.Box(-1, 1, (4,))
GROUP = spaces.Dict({"at": spaces.Discrete(5), "in": spaces.Dict({"x": spaces.Box(0, 1, (2,))})})


def make(space, action, network=QNet, encoding="auto", **options):
    torch.manual_seed(0)
    actions = make_action_space(action, encoding=encoding)
    trunk = MLPTrunk((4,), num_cells=[8])
    paths = [()]
    if space is GROUP:
        encoder = make_encoder(space)
        trunk, paths = EncodedTrunk(encoder, MLPTrunk((encoder.num_features,), num_cells=[8])), [("at",), ("in", "x")]
    built = network(trunk, options.pop("head", ScalarHead), action_space=actions, **options)
    return GreedyPolicy(built, actions, paths), actions


def inputs(policy, space, size=50):
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(size, policy.num_mask, generator=generator) < 0.8
    mask[:, 0] = True
    if space is GROUP:
        return torch.arange(size) % 5, torch.rand(size, 2, generator=generator), mask
    return torch.rand(size, 4, generator=generator), mask


CASES = {
    "start": (BOX, spaces.Discrete(3, start=5), {}),
    "branches": (BOX, spaces.MultiDiscrete([2, 3], start=[1, 0]), {"head": CategoricalHead}),
    "bits": (BOX, spaces.MultiBinary(3), {"encoding": "multi-categorical"}),
    "enumerated": (BOX, spaces.MultiDiscrete([2, 3]), {"encoding": "enumerated"}),
    "grouped": (GROUP, spaces.Discrete(3), {"normalize_observation": True, "network": SharedTrunk}),
}


def head_options(options):
    if options.get("head") is CategoricalHead:
        return options | {"head": lambda f, a: CategoricalHead(f, a, num_atoms=5, v_min=0.0, v_max=1.0)}
    return options


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_the_file_gives_the_same_actions_and_values_for_any_number_of_observations(form, case, tmp_path):
    space, action, options = CASES[case]
    policy, _ = make(space, action, **head_options(options))
    given = inputs(policy, space)
    names = [f"observation.{number}" for number in range(len(given) - 1)] + ["action_mask"]
    path = tmp_path / "policy"
    FORMATS[form].write(policy, given, names, path)
    loaded = FORMATS[form].load(path)
    for size in (50, 7, 1):
        part = tuple(entry[:size] for entry in given)
        action, value = (torch.as_tensor(output) for output in loaded(*part))
        expected = policy(*part)
        assert action.dtype == expected[0].dtype
        assert torch.equal(action, expected[0])
        assert torch.allclose(value, expected[1], atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_actions_are_those_of_the_environment_and_legal(case):
    space, action, options = CASES[case]
    policy, actions = make(space, action, **head_options(options))
    given = inputs(policy, space, size=20)
    chosen, value = policy(*given)
    assert value.shape == (20, actions.num_actions)
    for number, one in enumerate(chosen.numpy()):
        assert action.contains(one if action.shape else np.int64(one))
        index = actions.from_env(one)
        legal = torch.from_numpy(actions.legal(given[-1][number : number + 1].numpy()))[0]
        widths = [2] * 3 if case == "bits" else [2, 3]
        places = index if index.ndim == 0 else index + torch.tensor([0, *np.cumsum(widths)[:-1]])
        assert bool(legal[places].all()) or not _has_choice(legal, case, widths)


def _has_choice(legal, case, widths):
    """Whether every branch has a legal action; none is drawn for the others here."""
    return case not in ("branches", "bits") or all(bool(part.any()) for part in legal.split(widths))


def test_entries_are_got_set_and_copied_by_path():
    entries = Entries({("a",): torch.tensor(1), ("b", "c"): torch.tensor(2)})
    other = entries.copy()
    other.set(("b", "c"), torch.tensor(3))
    assert int(entries.get("a")) == 1
    assert int(entries.get("b").get("c")) == int(entries.get(("b", "c"))) == 2
    assert int(other.get("b").get("c")) == 3


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("case", ["start", "branches"])
def test_a_policy_with_a_memory_takes_its_state_and_returns_the_next_one(case, form, tmp_path):
    space, action, options = CASES[case]
    torch.manual_seed(0)
    memory = partial(LSTM, hidden_size=6, inputs=["action", "reward"])
    policy, actions = make(space, action, **head_options(options), make_memory=memory)
    names = ["observation", "action_mask", "state", "last_reward"]
    observations, rewards = torch.rand(9, 3, 4), torch.randn(9, 3, 1)
    mask = torch.ones(3, policy.num_mask, dtype=torch.bool)
    zeros = torch.zeros(3, policy.state_size)
    FORMATS[form].write(policy, (observations[0], mask, zeros, rewards[0]), names, tmp_path / "policy")
    loaded, state = FORMATS[form].load(tmp_path / "policy"), zeros
    remembered = carried(policy.network, 3, actions)
    for number, observation in enumerate(observations):
        if number == 5:  # another episode
            state = zeros
        reward = torch.zeros(3, 1) if number in (0, 5) else rewards[number]
        chosen, value, state = (torch.as_tensor(part) for part in loaded(observation, mask, state, reward))
        expected = actions_of(policy.network, remembered, observation)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
        index = actions.greedy_index(expected)
        assert torch.equal(chosen.reshape(3, -1), torch.as_tensor(np.asarray(actions.to_env(index))).reshape(3, -1))
        following = torch.zeros(3, 1) if number == 4 else rewards[number + 1] if number < 8 else reward
        remembered.after(index, following[:, 0], torch.full((3,), number == 4))


@torch.no_grad()
def actions_of(network, remembered, observation):
    return network.branches.join(network.head.value(remembered.predict(observation)))


def test_a_loaded_policy_remembers_the_episode_and_begins_another():
    memory = partial(LSTM, hidden_size=6, inputs=["action", "reward"])
    exported, actions = make(BOX, spaces.Discrete(3), make_memory=memory)
    policy, observations = Policy(exported.network, actions), np.random.default_rng(0).random((4, 4), np.float32)

    def play():
        return [
            (int(policy(observation, reward=1.0)), policy.values(observation).tolist()) for observation in observations
        ]

    first = play()
    policy.begin()
    assert play() == first
    assert play() != first
