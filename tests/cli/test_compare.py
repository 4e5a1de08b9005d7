import csv
import re
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from qframe.cli.main import main
from tests.runs.folders import DEAD, write_run

EVIL = "<script>alert(1)</script>&$x$[red]"
CATEGORICAL = {"_target_": "qframe.heads.CategoricalHead", "num_atoms": 51}


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(4):
        curve = [(500, 1.0 * seed), (1000, 10.0 + seed)]
        write_run(tmp_path / "sweep" / str(seed), score=10.0 + seed, curve=curve, seed=seed)
        better = [(500, 20.0), (1000, 30.0)]
        write_run(tmp_path / "sweep" / str(seed + 4), score=30.0, curve=better, seed=seed, head=CATEGORICAL)
        write_run(tmp_path / "sweep" / str(seed + 8), score=-5.0, curve=curve, seed=seed, env__id="Other-v1")
    return tmp_path / "sweep"


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_groups_of_each_environment_are_in_a_table_of_their_own(sweep, capsys):
    assert main(["compare", "sweep"]) == 0
    first, second, *_ = re.split(r"\n\n", capsys.readouterr().out)
    assert first.startswith("CartPole-v1\n")
    lines = [re.split(r"  +", line.strip()) for line in first.splitlines()]
    assert lines[2] == ["head=categorical", "4", "30.0", "[30.0, 30.0]", "30.0 … 30.0", "4/4", "1,000", "10"]
    assert lines[3][:3] == ["head=scalar", "4", "11.5"]
    assert lines[3][4:] == ["10.0 … 13.0", "0/4", "–", "–"]
    assert lines[5] == ["head=categorical", ">", "head=scalar", "1.00", "[1.00, 1.00]"]
    assert second.startswith("Other-v1\n")
    assert "-5.0" in second


def test_the_files_hold_the_numbers_of_the_raw_runs(sweep, capsys):
    assert main(["compare", "sweep", "--out", "out", "--threshold", "10.5", "--threshold", "Other-v1=99"]) == 0
    out = sweep.parent / "out"
    best, scalar, other = rows(out / "groups.csv")
    columns = ("group", "iqm", "threshold", "reached", "frames")
    listed = [[row[name] for name in columns] for row in (best, scalar, other)]
    assert listed == [
        ["head=categorical", "30.0", "10.5", "4", "500.0"],
        ["head=scalar", "11.5", "10.5", "3", "1000.0"],
        ["toy", "-5.0", "99.0", "0", ""],
    ]
    scores = [float(row["eval_return_mean"]) for row in rows(out / "runs.csv") if row["group"] == "head=scalar"]
    assert sorted(scores) == [10.0, 11.0, 12.0, 13.0]
    curve = [row for row in rows(out / "curves.csv") if row["group"] == "head=scalar" and row["seed"] == "3"]
    assert [(row["frames"], row["eval_episode_return"]) for row in curve] == [("500", "3.0"), ("1000", "13.0")]
    assert sorted(path.suffix for path in out.iterdir()) == [".csv"] * 4 + [".html"] + [".svg"] * 6
    for path in out.glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert "threshold 10.5" in (out / "curves-0.svg").read_text()


def test_the_page_stands_alone_and_shows_names_as_they_are(sweep, capsys):
    write_run(sweep / "99", score=1.0, name="x", env__id=EVIL, curve=[(500, 1.0)])
    assert main(["compare", "sweep", "--out", "out"]) == 0
    assert EVIL in capsys.readouterr().out
    page = (sweep.parent / "out" / "index.html").read_text()
    tags, texts, links = [], [], []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: (tags.append(tag), links.extend(attributes))
    parser.handle_data = texts.append
    parser.feed(page)
    assert "script" not in tags
    assert EVIL in "".join(texts)
    assert "svg" in tags
    assert not [value for name, value in links if name == "src"]
    inside = [value for name, value in links if name == "href" and value.startswith("#")]
    assert inside == ["#overview", "#environment-0", "#environment-1", "#environment-2"]
    folders = [value for name, value in links if name == "href" and value not in inside]
    assert len(folders) == 13
    assert all((sweep.parent / "out" / unquote(folder) / "config.yaml").is_file() for folder in folders)


def test_the_page_states_protocol_and_differences_and_follows_the_screen(sweep):
    for seed in (1, 2):
        protocol = {"episodes": 100, "epsilon": 0.0, "max_episode_steps": 500}
        write_run(sweep / f"9{seed}", score=1.0, seed=seed, gamma=0.5, summary={"eval_protocol": protocol})
    assert main(["compare", "sweep", "--out", "out", "--where", "env.id=CartPole-v1"]) == 0
    page = (sweep.parent / "out" / "index.html").read_text()
    assert "Protocol: 100 episodes, epsilon 0.0, max_episode_steps 500" in page
    assert "<tr><td>gamma</td><td>0.99</td><td>0.99</td><td>0.5</td></tr>" in page
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page
    assert "Other-v1" not in page


def test_scores_over_environments_are_normalised(sweep, capsys):
    for seed in range(4):
        write_run(sweep / f"3{seed}", score=-7.0, seed=seed, env__id="Other-v1", head=CATEGORICAL)
    assert main(["compare", "sweep"]) == 0
    printed = capsys.readouterr().out
    table = printed[printed.index("IQM over environments") :].splitlines()[1:4]
    assert [line.split() for line in table] == [
        ["group", "mean", "CartPole-v1", "Other-v1"],
        ["head=scalar", "0.54", "0.07", "1.00"],
        ["head=categorical", "0.50", "1.00", "0.00"],
    ]


def test_groups_by_one_key(sweep, capsys):
    assert main(["compare", "sweep", "--by", "seed", "--where", "env.id=CartPole-v1"]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^(seed=\d) +(\d)", printed, re.MULTILINE) == [(f"seed={n}", "2") for n in (3, 2, 1, 0)]
    assert main(["compare", "sweep", "--by", "head"]) == 0
    assert "head=categorical" in capsys.readouterr().out
    assert main(["compare", "sweep", "--by", "sed"]) == 2
    assert capsys.readouterr().err == "qframe: --by: no run has the key 'sed'; nearest is 'seed'\n"


def test_a_run_without_a_readable_config_is_left_out(sweep, capsys):
    (sweep / "0" / "config.yaml").write_text("a: [b")
    assert main(["compare", "sweep"]) == 0
    printed = capsys.readouterr().out
    assert "note: 1 without a readable config.yaml left out, for example sweep/0" in printed
    assert "unknown" not in printed


def test_only_finished_runs_count_and_the_others_are_reported(sweep, capsys):
    write_run(sweep / "20", status="running", process=DEAD, summary={"eval_return_mean": 1e9}, curve=[(500, 1e9)])
    write_run(sweep / "21", status="failed", summary={"reason": "broke"})
    write_run(sweep / "22", score=10.0, seed=0)
    assert main(["compare", "sweep"]) == 0
    printed = capsys.readouterr().out
    assert "000,000" not in printed
    assert "note: 1 crashed left out, for example sweep/20" in printed
    assert "note: 1 failed left out, for example sweep/21" in printed
    assert "note: CartPole-v1: 'head=scalar' has seed 0 more than once; each run counts" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "'nowhere' is not a folder; name the folder of a run"),
        (["unfinished"], "none of these runs is finished; 1 stopped left out, for example unfinished"),
        (["sweep", "--score", "eval_return_men"], "--score: sweep/0 has no number 'eval_return_men'; nearest is '"),
        (["sweep", "--threshold", "many"], "--threshold: 'many' is not a number or ENV=NUMBER"),
        (["sweep", "--threshold", "CartPol-v1=3"], "--threshold: no run of an environment 'CartPol-v1'; nearest"),
        (["sweep", "--out", "file"], "--out: 'file' is a file; name a folder"),
    ],
)
def test_bad_arguments_are_refused(sweep, words, message, capsys):
    (sweep.parent / "file").write_text("")
    write_run(sweep.parent / "unfinished", status="stopped")
    assert main(["compare", *words]) == 2
    assert capsys.readouterr().err.startswith(f"qframe: {message}")


def test_a_single_run_has_no_interval(sweep, capsys):
    assert main(["compare", "sweep/0", "sweep/4"]) == 0
    assert "–" in capsys.readouterr().out


def test_a_key_that_an_earlier_version_lacks_has_its_default(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    new = {"init": {"from": None, "part": "all", "network": "best"}, "env__no_legal": "stop"}
    write_run(tmp_path / "runs" / "0", score=1.0, seed=0)
    write_run(tmp_path / "runs" / "1", score=2.0, seed=1, **new)
    assert main(["compare", "runs"]) == 0
    assert re.split(r"  +", capsys.readouterr().out.splitlines()[2])[1] == "2"
    assert main(["diff", "runs/0", "runs/1"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["key", "A", "B"], ["seed", "0", "1"]]
    other = {"init": {"from": "x", "part": "trunk", "network": "best"}, "env__no_legal": "all"}
    write_run(tmp_path / "runs" / "2", score=2.0, seed=1, **other)
    assert main(["diff", "runs/0", "runs/2"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [
        ["env.no_legal", "stop", "all"], ["seed", "0", "1"], ["init.from", "null", "x"], ["init.part", "all", "trunk"]
    ]  # fmt: skip
