import json

import pytest

from qframe.errors import ConfigError
from qframe.sweeps.objective import area, check_objective, evaluations, objective


@pytest.fixture
def folder(tmp_path):
    lines = [
        {"frames": 10, "eval/episode_return": 1.0},
        {"frames": 15, "loss/q": 7.0},
        {"frames": 20, "eval/episode_return": 3.0},
    ]
    cut_off = '{"frames": 30, "eval/ep'
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + cut_off)
    (tmp_path / "config.yaml").write_text("total_frames: 40\n")
    outcome = {"status": "finished", "frames": 25, "eval_return_mean": 3.5, "eval_return_last": 2.5}
    (tmp_path / "summary.json").write_text(json.dumps(outcome))
    return tmp_path


def test_best_final_and_area(folder):
    assert [objective(folder, name) for name in ("best", "final", "area")] == [3.5, 2.5, 2.5]


def test_a_cut_off_line_is_no_evaluation(folder):
    assert evaluations(folder) == {10: 1.0, 20: 3.0}


def test_a_run_that_is_not_finished_has_no_objective(folder):
    (folder / "summary.json").write_text('{"status": "running"}')
    assert [objective(folder, name) for name in ("best", "final", "area")] == [None] * 3


def test_the_area_of_no_evaluations_is_none_and_of_a_constant_the_constant():
    assert area({}, 40) is None
    assert area({5: 2.0, 10: 2.0}, 40) == 2.0


def test_another_name_is_refused():
    with pytest.raises(ConfigError, match="expected one of best, final, area, got 'bets'; nearest is 'best'"):
        check_objective("bets")
