"""Videos: every step a picture, in an MP4 file and a small animation."""

import json

import gymnasium as gym
import imageio.v3 as iio
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qframe.cli.main import main
from qframe.envs.checks import picture_of
from qframe.envs.gymnasium import rate_of
from qframe.envs.protocol import FaultyEnvironment
from qframe.training.video import MAX_PICTURES, Camera, film
from tests import probes
from tests.training.test_evaluation import evaluation_of


def test_a_film_has_a_picture_of_every_step(tmp_path):
    evaluation, network = evaluation_of("CartPole-v1")
    made = film(evaluation, network, tmp_path / "videos" / "final.mp4", episodes=2, stream=("final",))
    pictures = iio.imread(made.path, plugin="pyav")
    assert pictures.shape == (sum(made.result.lengths), 400, 600, 3)
    assert iio.immeta(made.path, plugin="pyav")["fps"] == gym.make("CartPole-v1").metadata["render_fps"]
    assert made.result.returns == evaluation.final(network).returns[:2]
    assert [path.name for path in made.path.parent.iterdir()] == ["final.mp4"]
    assert made.animation.startswith(b"GIF89a")
    assert iio.imread(made.animation, extension=".gif").shape[1:] == (400, 600, 3)


def test_odd_sides_are_padded_and_long_episodes_thinned(tmp_path):
    """Of 201 pictures every fourth is kept: 0, 4, …, 200, the picture's brightness its number over two."""
    count = 2 * MAX_PICTURES + 1
    with Camera(tmp_path / "x.mp4", 30.0) as camera:
        for number in range(count):
            camera(np.full((33, 21, 3), number // 2, np.uint8))
    assert iio.imread(tmp_path / "x.mp4", plugin="pyav").shape == (count, 34, 22, 3)
    kept = [int(picture[0, 0, 0]) for picture in camera._kept]
    assert kept == [number // 2 for number in range(0, count, 4)]


def test_a_film_that_fails_leaves_nothing(tmp_path, monkeypatch):
    evaluation, network = evaluation_of("CartPole-v1")

    def broken(*arguments, **options):
        raise RuntimeError("lost")

    monkeypatch.setattr(evaluation, "play", broken)
    with pytest.raises(RuntimeError, match="lost"):
        film(evaluation, network, tmp_path / "x.mp4", episodes=1, stream=("final",))
    assert list(tmp_path.iterdir()) == []


class Drawn(probes.Counter):
    """Draws what ``how`` says."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 0}  # noqa: RUF012

    def __init__(self, how="grey", **render_mode):
        super().__init__()
        if how == "takes no mode" and render_mode:
            raise TypeError("unexpected keyword argument 'render_mode'")
        self.how, self.render_mode = how, render_mode.get("render_mode")

    def render(self):
        if self.how == "raises":
            raise gym.error.DependencyNotInstalled("pygame is not installed")
        if self.how == "quits":
            raise SystemExit
        if self.how == "raises later" and self.step_number == 2:
            raise RuntimeError("lost")
        return {"nothing": None, "floats": np.full((4, 4, 3), -1.0)}.get(self.how, np.zeros((4, 6), np.uint8))


DRAWN = ["env=gymnasium", f"env.id={__name__}.Drawn", "evaluation.video=1"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nothing", "evaluation.video: render must return a picture [H, W, 3] of 0 to 255, but returned NoneType"),
        ("floats", "a picture [H, W, 3] of 0 to 255, but returned float64 of shape (4, 4, 3)"),
        ("raises", "render failed: DependencyNotInstalled: pygame is not installed, at"),
        ("quits", "render failed: SystemExit, at"),
        ("takes no mode", "'render_mode': 'rgb_array'} failed: TypeError: unexpected keyword argument 'render_mode'"),
    ],
)
def test_environments_that_cannot_be_filmed_are_refused_before_training(how, message, capsys):
    assert main(["check", *DRAWN, f"env.kwargs.how='{how}'", "--trust", "tests"]) == 2
    assert message in capsys.readouterr().err


def test_a_film_that_fails_during_a_run_is_reported_and_training_continues(tmp_path, capsys):
    words = ["total_frames=200", "runner.learning_starts=100", "evaluation.final_episodes=1", "compile=false"]
    assert main(["train", *DRAWN, *words, "env.kwargs.how='raises later'", "--trust", "tests",
                 f"hydra.run.dir={tmp_path}"]) == 0  # fmt: skip
    shown = capsys.readouterr().out
    assert "a film could not be made (FaultyEnvironment: render failed: RuntimeError" in shown
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "finished"


def test_a_run_resumes_where_nothing_can_be_drawn_any_more(tmp_path, monkeypatch, capsys):
    words = ["total_frames=200", "runner.learning_starts=100", "evaluation.final_episodes=1", "compile=false"]
    assert main(["train", *DRAWN, *words, "--trust", "tests", f"hydra.run.dir={tmp_path}"]) == 0
    monkeypatch.setattr(Drawn, "render", lambda self: 1 / 0)
    capsys.readouterr()
    assert main(["resume", str(tmp_path), "total_frames=300", "--trust", "tests"]) == 0
    assert "a film could not be made (FaultyEnvironment: render failed: ZeroDivisionError" in (
        capsys.readouterr().out
    )
    assert main(["eval", str(tmp_path), "--episodes", "1", "--trust", "tests"]) == 0
    assert main(["eval", str(tmp_path), "--episodes", "1", "--video", "--trust", "tests"]) == 2
    assert "render failed: ZeroDivisionError: division by zero, at" in capsys.readouterr().err


def test_pictures_of_other_numbers_are_taken():
    assert picture_of(np.full((2, 2, 3), 255)).dtype == picture_of(np.full((2, 2), 7.0)).dtype == np.uint8
    assert picture_of(np.full((2, 2), 7.0))[0, 0].tolist() == [7, 7, 7]
    with pytest.raises(FaultyEnvironment, match="returned int64 of shape"):
        picture_of(np.full((2, 2, 3), 256))
    assert rate_of(np.int64(50)) == 50.0


def test_grey_pictures_are_filmed(tmp_path):
    evaluation, network = evaluation_of(f"{__name__}.Drawn")
    made = film(evaluation, network, tmp_path / "x.mp4", episodes=1, stream=("final",))
    assert iio.imread(made.path, plugin="pyav").shape[1:] == (4, 6, 3)
    assert iio.immeta(made.path, plugin="pyav")["fps"] == 30


def test_a_run_films_its_evaluations_into_its_folder_and_tensorboard(tmp_path):
    words = ["total_frames=400", "runner.learning_starts=200", "evaluation.every=200", "evaluation.episodes=2"]
    words += ["evaluation.final_episodes=3", "evaluation.video=1"]
    assert main(["train", *words, f"hydra.run.dir={tmp_path}"]) == 0
    names = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert names == ["0000000200.mp4", "0000000400.mp4", "final.mp4"]
    events = EventAccumulator(str(tmp_path)).Reload()
    (first, second), (final,) = events.Images("video/evaluation"), events.Images("video/final")
    assert (first.step, second.step, final.step) == (200, 400, 400)
    assert all(event.encoded_image_string.startswith(b"GIF89a") for event in (first, second, final))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["eval_protocol"] == {
        "episodes": 3, "epsilon": 0.0, "env": "CartPole-v1", "max_episode_steps": 500,
        "rewards": "the environment's own",
    }  # fmt: skip
    assert summary["eval_episodes_cut"] == 0
