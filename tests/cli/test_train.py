import json
from pathlib import Path

import pytest

from qframe.cli.main import main
from qframe.config.compose import composed, pinned_folder
from qframe.config.hydra_app import hydra_app
from tests.config.toy import PROVIDED, write


def job(folder: Path, number: int) -> Path:
    """The folder of a sweep's job."""
    (found,) = folder.glob(f"{number}-*")
    return found


def outcome(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def train(*words: str, kind: str = "run") -> tuple[int, Path]:
    folder = Path("here").absolute()
    in_process = ["hydra/launcher=basic"] if kind == "sweep" else []
    return main(["train", *words, *in_process, f"hydra.{kind}.dir={folder}"]), folder


def test_a_run_is_written_to_hydras_run_folder_without_files_of_hydra(toy, capsys):
    status, folder = train("seed=3")
    assert status == 0
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml"]
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_run_has_a_folder_of_date_time_name_and_seed(toy):
    assert main(["train", "name=abc", "seed=1e1"]) == 0
    (folder,) = Path("outputs").glob("*/*-abc-s10")
    assert folder.is_dir()


def test_a_run_with_faults_exits_2_and_writes_nothing(toy, capsys):
    assert main(["train", "env.num_env=4", "seed=-1"]) == 2
    assert main(["train", "head=other", "env.num_envs=3"]) == 2
    assert main(["train", "seed=12"]) == 2
    printed = capsys.readouterr().err
    assert "nearest is 'env.num_envs'" in printed
    assert "expected another seed, got 12" in printed
    assert "Traceback" not in printed
    assert not any(path.is_file() or path.name.endswith("s12") for path in Path("outputs").rglob("*"))


def test_a_folder_that_holds_a_run_is_not_written_into(toy, capsys):
    assert train()[0] == 0
    assert train()[0] == 2
    assert "exists and is not an empty folder" in capsys.readouterr().err


def test_runs_that_start_in_the_same_second_get_folders_of_their_own(toy):
    words = ["train", "hydra.run.dir=runs/${now:%Y}-${name}"]
    assert main(words) == main(words) == main(words) == 0
    (first, *others) = sorted(path.name for path in Path("runs").iterdir())
    assert others == [f"{first}-2", f"{first}-3"]


@pytest.mark.parametrize("place", ["file", "file/run", "/dev/null"])
@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_a_folder_that_cannot_be_made_is_reported(toy, place, kind, capsys):
    Path("file").write_text("")
    words = ["-m", "seed=1,2"] if kind == "sweep" else []
    assert main(["train", *words, f"hydra.{kind}.dir={place}"]) == 2
    assert "choose another" in (printed := capsys.readouterr().err)
    assert "Traceback" not in printed


def test_a_fault_of_ours_has_a_traceback_and_exits_1(toy, capsys):
    assert train("seed=13")[0] == 1
    printed = capsys.readouterr().err
    assert "RuntimeError: thirteen" in printed
    assert "please report" in printed
    assert "Error executing job" not in printed


def test_a_users_own_option_and_trusted_package(toy, monkeypatch):
    write(toy.folder / "own" / "head" / "mine.yaml", "_target_: my_head_package.MyHead\n")
    write(toy.folder / "my_head_package.py", "class MyHead:\n    def __init__(self, kind: str = 'mine') -> None: ...\n")
    write(toy.folder / "own" / "head" / "mine.yaml", "_target_: my_head_package.MyHead\nkind: mine\n")
    words = ["train", "head=mine", "--config-dir", "own", "seed=2"]
    assert main(words) == 2
    assert main([*words, "--trust", "my_head_package"]) == 0


def test_a_sweep_runs_every_combination_and_ends_with_a_table(toy, capsys):
    status, folder = train("-m", "seed=1,2", "head=default,other", kind="sweep")
    assert status == 0
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [
        "0-seed=1,head=default", "1-seed=1,head=other", "2-seed=2,head=default", "3-seed=2,head=other"
    ]  # fmt: skip
    assert outcome(job(folder, 3)) == {
        "status": "finished", "eval_return_mean": 20.0, "overrides": ["seed=2", "head=other"]
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "job 1  seed=1 head=other\n" in printed
    assert "seed=2 head=other" in printed
    assert "20.0" in printed
    assert "++" not in printed


def test_a_refused_combination_is_skipped_with_its_reason(toy, capsys):
    status, folder = train("-m", "env.num_envs=2,3", "head=default,other", kind="sweep")
    assert status == 0
    refused = outcome(job(folder, 3))
    assert refused == {
        "status": "refused",
        "reason": "head.kind: expected a with three environments, got 'b'",
        "overrides": ["env.num_envs=3", "head=other"],
    }
    assert [outcome(job(folder, number))["status"] for number in range(3)] == ["finished"] * 3
    captured = capsys.readouterr()
    assert "job 3 (env.num_envs=3 head=other) refused: head.kind: expected a with three" in captured.err
    assert "Traceback" not in captured.err
    assert "refused" in captured.out


def test_a_key_that_only_the_swept_options_know_is_known(toy):
    write(toy.conf / "network" / "deeper.yaml", (toy.conf / "network" / "deep.yaml").read_text())
    status, folder = train("-m", "network=deep,deeper", "network.trunk.depth=4", kind="sweep")
    assert status == 0
    assert outcome(job(folder, 1))["status"] == "finished"


def test_a_folder_with_an_odd_name(toy):
    assert main(["train", """hydra.run.dir="it's here, a=b" """.strip()]) == 0
    assert Path("it's here, a=b", "config.yaml").is_file()
    words = ["seed=1", "hydra/launcher=basic", """hydra.sweep.dir="it's there" """.strip()]
    assert main(["train", "-m", *words]) == 0
    assert outcome(job(Path("it's there"), 0))["status"] == "finished"


def test_a_value_out_of_range_in_one_job_is_a_refused_combination(toy):
    status, folder = train("-m", "seed=-1,1", kind="sweep")
    assert status == 0
    assert outcome(job(folder, 0))["status"] == "refused"
    assert outcome(job(folder, 1))["status"] == "finished"


def test_a_job_that_breaks_does_not_stop_the_sweep_but_the_status_is_1(toy, capsys):
    status, folder = train("-m", "seed=12,13,14", kind="sweep")
    assert status == 1
    assert [outcome(job(folder, number))["status"] for number in range(3)] == ["refused", "failed", "finished"]
    assert "RuntimeError: thirteen" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["seed=1,2", "env.num_env=4"],
        ["seed=1,2", "head=default,othr"],
        ["seed=1,2", "network=default,deep", "network.trunk.depth=4"],
        ["seed=1,2", "gamma=3"],
        ["seed=-1,-2"],
        ["seed=1,2", "nonsense"],
        ["seed=1,2", ""],
        ["head._target_=os.system,toy_parts.Head"],
    ],
)
def test_a_sweep_with_unknown_names_or_faults_in_every_job_does_not_start(toy, words, capsys):
    status, folder = train("-m", *words, kind="sweep")
    assert status == 2
    assert not folder.exists()
    assert "Traceback" not in capsys.readouterr().err


def test_a_sweep_in_which_every_job_is_refused_exits_2(toy):
    assert train("-m", "seed=12", kind="sweep")[0] == 2


def test_a_preset_may_be_a_sweep(toy):
    status, folder = train("sweep=seeds", kind="sweep")
    assert status == 0
    assert [outcome(job(folder, number))["overrides"][0] for number in (0, 1)] == ["seed=1", "seed=2"]


def test_sweep_parameters_without_m_are_not_passed_over(toy, capsys):
    file = toy.conf / "sweep" / "seeds.yaml"
    write(file, file.read_text().replace("  mode: MULTIRUN\n", ""))
    assert main(["train", "sweep=seeds"]) == 2
    assert "hydra.sweeper.params: this config sweeps over seed; add -m" in capsys.readouterr().err


def test_a_signal_stops_the_whole_sweep_with_its_status(toy, capsys):
    status, folder = train("-m", "seed=15,16", kind="sweep")
    assert status == 143
    assert not [*folder.glob("1*")]
    assert "saved; go on with" in capsys.readouterr().err
    assert main(["train", "seed=15"]) == 143


def test_several_values_without_m_are_refused(toy, capsys):
    assert main(["train", "seed=1,2"]) == 2
    assert "add -m to sweep over them" in capsys.readouterr().err


def test_a_current_folder_with_an_odd_name(toy, monkeypatch, capsys):
    place = toy.folder / "a [b] *c 'e'"
    place.mkdir()
    monkeypatch.chdir(place)
    assert main(["train", "-m", "seed=1,2", "hydra/launcher=basic"]) == 0
    assert len(list(place.glob("outputs/sweeps/*/*/*/config.yaml"))) == 2


def test_a_folder_is_no_interpolation(toy):
    folder = toy.folder / "costs ${seed} and 'more'"
    with hydra_app() as app:
        found = composed(app.config_loader, [pinned_folder("sweep", folder)], PROVIDED).hydra
    assert found.sweep.dir == str(folder)
