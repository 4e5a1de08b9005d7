"""What holds for every exploration part, on single and joint actions."""

import io

import pytest
import torch

from qframe.actions import Binary, Categorical, MultiCategorical, MultiOneHot, OneHot, as_action_space
from qframe.exploration import (
    Boltzmann,
    Bootstrapped,
    EGreedyLadder,
    EGreedyModule,
    EZGreedy,
    Greedy,
    set_exploration_type,
)

SIZES = {
    "categorical": (Categorical(5), (5,)),
    "one-hot": (OneHot(5), (5,)),
    "multi-categorical": (MultiCategorical([2, 4, 3]), (2, 4, 3)),
    "mult-one-hot": (MultiOneHot([3, 1]), (3, 1)),
    "binary": (Binary(3), (2, 2, 2)),
}
PARTS = {
    "epsilon_greedy": lambda spec, envs: EGreedyModule(spec, 0.7, 0.7),
    "ladder": lambda spec, envs: EGreedyLadder(spec, alpha=1.0, num_envs=envs),
    "ez_greedy": lambda spec, envs: EZGreedy(spec, 0.7, 0.7, 10, num_envs=envs),
    "boltzmann": lambda spec, envs: Boltzmann(spec, 2.0, 2.0),
    "greedy": lambda spec, envs: Greedy(spec),
    "bootstrapped": lambda spec, envs: OneMember(spec, num_members=1, num_envs=envs),
}


class OneMember(Bootstrapped):
    """An ensemble of one, so that it reads the same values ``[E, A]`` as the others."""

    def explore(self, action, mask=None, value=None):
        return super().explore(action, mask, None if value is None else value.unsqueeze(0))


with_parts = pytest.mark.parametrize("part", PARTS)
with_spaces = pytest.mark.parametrize("space", SIZES)


def random_mask(sizes, envs, generator):
    """Random masks with a legal action in every branch."""
    parts = []
    for size in sizes:
        part = torch.rand(envs, size, generator=generator) < 0.4
        part[torch.arange(envs), torch.randint(size, (envs,), generator=generator)] = True
        parts.append(part)
    return torch.cat(parts, -1)


@with_parts
@with_spaces
def test_a_hundred_thousand_draws_under_random_masks_are_all_legal(part, space, generator):
    spec, sizes = SIZES[space]
    envs, indices = 10_000, as_action_space(spec)
    module = PARTS[part](spec, envs)
    for _ in range(10):
        mask, value = random_mask(sizes, envs, generator), torch.randn(envs, sum(sizes), generator=generator)
        value[:100] = -torch.inf
        action = module.explore(indices.greedy_index(value, mask), mask, value)
        offsets = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        flat = (action.view(envs, -1) + offsets).tolist()
        assert action.dtype is torch.int64
        assert action.shape == ((envs, len(sizes)) if len(sizes) > 1 or "mult" in space else (envs,))
        assert bool(mask.gather(1, torch.tensor(flat)).all())
        module.step(envs)


@with_parts
@with_spaces
def test_without_a_mask_every_index_of_every_branch_is_within_its_size(part, space, generator):
    spec, sizes = SIZES[space]
    module, indices = PARTS[part](spec, 2000), as_action_space(spec)
    value = torch.randn(2000, sum(sizes), generator=generator)
    action = module.explore(indices.greedy_index(value), None, value).view(2000, -1)
    assert [set(branch.tolist()) for branch in action.T] == [set(range(size)) for size in sizes]


@with_parts
def test_an_environment_without_a_legal_action_is_named(part):
    module = PARTS[part](Categorical(2), 3)
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    action, value = torch.zeros(3, dtype=torch.int64), torch.zeros(3, 2)
    with pytest.raises(RuntimeError, match="environment 2 has no legal action"):
        module.explore(action, mask, value)
    joint = PARTS[part](MultiCategorical([1, 2]), 2)
    mask = torch.tensor([[True, False, True], [True, False, False]])
    with pytest.raises(RuntimeError, match="environment 1 has no legal action"):
        joint.explore(torch.zeros(2, 2, dtype=torch.int64), mask, torch.zeros(2, 3))


@with_parts
def test_a_mask_of_the_wrong_dtype_or_width_is_refused(part):
    module = PARTS[part](Categorical(2), 1)
    action, value = torch.zeros(1, dtype=torch.int64), torch.zeros(1, 2)
    with pytest.raises(TypeError, match="boolean"):
        module.explore(action, torch.ones(1, 2), value)
    with pytest.raises(ValueError, match="2 entries per environment, got \\[1, 3\\]"):
        module.explore(action, torch.ones(1, 3, dtype=torch.bool), value)


@with_parts
def test_the_greedy_action_is_kept_and_nothing_drawn_when_exploration_is_off(part):
    module = PARTS[part](Categorical(50), 40)
    action, value = torch.arange(40), torch.eye(50)[:40]
    before = str(module.state_dict())
    with set_exploration_type("deterministic"):
        assert torch.equal(module.explore(action, None, value), action)
        if module.has_probability:
            assert module.probability(action, value).tolist() == [1.0] * 40
    assert str(module.state_dict()) == before


@with_parts
@pytest.mark.parametrize("spec", [Categorical(6), MultiCategorical([3, 3])], ids=str)
def test_a_saved_state_goes_on_bit_for_bit(part, spec):
    value = torch.arange(6.0).expand(8, 6)
    action = as_action_space(spec).greedy_index(value)

    def play(module):
        taken = []
        for _ in range(10):
            taken.append(module.explore(action, None, value).tolist())
            module.step(8, torch.arange(8) == 3)
        return taken

    first, file = PARTS[part](spec, 8), io.BytesIO()
    play(first)
    torch.save(first.state_dict(), file)
    second = PARTS[part](spec, 8)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert play(first) == play(second)


@with_parts
@with_spaces
def test_actions_are_as_frequent_as_their_probabilities_say(part, space, generator):
    spec, sizes = SIZES[space]
    envs, indices = 60_000, as_action_space(spec)
    module = PARTS[part](spec, envs)
    value = torch.rand(1, sum(sizes), generator=generator).expand(envs, -1)
    mask = random_mask(sizes, 1, generator).expand(envs, -1)
    if not module.has_probability:
        with pytest.raises(RuntimeError, match="exploration defines no probability of a single step"):
            module.probability(indices.greedy_index(value, mask), value, mask)
        return
    action = module.explore(indices.greedy_index(value, mask), mask, value)
    probability = module.probability(action, value, mask)
    assert probability.shape == (envs,)
    assert bool(((probability > 0) & (probability <= 1)).all())
    for taken in action.unique(dim=0):  # the mean of 1[a] / μ(a) is 1, however μ differs between environments
        here = indices.agree(action, taken.expand_as(action))
        assert (here / probability).mean().item() == pytest.approx(1.0, abs=0.15)


def test_the_probabilities_of_epsilon_greedy_by_hand():
    module = EGreedyModule(Categorical(4), 0.4, 0.4)
    value = torch.tensor([[0.0, 3.0, 9.0, 1.0]]).expand(3, 4)
    mask = torch.tensor([[True, True, False, False]]).expand(3, 4)
    action = torch.tensor([0, 1, 1])
    assert module.probability(action, value, mask).tolist() == pytest.approx([0.2, 0.8, 0.8])
    assert module.probability(torch.tensor([0, 1, 2]), value).tolist() == pytest.approx([0.1, 0.1, 0.7])
    joint = EGreedyModule(MultiCategorical([2, 3]), 0.6, 0.6)
    value = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0]]).expand(3, 5)
    action = torch.tensor([[0, 1], [0, 2], [1, 0]])
    assert joint.probability(action, value).tolist() == pytest.approx([0.4 + 0.1, 0.1, 0.1])
    mask = torch.tensor([[True, True, True, True, False]]).expand(3, 5)
    assert joint.probability(action[::2], value[::2], mask[::2]).tolist() == pytest.approx([0.4 + 0.15, 0.15])


def test_one_draw_per_environment_decides_for_all_branches_of_a_joint_action():
    module = EGreedyModule(MultiCategorical([1000, 1000]), 0.5, 0.5)
    replaced = module.explore(torch.zeros(5000, 2, dtype=torch.int64)) != 0
    assert (replaced[:, 0] == replaced[:, 1]).float().mean().item() > 0.99


def test_epsilon_decreases_along_the_ladder_from_its_base_to_its_power():
    module = EGreedyLadder(Categorical(2), epsilon=0.4, alpha=7.0, num_envs=8)
    assert module.ladder.tolist() == pytest.approx([0.4 ** (1 + i) for i in range(8)])
    assert module.metrics == {"epsilon": pytest.approx(sum(0.4 ** (1 + i) for i in range(8)) / 8)}
    assert EGreedyLadder(Categorical(2), num_envs=1).ladder.tolist() == pytest.approx([0.4])
    action = torch.stack([module.explore(torch.zeros(8, dtype=torch.int64)) for _ in range(5000)])
    assert action.float().mean(0).tolist()[:3] == pytest.approx([0.2, 0.08, 0.032], abs=0.02)


def test_boltzmann_draws_by_value_over_temperature_which_anneals():
    value, action = torch.tensor([[0.0, 1.0]]).expand(40_000, 2), torch.zeros(40_000, dtype=torch.int64)
    module = Boltzmann(Categorical(2), 1.0, 0.25, 100)
    module.step(100)
    assert module.metrics == {"temperature": 0.25}
    share = module.explore(action, None, value).float().mean().item()
    assert share == pytest.approx(0.98201, abs=0.005)  # 1 / (1 + e^-4)
    assert module.probability(action[:1], value[:1]).item() == pytest.approx(0.01799, abs=1e-5)


def test_boltzmann_ignores_how_large_illegal_values_are():
    value = torch.tensor([[1e30, 0.0, 0.01]]).expand(20_000, 3)
    mask = torch.tensor([[False, True, True]]).expand(20_000, 3)
    action = Boltzmann(Categorical(3), 0.01, 0.01).explore(torch.ones(20_000, dtype=torch.int64), mask, value)
    assert (action == 2).float().mean().item() == pytest.approx(0.731, abs=0.02)  # 1 / (1 + e^-1)


def test_boltzmann_takes_a_legal_action_where_a_value_is_no_number():
    value, mask = torch.full((50, 3), torch.nan), torch.tensor([[False, True, True]]).expand(50, 3)
    action = Boltzmann(Categorical(3)).explore(torch.ones(50, dtype=torch.int64), mask, value)
    assert 0 not in action.tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Boltzmann(Categorical(2), 0.0), "temperature_init above 0, got 0.0"),
        (lambda: Boltzmann(Categorical(2), 1.0, float("nan")), "temperature_end above 0, got nan"),
        (lambda: Boltzmann(Categorical(2), schedule="cosine"), "one of linear, exponential"),  # pyright: ignore
        (lambda: Boltzmann(Categorical(2)).explore(torch.zeros(1)), "needs action values"),
        (lambda: EGreedyLadder(Categorical(2), epsilon=0.0, num_envs=2), r"epsilon in \(0, 1\], got 0.0"),
        (lambda: EGreedyLadder(Categorical(2), alpha=-1.0, num_envs=2), "alpha of at least 0"),
    ],
)
def test_mistakes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
