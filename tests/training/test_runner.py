"""The training loop: the order of its work, the files it writes, and resuming after a stop."""

import json
import signal

import numpy as np
import pytest
import torch

from qframe.checkpoints import load_checkpoint
from qframe.errors import Stopped
from qframe.loggers.console import LineReport
from qframe.optimizer.nonfinite import Diverged
from qframe.replay import ReplayBuffer, SliceReplayBuffer
from qframe.runs.checkpoint_names import checkpoints_in
from tests.runners import make_runner, prioritized

CARTPOLE = "CartPole-v1"


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("every", "updates", "num_envs"), [(4, 1, 8), (10, 3, 4), (1, 1, 3), (64, 8, 8)])
def test_the_update_to_frame_ratio_is_exact(tmp_path, every, updates, num_envs):
    runner = make_runner(
        tmp_path, CARTPOLE, num_envs=num_envs, total_frames=400, learning_starts=50, every=every, updates=updates
    )
    summary = runner.run()
    assert summary["frames"] == -(-400 // num_envs) * num_envs
    assert summary["updates"] == (summary["frames"] - 50) // every * updates


def test_the_summary_has_the_promised_names(tmp_path):
    make_runner(tmp_path, CARTPOLE, total_frames=300, evaluate_every=100).run()
    summary = json.loads((tmp_path / "summary.json").read_text())
    promised = "status frames updates wall_seconds frames_per_second train_return_mean eval_return_mean eval_return_std"
    assert set(promised.split()) | {"eval_return_last", "eval_episodes", "seed"} <= set(summary)
    assert (summary["status"], summary["eval_episodes"]) == ("finished", 3)
    assert load_checkpoint(tmp_path / "checkpoints")["best"]["frames"] in (100, 200, 300)


def test_metrics_are_logged_once_at_every_multiple(tmp_path):
    make_runner(tmp_path, CARTPOLE, total_frames=1600).run()
    rows = metrics(tmp_path)
    assert [row["frames"] for row in rows if "time/updates" in row] == [500, 1000, 1500, 1600]
    assert {"loss/loss", "loss/td_error_mean", "train/episode_return", "exploration/epsilon"} <= set(rows[1])


def test_the_same_seed_gives_the_same_run_and_another_one_does_not(tmp_path):
    def weights(folder, seed):
        runner = make_runner(tmp_path / folder, CARTPOLE, total_frames=600, seed=seed)
        runner.run()
        return torch.cat([p.detach().flatten() for p in runner.network.parameters()])

    assert torch.equal(weights("a", 1), weights("b", 1))
    assert not torch.equal(weights("c", 1), weights("d", 2))


def test_an_evaluation_changes_nothing_about_training(tmp_path):
    runs = []
    for every in (100, 10_000):
        runner = make_runner(tmp_path / str(every), CARTPOLE, total_frames=600, evaluate_every=every)
        runner.run()
        runs.append(torch.cat([p.detach().flatten() for p in runner.network.parameters()]))
    assert torch.equal(*runs)


def test_evaluations_of_two_networks_meet_the_same_episodes(tmp_path):
    runner = make_runner(tmp_path, "qframe-test/Counter-v0")
    first, second = (runner.evaluation.final(runner.network) for _ in range(2))
    assert first == second
    assert runner.evaluation.periodic(runner.network, frames=1).lengths != first.lengths[:4]
    for length, total in zip(first.lengths, first.returns, strict=True):
        assert total == length * (length + 1) / 2  # whole episodes, nothing of their neighbours
    runner.collector.envs.close()


@pytest.mark.parametrize(
    ("replay", "options", "estimator"),
    [
        (prioritized(ReplayBuffer), {"n_step": 3}, "TD0"),
        (SliceReplayBuffer, {"slice_length": 8}, "TDLambda"),
    ],
)
def test_a_run_resumes_from_its_checkpoint(tmp_path, replay, options, estimator):
    def make(total_frames):
        return make_runner(
            tmp_path, CARTPOLE, replay=replay, replay_options=options, estimator=estimator, total_frames=total_frames
        )

    make(1000).run()
    state = load_checkpoint(tmp_path / "checkpoints")
    resumed = make(2000)
    resumed.load_state_dict(state)
    assert resumed.learner.updates == state["learner"]["updates"] == (1000 - 100) // 4 * 2
    assert resumed.collector.exploration.frames == 1000
    summary = resumed.run()
    assert summary["frames"] == 2000
    assert summary["updates"] == (2000 - 100) // 4 * 2
    frames = [row["frames"] for row in metrics(tmp_path) if "time/updates" in row]
    assert frames == sorted(frames)
    assert summary["wall_seconds"] > state["run"]["seconds"]


def test_a_signal_saves_and_says_how_to_resume(tmp_path):
    runner = make_runner(tmp_path, CARTPOLE, total_frames=100_000)
    collect, calls = runner.collector.collect, []

    def interrupted():
        calls.append(1)
        if len(calls) == 50:
            signal.raise_signal(signal.SIGTERM)
        return collect()

    runner.collector.collect = interrupted
    with pytest.raises(Stopped, match="qframe resume") as stopped:
        runner.run()
    assert stopped.value.number == signal.SIGTERM
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "stopped"
    assert load_checkpoint(tmp_path / "checkpoints")["run"]["frames"] == 200


def test_a_run_that_breaks_does_not_look_finished(tmp_path):
    runner = make_runner(tmp_path, CARTPOLE)
    runner.learner.update = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        runner.run()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["status"], summary["frames"]) == ("failed", 104)


@pytest.mark.parametrize("replay", [ReplayBuffer, prioritized(ReplayBuffer)])
def test_a_run_that_diverges_stops_and_does_not_look_finished(tmp_path, replay):
    runner = make_runner(tmp_path, CARTPOLE, replay=replay, lr=1e30)
    with pytest.raises(Diverged, match=r"training diverged .* lower optimizer.lr"):
        runner.run()
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("replay", "options", "estimator", "shape"),
    [
        (prioritized(ReplayBuffer), {"n_step": 3}, "TD0", "[B] = [32]"),
        (SliceReplayBuffer, {"slice_length": 8}, "TDLambda", "[B, T] = [4, 8]"),
    ],
)
def test_the_shape_of_the_batches_is_printed_once_when_learning_starts(
    tmp_path, capsys, replay, options, estimator, shape
):
    make_runner(
        tmp_path, CARTPOLE, replay=replay, replay_options=options, estimator=estimator, total_frames=300,
        report=LineReport(),
    ).run()  # fmt: skip
    said = [line.strip() for line in capsys.readouterr().out.splitlines() if "learning starts" in line]
    assert said == [f"104 frames  learning starts, batches {shape}"]


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_the_replay_holds_exactly_the_transitions_that_happened(tmp_path, vectorization):
    runner = make_runner(tmp_path, CARTPOLE, vectorization=vectorization, total_frames=600, learning_starts=599)
    runner.run()
    rows = runner.replay.sample(4000)
    now, then = rows["observation"].numpy(), rows["next", "observation"].numpy()
    np.testing.assert_allclose(then[:, 0], now[:, 0] + 0.02 * now[:, 1], atol=1e-5)  # CartPole's own Euler step
    np.testing.assert_allclose(then[:, 2], now[:, 2] + 0.02 * now[:, 3], atol=1e-5)
    fell = (np.abs(then[:, 2]) > 0.2095) | (np.abs(then[:, 0]) > 2.4)
    np.testing.assert_array_equal(rows["next", "terminated"].squeeze(-1).numpy(), fell)
    assert len(runner.replay) == runner.frames


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"every": 0}, "every of at least 1, got 0"),
        ({"updates": 0}, "updates of at least 1, got 0"),
        ({"threads": 100_000}, "threads of at most .* got 100000"),
        ({"learning_starts": -1}, "learning_starts of at least 0, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        make_runner(tmp_path, CARTPOLE, **option)


def test_where_a_cadence_falls_on_the_last_frame_one_checkpoint_is_written(tmp_path):
    folder = tmp_path / "run"
    runner = make_runner(folder, "CartPole-v1", total_frames=400, num_envs=2)
    runner.schedule.intervals |= {"log": 200, "save": 200}
    written, save = [], runner.checkpoints.save
    runner.checkpoints.save = lambda folder, frames, state: written.append(frames) or save(folder, frames, state)
    runner.run()
    assert written == [200, 400]
    again = make_runner(folder, "CartPole-v1", total_frames=400, num_envs=2)
    again.load_state_dict(load_checkpoint(folder / "checkpoints"))
    again.run()
    assert [path.name for path in checkpoints_in(folder / "checkpoints")] == ["000000000200", "000000000400"]


def test_a_state_that_is_resumed_in_another_folder_is_saved_there(tmp_path):
    make_runner(tmp_path / "a", "CartPole-v1", total_frames=200, num_envs=2).run()
    other = make_runner(tmp_path / "b", "CartPole-v1", total_frames=200, num_envs=2)
    other.load_state_dict(load_checkpoint(tmp_path / "a" / "checkpoints"))
    other.run()
    assert [path.name for path in checkpoints_in(tmp_path / "b" / "checkpoints")] == ["000000000200-1"]
