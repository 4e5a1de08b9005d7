"""The table in docs/results.md shows the files in docs/results/, and those were measured on the presets as they are."""

import json
from pathlib import Path

import pytest

from qframe.cli.bench import command, statistics
from scripts import results

FILES = sorted(results.RESULTS.glob("*.json"))
SCORES = results.scores()
EXPERIMENTS = Path(__file__).parents[1] / "conf" / "experiment"
AT_ONCE = 128
"""The most environments of a preset, whose steps are frames but for their resets."""


def test_the_page_is_current():
    page = results.PAGE.read_text()
    assert results.START in page
    assert page == results.written(page), "python scripts/results.py writes it"
    assert all(f"(results/{file.name})" in page for file in FILES)


def test_there_are_presets_with_scores_and_no_result_without_a_preset():
    assert len(SCORES) > 10
    assert {file.stem for file in FILES} <= SCORES.keys()


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_a_score_has_seeds_and_a_whole_source(score):
    assert score.seeds >= 1
    assert score.source == {} or set(score.source) == {"name", "score", "protocol"}


def test_every_result_is_of_its_preset_as_it_is_and_adds_up():
    for file in FILES:
        result, score = json.loads(file.read_text()), SCORES[file.stem]
        assert {name: result[name] for name in vars(score)} == vars(score), file
        runs, metric = result["runs"], result["metric"]
        stored = {name: result[name] for name in ("count", "mean", "iqm", "interval", "passed")}
        assert stored == statistics([run[metric] for run in runs], score.expected)
        assert result["command"] == command(file.stem, [run["seed"] for run in runs])
        beyond = [run["frames"] - result["frames"] for run in runs]
        stops = "stop:" in (EXPERIMENTS / f"{file.stem}.yaml").read_text()  # at a return, before its last frame
        assert all(0 <= frames < AT_ONCE or (stops and frames < 0) for frames in beyond), (
            "a run ends with the step that reaches its frames"
        )
        assert all(run["revision"] and "+" not in run["revision"] for run in runs), "run what is committed"
