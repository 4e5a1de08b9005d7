"""The exported policy is the network, whatever it observes and however it acts: run by the formats' own loaders."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from qframe.actions import make_action_space
from qframe.export.formats import FORMATS
from qframe.export.policy import Entries, GreedyPolicy
from qframe.heads import CategoricalHead, ScalarHead
from qframe.networks import EncodedTrunk, MLPTrunk, QNet, SharedTrunk, make_encoder

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
