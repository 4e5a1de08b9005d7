"""The folder of a run: what it records of the code."""

import subprocess

from qframe.runs.folder import _git_revision


def test_a_revision_is_changed_by_all_but_what_a_bench_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], check=True)
    for results in (tmp_path / "results", tmp_path / "docs" / "results"):
        results.mkdir(parents=True)
        (results / "cartpole_dqn.json").write_text("{}")
    revision = _git_revision()
    assert revision is not None
    assert not revision["dirty"]
    assert len(revision["revision"]) == 40
    for place in (tmp_path / "results" / "mine.py", tmp_path / "loss.py"):
        place.write_text("")
        assert (_git_revision() or {})["dirty"]
        place.unlink()
