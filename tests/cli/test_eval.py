"""``qframe eval``: statistics, the protocol beside them, and a film."""

import shutil
import sys

import pytest
import yaml

from qframe.cli.main import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["env=gymnasium", "env.id=CliffWalking-v1", "total_frames=200", "runner.learning_starts=100"]
    sizes = ["evaluation.final_episodes=2", "evaluation.max_episode_steps=30", "logger.tensorboard=false"]
    assert main(["train", *words, *sizes, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def elsewhere(run, tmp_path):
    """The run as if it came from a larger machine: a GPU, cores, memory, and a package."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(run, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= {"device": "cuda:7", "compile": "cuda_graph", "autocast": True}
    config["replay"] |= {"device": "cuda:7", "capacity": 10**13}
    config["runner"]["threads"] = 10**4
    config["logger"]["also"] = {"wandb": {"_target_": "qframe.loggers.WandbRecord", "project": "a"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_run_of_another_machine_is_evaluated_and_exported(elsewhere, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main(["eval", str(elsewhere), "--episodes", "2"]) == 0
    note = "note: this run was trained on cuda:7, which this machine lacks; its network runs on the cpu\n"
    assert capsys.readouterr().out.startswith(note)
    for command, *options in (["eval", "--episodes", "1", "--device", "cpu"], ["export", "--format", "torch"]):
        assert main([command, str(elsewhere), *options]) == 0
        assert "trained on" not in capsys.readouterr().out
    assert main(["eval", str(elsewhere), "--device", "cuda:7"]) == 2
    assert "device: there is no device 'cuda:7'; this machine has: cpu" in capsys.readouterr().err


def test_the_protocol_and_cut_episodes_are_reported(run, capsys):
    assert main(["eval", str(run), "--episodes", "3"]) == 0
    shown = capsys.readouterr().out
    assert "episode_return" in shown
    assert "protocol 3 episodes, epsilon 0, env CliffWalking-v1, max_episode_steps 30" in shown
    assert "evaluated episodes were cut after 30 steps, because the environment has no step limit" in shown


def test_video_films_the_first_episodes_into_the_runs_folder(run, capsys):
    assert main(["eval", str(run), "--episodes", "2", "--video", "--seed", "4"]) == 0
    (video,) = (run / "videos").iterdir()
    assert video.name.endswith("-seed4.mp4")
    assert f"video {video}: episodes that returned " in capsys.readouterr().out
    assert main(["eval", str(run), "--video", "-1"]) == 2
    assert "--video" in capsys.readouterr().err


def test_a_missing_render_mode_is_reported(tmp_path, capsys):
    words = ["env=gymnasium", "env.id=qframe-test/Terminating-v0", "total_frames=200", "runner.learning_starts=100"]
    sizes = ["evaluation.final_episodes=2", "logger.tensorboard=false", f"hydra.run.dir={tmp_path}"]
    assert main(["train", *words, *sizes]) == 0
    assert main(["eval", str(tmp_path), "--video", "2"]) == 2
    assert "--video: video needs an environment with the render mode rgb_array" in capsys.readouterr().err
    assert main(["check", *words, "evaluation.video=1"]) == 2
    assert "evaluation: video needs an environment with the render mode rgb_array" in capsys.readouterr().err
