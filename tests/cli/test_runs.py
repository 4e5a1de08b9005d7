import json
import os
import subprocess
import sys

import pytest

from qframe.cli.main import main
from tests.runs.folders import DEAD, write_run

NEWEST_FIRST = ("day/c", "day/b", "day/a", "sweeps/day/s")


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "outputs" / "day" / "a", score=9.0)
    write_run(tmp_path / "outputs" / "day" / "b", status="running", process=DEAD, curve=[(500, 3.0)], seed=2)
    write_run(tmp_path / "outputs" / "day" / "c", status="running", env__id="[red]Odd[/red]-v1")
    sweep = tmp_path / "outputs" / "sweeps" / "day" / "s"
    for job, score in enumerate((1.0, 4.0)):
        write_run(sweep / str(job), score=score, seed=job, summary={"overrides": [f"seed={job}"]})
    write_run(sweep / "2", status="failed", summary={"reason": "it [bold]broke[/bold]", "overrides": ["seed=2"]})
    for age, path in enumerate(("day/c", "day/b", "day/a", "sweeps/day/s/0", "sweeps/day/s/1", "sweeps/day/s/2")):
        for file in (tmp_path / "outputs" / path).iterdir():
            os.utime(file, (0, file.stat().st_mtime - 60 * age))
    return tmp_path / "outputs"


def listed(capsys, *words):
    assert main(["runs", "--json", *words]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [run["path"].removeprefix("outputs/") for run in found]


def test_runs_are_listed_newest_first_and_a_sweep_is_one_line(outputs, capsys):
    assert main(["runs"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["status", "frames", "score", "age", "run", "folder"]
    assert [row.split()[-1] for row in rows] == [f"outputs/{name}" for name in NEWEST_FIRST]
    assert rows[0].startswith("running")
    assert rows[1].split()[:4] == ["crashed", "500", "50%", "(3.00)"]
    assert rows[2].split()[:3] == ["finished", "1,000", "9.00"]
    assert rows[3].startswith("2/3 finished, 1 failed")
    assert "1.00 … 4.00" in rows[3]


def test_the_jobs_of_a_sweep_by_themselves_with_their_errors(outputs, capsys):
    assert main(["runs", "outputs/sweeps/day/s"]) == 0
    by_folder = capsys.readouterr().out
    assert "it [bold]broke[/bold]" in by_folder
    assert len(by_folder.splitlines()) == 4
    assert main(["runs", "--jobs"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_jobs_show_their_differences_and_a_sweep_the_jobs_to_come(outputs, capsys):
    sweep = outputs / "sweeps" / "day" / "s"
    jobs = {str(job): [f"seed={job}", "total_frames=1k"] for job in range(5)}
    (sweep / "jobs.json").write_text(json.dumps(jobs))
    write_run(sweep / "3", status="running")
    for job in ("0", "1", "2"):
        summary = json.loads((sweep / job / "summary.json").read_text())
        (sweep / job / "summary.json").write_text(json.dumps(summary | {"overrides": jobs[job]}))
    assert main(["runs", "--jobs", "outputs/sweeps", "--sort", "path"]) == 0
    printed = capsys.readouterr().out
    assert "seed=3" in printed
    assert "total_frames" not in printed
    assert main(["runs"]) == 0
    printed = capsys.readouterr().out
    assert "2/5 finished, 1 failed, 1 running, 1 not started" in printed
    assert "sweep over seed" in printed


def test_filters_and_orders(outputs, capsys):
    assert listed(capsys, "--status", "finished", "--sort", "score") == ["day/a", "sweeps/day/s/1", "sweeps/day/s/0"]
    assert listed(capsys, "--where", "seed=2") == ["day/b"]
    assert listed(capsys, "--where", "seed=1", "--status", "running") == ["day/c"]
    assert listed(capsys, "--sort", "path", "--where", "total_frames=1e3")[0] == "day/a"
    assert main(["runs", "--status", "pruned"]) == 0
    assert "no run matches" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sort", "scor"], "--sort: unknown order 'scor'; nearest is 'score'"),
        (["--status", "finishd"], "--status: unknown status 'finishd'; nearest is 'finished'"),
        (["--where", "sed=1"], "--where: no run has the key 'sed'; nearest is 'seed'"),
        (["--where", "seed"], "--where: 'seed' is not KEY=VALUE"),
        (["nowhere"], "'nowhere' is not a folder; name the folder of a run"),
    ],
)
def test_bad_arguments_are_refused(outputs, words, message, capsys):
    assert main(["runs", *words]) == 2
    assert capsys.readouterr().err.startswith(f"qframe: {message}")


def test_without_any_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["runs"]) == 2
    assert "train first" in capsys.readouterr().err


def test_listing_runs_imports_neither_torch_nor_matplotlib(outputs):
    ask = "print({'torch', 'matplotlib', 'hydra'} & set(sys.modules))"
    code = f"import sys; from qframe.cli import main; main.main(['runs']); {ask}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_diff_shows_the_keys_that_differ(outputs, capsys):
    assert main(["diff", "outputs/day/a", "outputs/day/b"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["key", "A", "B"], ["seed", "1", "2"]]
    assert main(["diff", "outputs/day/a", "outputs/day/a"]) == 0
    assert capsys.readouterr().out == "the configs are equal\n"
    assert main(["diff", "outputs/day/a", "outputs/sweeps"]) == 2
    assert "'outputs/sweeps' holds 3 runs; name one of them" in capsys.readouterr().err


def test_diff_shows_markup_as_it_is(outputs, capsys):
    assert main(["diff", "outputs/day/a", "outputs/day/c"]) == 0
    assert "[red]Odd[/red]-v1" in capsys.readouterr().out


def test_a_config_that_cannot_be_read_is_reported(outputs, capsys):
    (outputs / "day" / "a" / "config.yaml").write_text("a: [b")
    assert main(["runs"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[-1:] == ["outputs/day/a"]]
    assert "config.yaml cannot be read" in row
    assert main(["diff", "outputs/day/a", "outputs/day/b"]) == 2
    assert "cannot read outputs/day/a/config.yaml; restore it from a copy" in capsys.readouterr().err
