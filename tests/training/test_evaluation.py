"""Evaluation: by its own protocol, on its own environments, and never without end."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from qframe.actions import make_action_space
from qframe.cli.main import main
from qframe.config import build
from qframe.config.compose import compose
from qframe.envs import AtariEnvs, GymnasiumEnvs, MinAtarEnvs
from qframe.errors import ConfigError
from qframe.heads import ScalarHead
from qframe.networks import MLPTrunk, QNet
from qframe.training import EarlyStop, Evaluation
from qframe.training.evaluation import EvaluationResult, cut_note, format_protocol
from tests.probes import Probe
from tests.runners import make_runner


def evaluation_of(id, *, kwargs=None, **choices):
    envs = GymnasiumEnvs(id, num_envs=2, vectorization="sync", kwargs=kwargs)
    actions = make_action_space(envs.action_space, encoding="auto")
    torch.manual_seed(0)
    shape = envs.observation_space.shape
    network = QNet(MLPTrunk(shape, num_cells=[4]), ScalarHead, action_space=actions)
    given = {"every": 1, "episodes": 4, "final_episodes": 6, "num_envs": 3} | choices
    return Evaluation(envs, actions, seed=1, **given), network


def test_an_episode_without_a_limit_is_cut_and_counted():
    """Each step gives 1 and a million make an episode: its return is the limit, and every episode was cut."""
    evaluation, network = evaluation_of(
        "qframe-test/Terminating-v0", kwargs={"length": 10**6}, max_episode_steps=7
    )
    result = evaluation.final(network)
    assert (result.lengths, result.returns, result.cut) == ([7] * 6, [7.0] * 6, 6)
    assert evaluation.protocol(6)["max_episode_steps"] == 7
    assert result.note == ", 6 cut at the step limit"
    note = cut_note(result.cut, 6, 7)
    start = "note: 6 of 6 evaluated episodes were cut after 7 steps, because the environment has no step limit; set"
    assert note.startswith(start)


def test_the_environments_own_limit_stands_and_cuts_nothing():
    evaluation, network = evaluation_of("CartPole-v1", max_episode_steps=2)
    result = evaluation.periodic(network, frames=0)
    assert min(result.lengths) > 2
    assert (result.cut, result.note) == (0, "")
    assert evaluation.protocol(4)["max_episode_steps"] == 500


@pytest.mark.parametrize("reward", [0.7, 16_777_217.0, 1e-5])
def test_scores_are_the_environments_own_numbers_not_32_bit_floats(reward, tmp_path):
    """An episode is one step that pays ``reward``, which a 32-bit float rounds."""
    evaluation, network = evaluation_of("qframe-test/Terminating-v0", kwargs={"end_reward": reward})
    result = evaluation.final(network)
    assert (result.mean, result.std, result.returns) == (reward, 0.0, [reward] * 6)
    runner = make_runner(
        tmp_path, "qframe-test/Terminating-v0", env_options={"kwargs": {"end_reward": reward}}, evaluate_every=200,
        total_frames=600, stop=EarlyStop(eval_return=reward),
    )  # fmt: skip
    summary = runner.run()
    assert [summary[key] for key in ("frames", "eval_return_mean", "train_return_mean")] == [200, reward, reward]


def test_small_scores_keep_three_digits():
    assert str(EvaluationResult([0.1, 0.14], [1, 1])) == "evaluation 0.120 ± 0.020 over 2 episodes"
    assert str(EvaluationResult([-250.0, -310.0], [1, 1])) == "evaluation -280.0 ± 30.0 over 2 episodes"


class Varying(Probe):
    """An episode of as many steps as its seed says, cut by the environment itself after ``own_limit``; counts steps."""

    stepped = 0

    def __init__(self, own_limit=100):
        super().__init__(length=own_limit, terminates=False)

    def reset(self, *, seed=None, options=None):
        self.number = 0 if seed is None else seed % 50
        return super().reset(seed=seed)

    def step(self, action):
        type(self).stepped += 1
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, self.step_number >= 5 + self.number and not truncated, truncated, info


gym.register("qframe-test/Varying-v0", Varying)


def test_environments_without_an_episode_left_are_not_stepped():
    evaluation, network = evaluation_of("qframe-test/Varying-v0", num_envs=6, final_episodes=8)
    Varying.stepped = 0
    result = evaluation.final(network)
    assert sum(result.lengths) == Varying.stepped
    assert len(set(result.lengths)) > 2
    alone, network = evaluation_of("qframe-test/Varying-v0", num_envs=1, final_episodes=8)
    assert alone.final(network).lengths == result.lengths


@pytest.mark.parametrize(
    ("longest", "every", "episodes", "limit"),
    [(0, 5_000, 30, 1_000), (400, 5_000, 30, 1_600), (0, 30_000, 30, 4_000), (10**6, 5_000, 30, 10_000)],
)
def test_the_limit_of_endless_episodes_follows_training(longest, every, episodes, limit):
    evaluation, _ = evaluation_of("qframe-test/Terminating-v0", every=every, episodes=episodes)
    evaluation.longest_episode = longest
    assert evaluation.max_episode_steps == evaluation.protocol(6)["max_episode_steps"] == limit


def test_the_protocol_states_the_environments_own_limit_though_it_is_not_registered():
    """30 steps are fewer than the evaluation's own limit, so no episode was cut by the evaluation."""
    evaluation, network = evaluation_of("qframe-test/Varying-v0", kwargs={"own_limit": 30}, final_episodes=20)
    result = evaluation.final(network)
    assert (result.limit, result.cut, max(result.lengths)) == (30, 0, 30)
    assert evaluation.protocol(20, result.limit)["max_episode_steps"] == 30


def test_progress_counts_the_episodes_that_have_ended():
    evaluation, network = evaluation_of("qframe-test/Varying-v0")
    seen = []
    evaluation.play(network, episodes=5, stream=("x",), progress=lambda *count: seen.append(count))
    assert (seen[0], seen[-1]) == ((0, 5), (5, 5))
    assert seen == sorted(seen)


def test_an_evaluation_steps_environments_as_training_does(monkeypatch):
    """Processes, if training has them, and the same episodes as in one process."""
    envs = GymnasiumEnvs("CartPole-v1", num_envs=2, vectorization="async")
    evaluation, network = evaluation_of("CartPole-v1")
    expected = evaluation.final(network)
    made, in_processes = [], envs._in_processes
    monkeypatch.setattr(envs, "_in_processes", lambda makers: made.append(len(makers)) or in_processes(makers))
    evaluation._envs = envs
    assert (evaluation.final(network), made) == (expected, [3])


def test_epsilon_takes_random_actions():
    """The bandit pays 1 or −1: a greedy policy always the same, a random one 0 in the mean, one in between half."""
    means = []
    for epsilon in (0.0, 0.5, 1.0):
        evaluation, network = evaluation_of("qframe-test/Bandit-v0", epsilon=epsilon, num_envs=40)
        first, second = (evaluation.play(network, episodes=400, stream=("x",)).returns for _ in range(2))
        assert first == second
        means.append(float(np.mean(first)))
    assert abs(means[0]) == 1.0
    assert 0.38 < means[1] / means[0] < 0.62
    assert abs(means[2]) < 0.15


def test_random_actions_of_evaluation_are_legal():
    """Legal raises on an illegal action."""
    evaluation, network = evaluation_of("qframe-test/Legal-v0", epsilon=1.0)
    assert len(evaluation.final(network).returns) == 6


def test_a_protocol_names_what_a_score_depends_on():
    atari = AtariEnvs("pong", num_envs=1, sticky=0.0, terminal_on_life_loss=True)
    actions = make_action_space(atari.action_space, encoding="auto")
    evaluation = Evaluation(atari, actions, seed=1, every=1, episodes=1, final_episodes=2, num_envs=1, epsilon=0.001)
    assert evaluation.protocol(2) == {
        "episodes": 2, "epsilon": 0.001, "env": "Atari pong", "sticky": 0.0, "no_ops": 30, "frame_skip": 4,
        "actions": "the game's own actions", "life_loss_ends_episode": False, "max_episode_steps": 27_000,
        "rewards": "the environment's own",
    }  # fmt: skip
    line = "2 episodes, epsilon 0.001, env Atari pong, sticky 0, no_ops 30"
    assert format_protocol(evaluation.protocol(2)).startswith(line)
    assert MinAtarEnvs("freeway", num_envs=1).protocol["sticky"] == 0.1


def test_settings_unlike_trainings_are_checked_and_recorded(tmp_path, capsys):
    words = ["env=minatar", "trunk=small_conv", "total_frames=300", "runner.learning_starts=200"]
    sizes = ["evaluation.final_episodes=2", f"hydra.run.dir={tmp_path}", "runner.every=64"]
    assert main(["train", *words, *sizes, "evaluation.env.sticky=0", "evaluation.epsilon=0.01"]) == 0
    assert main(["check", *words, "evaluation.env.stick=0"]) == 2
    assert "evaluation.env.stick: unknown key of qframe.envs.MinAtarEnvs" in capsys.readouterr().err
    assert main(["check", *words, "evaluation.env.num_envs=2"]) == 2
    assert "evaluation.env.num_envs: has no effect; set evaluation.num_envs" in capsys.readouterr().err
    assert main(["check", *words, "evaluation.env.game=seaquest"]) == 2
    assert "evaluation.env: its spaces must be those of training" in capsys.readouterr().err


def test_evaluation_may_have_wrappers_of_its_own_which_the_protocol_names():
    limit = "{_target_: gymnasium.wrappers.TimeLimit, max_episode_steps: 5}"
    clipped = "{_target_: ClipReward, min_reward: 0, max_reward: 0.1}"
    words = [f"env.wrappers=[{clipped}]", f"evaluation.env.wrappers=[{limit}]"]
    parts = build.parts(compose(words, provided=build.PROVIDED))
    protocol = parts.evaluation.protocol(3)
    assert protocol["wrappers"] == ["TimeLimit(max_episode_steps=5)"]
    assert protocol["unlike_training"] == {"wrappers": ["TimeLimit(max_episode_steps=5)"]}
    assert protocol["rewards"] == "as its wrappers give them"
    assert parts.envs.protocol["wrappers"] == ["ClipReward(min_reward=0.0, max_reward=0.1)"]
    plain = build.parts(compose([], provided=build.PROVIDED)).evaluation.protocol(3)
    assert plain["rewards"] == "the environment's own"
    with pytest.raises(ConfigError, match=r"evaluation.env.wrappers\[0\].max_episode_step: unknown key of"):
        build.parts(compose([words[1].replace("steps:", "step:")], provided=build.PROVIDED))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"epsilon": 1.5}, r"expected epsilon in \[0, 1\], got 1.5"),
        ({"max_episode_steps": 0}, "expected max_episode_steps of at least 1, got 0"),
        ({"video": -1}, "expected video of at least 0 episodes, got -1"),
        ({"video": 1}, "render mode rgb_array, which qframe-test/Endless-v0 lacks"),
    ],
)
def test_numbers_out_of_range_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        evaluation_of("qframe-test/Endless-v0", **choices)


def test_without_the_package_for_videos_the_message_has_the_pip_command(monkeypatch):
    monkeypatch.setattr("qframe.training.evaluation.find_spec", lambda package: None)
    with pytest.raises(ValueError, match=r'video needs the packages imageio and av, .*; pip install -e ".*\[video\]"'):
        evaluation_of("CartPole-v1", video=1)


def test_a_result_without_cuts_has_none():
    assert EvaluationResult([1.0, 3.0], [1, 1]).cut == 0
    assert EvaluationResult([1.0], [1], cut=2, faults=1).note == ", 2 cut at the step limit, 1 ended by a fault"
    assert (EvaluationResult([1.0, 3.0], [1, 1]).mean, EvaluationResult([1.0, 3.0], [1, 1]).std) == (2.0, 1.0)
