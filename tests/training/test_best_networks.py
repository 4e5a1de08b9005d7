"""The best network: several are kept by their periodic evaluations, and more episodes choose among them at the end."""

import json

import pytest
import torch

from qframe.checkpoints import load_checkpoint
from qframe.cli.main import main
from qframe.config.saved_run import trained_run
from qframe.loggers.console import LineReport
from qframe.runs.folder import RunFolder
from qframe.training.best_networks import BestNetworks
from qframe.training.evaluation import EvaluationResult
from tests.runners import make_runner

ID = "qframe-test/Bandit-v0"


def kept(number, *returns):
    best = BestNetworks(number)
    added = [best.add(frames, score, {"w": torch.tensor(float(frames))}) for frames, score in enumerate(returns, 1)]
    return best, added


def test_the_best_are_kept_and_a_tie_is_not_better():
    best, added = kept(3, 5.0, 3.0, 5.0, 9.0, 4.0, 5.0)
    assert [(c.frames, c.eval_return) for c in best.candidates] == [(4, 9.0), (1, 5.0), (3, 5.0)]
    assert added == [True, False, False, True, False, False]
    assert [float(c.network["w"]) for c in best.candidates] == [4.0, 1.0, 3.0]


def test_what_is_kept_is_a_copy_and_survives_a_checkpoint():
    weights = {"w": torch.ones(1)}
    best = BestNetworks(2)
    best.add(1, 1.0, weights)
    weights["w"].zero_()
    loaded = BestNetworks(2)
    loaded.load_state_dict(best.state_dict())
    assert float(loaded.candidates[0].network["w"]) == 1.0
    assert best.state_dict()["frames"] == 1
    assert BestNetworks(2).state_dict() == {"frames": 0, "candidates": []}


class Judge:
    """Replaces evaluations: scores by the frames at which a network was kept, or its periodic mean while it trains."""

    def __init__(self, runner, periodic, judged, final):
        self.runner, self.calls = runner, []
        self.tables = {"evaluation": periodic, "candidates": judged, "final": final}
        self.frames = {}  # of a network, by its parameters

    def play(self, network, *, episodes, stream, show=None, progress=None):
        parameters = torch.cat([p.flatten() for p in network.state_dict().values() if p.is_floating_point()])
        if stream[0] == "evaluation":
            self.frames[parameters.numpy().tobytes()] = stream[1]
        frames = self.frames[parameters.numpy().tobytes()]
        self.calls.append((stream[0], frames, episodes))
        return EvaluationResult([self.tables[stream[0]][frames]] * episodes, [1] * episodes)


def judged_run(folder, monkeypatch, periodic, judged, final, *, candidates=2):
    runner = make_runner(folder, ID, evaluate_every=200, total_frames=800)
    runner.evaluation.candidates, runner.best = candidates, BestNetworks(candidates)
    judge = Judge(runner, periodic, judged, final)
    monkeypatch.setattr(runner.evaluation, "play", judge.play)
    return runner.run(), judge


def test_the_progress_of_the_last_evaluations_never_goes_back(tmp_path):
    runner = make_runner(tmp_path, ID, evaluate_every=200, total_frames=800)
    runner.evaluation.candidates, runner.best = 2, BestNetworks(2)
    runner.evaluation.final_episodes = 6
    seen = []
    runner.report.evaluating = lambda played, episodes: seen.append((played, episodes))
    runner.run()
    final = [played for played, episodes in seen if episodes > runner.evaluation.final_episodes]
    assert final == sorted(final)
    assert max(final) > 3 * runner.evaluation.final_episodes
    assert {episodes for _, episodes in seen} == {runner.evaluation.episodes, 5 * runner.evaluation.final_episodes}


def test_more_episodes_choose_among_the_candidates_and_the_last_network(tmp_path, monkeypatch):
    """The luckiest evaluation, at 400 frames, is not the best network; its final score comes from other episodes."""
    summary, judge = judged_run(
        tmp_path, monkeypatch, {200: 6.0, 400: 9.0, 600: 7.0, 800: 5.0}, {400: 3.5, 600: 7.0, 800: 7.6}, {800: 7.5}
    )
    assert [call for call in judge.calls if call[0] != "evaluation"] == [
        ("candidates", 400, 3), ("candidates", 600, 3), ("candidates", 800, 3), ("final", 800, 3)
    ]  # fmt: skip
    assert (summary["best_frames"], summary["eval_return_mean"], summary["eval_return_last"]) == (800, 7.5, 7.5)
    assert summary["candidates"] == [
        {"frames": 400, "eval_return": 9.0, "judged_return": 3.5},
        {"frames": 600, "eval_return": 7.0, "judged_return": 7.0},
        {"frames": 800, "eval_return": None, "judged_return": 7.6},
    ]


def test_of_equal_candidates_the_one_that_ranked_higher_stays(tmp_path, monkeypatch):
    summary, judge = judged_run(
        tmp_path, monkeypatch, {200: 6.0, 400: 9.0, 600: 9.0, 800: 5.0}, dict.fromkeys((400, 600, 800), 7.0),
        {400: 7.0, 800: 6.0},
    )  # fmt: skip
    assert [call[1] for call in judge.calls if call[0] == "final"] == [800, 400]
    assert (summary["best_frames"], summary["eval_return_last"]) == (400, 6.0)


def test_one_candidate_is_taken_as_it_is(tmp_path, monkeypatch):
    periodic = {200: 6.0, 400: 9.0, 600: 7.0, 800: 5.0}
    summary, judge = judged_run(tmp_path, monkeypatch, periodic, {}, {400: 8.0, 800: 6.0}, candidates=1)
    assert [call[:2] for call in judge.calls if call[0] != "evaluation"] == [("final", 800), ("final", 400)]
    assert (summary["best_frames"], len(summary["candidates"])) == (400, 1)


def test_eval_plays_the_network_that_was_chosen(tmp_path, capsys):
    words = ["total_frames=300", "runner.learning_starts=100", "evaluation.every=100", "evaluation.episodes=2"]
    assert main(["train", *words, "evaluation.final_episodes=3", f"hydra.run.dir={tmp_path}"]) == 0
    capsys.readouterr()
    folder = RunFolder(tmp_path)
    saved = load_checkpoint(tmp_path / "checkpoints")["best"]["candidates"]
    for candidate in saved:
        folder.write_summary(folder.summary | {"best_frames": candidate["frames"]})
        found = trained_run(folder)
        assert (found.name, found.frames) == ("best", candidate["frames"])
        for name, value in found.network.state_dict().items():
            assert torch.equal(value, candidate["network"][name])
    folder.summary_file.unlink()  # of a run that was killed: the best periodic evaluation decides
    assert trained_run(RunFolder(tmp_path)).frames == saved[0]["frames"]
    assert trained_run(RunFolder(tmp_path), last=True).name == "last"


def test_the_last_lines_say_how_the_best_network_was_chosen(tmp_path, capsys):
    words = ["total_frames=300", "runner.learning_starts=100", "evaluation.every=100", "evaluation.episodes=2"]
    assert main(["train", *words, "evaluation.final_episodes=3", f"hydra.run.dir={tmp_path}"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    number = len(summary["candidates"])
    assert number >= 3
    assert f"frames, chosen among {number} by 3 more episodes each; last" in capsys.readouterr().out


def test_a_number_of_candidates_below_one_is_refused(capsys):
    assert main(["check", "evaluation.candidates=0"]) == 2
    assert "expected candidates of at least 1, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "is_said"), [(8.0, True), (4.0, False)])
def test_an_evaluation_that_takes_most_of_a_run_is_reported(tmp_path, capsys, seconds, is_said):
    runner = make_runner(tmp_path, ID, report=LineReport(), total_frames=300)
    runner.clock.evaluation_seconds = seconds
    runner.run()
    assert ("note: evaluation took 8 of" in capsys.readouterr().out) is is_said
