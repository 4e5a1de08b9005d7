"""Rewards for novelty: their values by hand, that they fade, what they leave alone, and every replay with them."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array

from qframe.cli.main import main
from qframe.envs.observations import as_tensors, own_copy
from qframe.training import CountBonus, RewardTransform, RNDBonus
from tests.runners import make_runner

LINE = spaces.Box(0.0, 1.0, (1,), np.float32)
SPACES = [
    spaces.Box(-1.0, 1.0, (3,)), spaces.Box(0, 255, (4, 84, 84), np.uint8), spaces.Box(0, 1, (21, 7, 7), np.bool_),
    spaces.Box(0, 255, (7, 7, 3), np.uint8), spaces.Discrete(7), spaces.MultiBinary(3),
    spaces.Tuple([spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(3)]),
    spaces.Dict({"image": spaces.Box(0, 255, (16, 16, 3), np.uint8), "number": spaces.Box(-5.0, 5.0, (2,))}),
]  # fmt: skip


def batch(space, count):
    space.seed(0)
    samples = [space.sample() for _ in range(count)]
    return as_tensors(own_copy(concatenate(space, samples, create_empty_array(space, count))))


def deviation(sums):
    """Of the sums so far, with a variance of 1 that weighs 1e-4 steps."""
    weight = 1e-4 + len(sums)
    mean = sum(sums) / weight
    return np.sqrt((1e-4 * (1.0 + mean**2) + sum((x - mean) ** 2 for x in sums)) / weight + 1e-8)


def test_counts_are_normalised_by_the_deviation_of_their_discounted_sums():
    """Visits 1, 2, 1 and 3 of two places, by hand: 1 / √n, sums R ← .5 R + 1 / √n, and a bound of 10."""
    bonus = CountBonus(spaces.Discrete(2), scale=3.0, gamma=0.5, num_envs=1, seed=0)
    sums, running = [], 0.0
    for place, visits in ((0, 1), (0, 2), (1, 1), (0, 3)):
        running = 0.5 * running + visits**-0.5
        sums.append(running)
        expected = 3.0 * min(visits**-0.5 / deviation(sums), 10.0)
        assert bonus(torch.tensor([place]))[0] == pytest.approx(expected, rel=1e-9)
        assert bonus.last == pytest.approx(expected)


def test_environments_that_only_reset_get_no_bonus_and_are_not_counted():
    bonus = CountBonus(spaces.Discrete(3), scale=1.0, gamma=0.9, num_envs=2, seed=0)
    given = bonus(torch.tensor([1, 2]), np.array([True, False]))
    assert given[0] > 0 == given[1]
    assert len(bonus.counts) == 1


def test_nearby_numbers_count_together_by_projections_and_apart_without():
    seen = torch.tensor([[0.50, -0.50], [0.5001, -0.5], [-0.5, 0.5], [-0.5001, 0.5]])
    near, exact = (CountBonus(spaces.Box(-1, 1, (2,)), scale=1.0, bits=bits, gamma=0.9, num_envs=4, seed=0)
                   for bits in (8, None))  # fmt: skip
    assert near.novelty(seen) == pytest.approx([1.0, 2**-0.5, 1.0, 2**-0.5])
    assert exact.novelty(seen).tolist() == [1.0] * 4


def test_prediction_errors_fade_where_the_network_has_been_and_not_elsewhere():
    bonus = RNDBonus(spaces.Box(-1, 1, (4,)), scale=1.0, num_cells=32, lr=1e-2, gamma=0.9, num_envs=2, seed=0)
    generator = torch.Generator().manual_seed(0)
    near = torch.rand(2, 4, generator=generator)
    first = bonus.novelty(near).mean()
    for _ in range(300):
        last = bonus.novelty(near + 0.01 * torch.randn(2, 4, generator=generator)).mean()
    assert last < 0.05 * first
    assert bonus.novelty(-3 * near).mean() > 5 * last


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
@pytest.mark.parametrize("kind", [RNDBonus, CountBonus])
def test_every_observation_has_a_bonus_whose_state_resumes(space, kind, tmp_path):
    seen, (one, other) = batch(space, 3), (kind(space, scale=1.0, gamma=0.9, num_envs=3, seed=s) for s in (1, 2))
    for _ in range(2):
        assert np.isfinite(one(seen)).all()
    torch.save(one.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in range(3):
        assert one(seen).tolist() == other(seen).tolist()


def test_equal_seeds_give_equal_networks_and_global_generators_stay():
    before = torch.get_rng_state()
    one, other = (RNDBonus(LINE, scale=1.0, gamma=0.9, num_envs=1, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert one(torch.ones(1, 1)).tolist() == other(torch.ones(1, 1)).tolist()


def test_observations_are_clipped_at_five_deviations():
    bonus = RNDBonus(LINE, scale=1.0, gamma=0.9, num_envs=200, seed=0)
    spread = torch.linspace(-1, 1, 199).unsqueeze(-1)
    assert bonus.normalize(torch.cat([spread, torch.full((1, 1), 1e4)])).max() == 5.0


def test_the_warm_up_is_learned_from_and_leaves_the_first_errors_out_of_the_deviation():
    seen = torch.tensor([[0.2], [0.4]])
    warm, cold = (RNDBonus(LINE, scale=1.0, warm_up=n, gamma=0.9, num_envs=2, seed=0) for n in (6, 0))
    first = [warm(seen).tolist() for _ in range(2)]
    resumed = RNDBonus(LINE, scale=1.0, warm_up=6, gamma=0.9, num_envs=2, seed=0)
    resumed.load_state_dict(warm.state_dict())
    first.append(warm(seen).tolist())
    assert first == [[0.0, 0.0]] * 3
    for _ in range(3):
        cold.novelty(seen)
    assert warm(seen).tolist() == cold(seen).tolist()  # as if its statistics began here
    assert resumed(seen).tolist() == [0.0, 0.0]
    assert min(resumed(seen)) > 0
    with pytest.raises(ValueError, match="warm_up of at least 0, got -1"):
        RNDBonus(LINE, scale=1.0, warm_up=-1, gamma=0.9, num_envs=2, seed=0)


def test_the_bonus_comes_on_top_of_clipped_rewards():
    bonus = CountBonus(spaces.Discrete(3), scale=1.0, gamma=0.9, num_envs=1, seed=0)
    transform = RewardTransform(clip=[-1, 1], scale=1.0, normalize=False, gamma=0.9, num_envs=1, bonus=bonus)
    reward = transform(np.array([50.0]), np.array([False]), None, torch.tensor([2]))
    assert not transform.is_identity
    assert reward[0] == pytest.approx(1.0 + min(1 / deviation([1.0]), 10.0))


def test_returns_and_evaluations_leave_the_bonus_out(tmp_path):
    """Episodes of one step that pays 0: any other number is the bonus, which the replay alone holds."""
    options = {"kwargs": {"length": 1, "end_reward": 0.0}}
    kind = partial(CountBonus, scale=0.5)
    runner = make_runner(tmp_path, "qframe-test/Terminating-v0", env_options=options, bonus=kind, total_frames=400)
    summary = runner.run()
    assert summary["train_return_mean"] == summary["eval_return_mean"] == 0.0
    stored = runner.replay._storage.read(torch.arange(len(runner.replay)))["next", "reward"]
    assert (stored > 0).all()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert any(line.get("exploration/bonus", 0) > 0 for line in lines)


SMALL = ["runner.learning_starts=160", "evaluation.final_episodes=2", "evaluation.episodes=2", "total_frames=400"]


@pytest.mark.parametrize(
    "choices",
    [
        ["reward.bonus=rnd", "collector=pipelined"],
        ["reward.bonus=count", "reward.bonus.bits=8", "replay=slices", "estimator=td_lambda"],
        ["reward.bonus=rnd", "priorities=proportional", "replay.n_step=3", "head=categorical"],
        ["reward.bonus=count", "replay=frames", "replay.stack=1"],
        ["reward=rnd", "env.vectorization=native"],
    ],
)
def test_every_replay_and_collector_trains_with_a_bonus_and_resumes(choices, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *choices, *SMALL, "hydra.run.dir=run"]) == 0, capsys.readouterr().err
    assert main(["resume", "run", "total_frames=600"]) == 0, capsys.readouterr().err


def test_a_rollout_trains_with_a_bonus(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["experiment=cartpole_pqn", "reward.bonus=rnd", "total_frames=5000", "compile=false", *SMALL[1:3]]
    assert main(["train", *words, "hydra.run.dir=run"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (["reward.bonus=rdn"], "reward: unknown option 'rdn'; nearest is 'rnd' (valid: count, default, rnd)"),
        (["reward.bonus=rnd", "reward.bonus.sclae=1"], "unknown key of qframe.training.RNDBonus; nearest is"),
        (["reward=rnd", "reward.bonus.scale=0"], "expected scale above 0, got 0.0; for no bonus, set reward=default"),
        (["reward=rnd", "reward.bonus.lr=0"], "expected num_features and num_cells of at least 1, and lr above 0"),
        (["reward=count", "reward.bonus.bits=0"], "expected bits from 1 to 256, or null, got 0"),
        (["reward=rnd", "head=hl_gauss", "head.v_max=10"], "RNDBonus raises returns above those of the environment"),
    ],
)
def test_wrong_bonuses_are_refused_in_one_line(choices, message, capsys):
    assert main(["check", *choices]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("word", ["reward.bonus=none", "reward.bonus=null", "reward=rnd", "reward.bonus=count"])
def test_the_bonus_is_chosen_by_its_name(word, capsys):
    assert main(["check", word]) == 0, capsys.readouterr().err


def test_an_image_inside_a_dict_cannot_be_projected():
    with pytest.raises(ValueError, match="bits cannot project images inside a Dict or Tuple; set bits=null"):
        CountBonus(SPACES[-1], scale=1.0, bits=4, gamma=0.9, num_envs=1, seed=0)

