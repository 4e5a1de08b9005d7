"""The event files of a run, read back as TensorBoard does."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from torch import nn

from qframe.actions import make_discretized_space
from qframe.cli.main import main
from qframe.config import build
from qframe.config.compose import compose
from qframe.loggers.pictures import draw_laws, draw_values
from qframe.loggers.probe_states import FixedStates, Seen
from qframe.loggers.protocol import Opening
from qframe.loggers.tensorboard import TensorBoard
from qframe.runs.masking import masked

SIZES = [
    "total_frames=600", "runner.learning_starts=100", "evaluation.every=300", "evaluation.episodes=1",
    "evaluation.final_episodes=1", "logger.every=200",
]  # fmt: skip


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "histograms": 0, "tensors": 0})
    events.Reload()
    return events


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    own = ["logger.histograms=true", "head=categorical", f"hydra.run.dir={folder}"]
    assert main(["train", *SIZES, *own]) == 0
    return read(folder)


def test_scalars_are_grouped(events):
    tags = events.Tags()["scalars"]
    groups = {tag.partition("/")[0] for tag in tags if "/" in tag}
    assert groups == {"train", "eval", "loss", "time", "replay", "exploration", "head"}
    assert {tag for tag in tags if "/" not in tag} == {"eval_return_mean", "eval_return_last"}
    assert [scalar.step for scalar in events.Scalars("eval/episode_return")] == [304, 600]


def test_there_are_pictures_at_every_evaluation_and_histograms_by_choice(events):
    tags = events.Tags()
    assert tags["images"] == ["states/action_values", "states/return_distributions"]
    assert min(tags["images"]) > max(tag for tag in tags["scalars"] if tag.startswith("eval/"))  # it opens on returns
    for tag in tags["images"]:
        assert [image.step for image in events.Images(tag)] == [304, 600]
        assert events.Images(tag)[0].encoded_image_string[:4] == b"\x89PNG"
    names = events.Tags()["histograms"]
    assert "parameters/head/layer/weight" in names
    assert "gradients/head/layer/weight" in names


def test_the_config_is_text_and_hyperparameters(events):
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "    total_frames: 600\n" in text
    start = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    values = dict(metadata.parse_session_start_info_plugin_data(start).hparams)
    assert values["head"].string_value == "CategoricalHead"
    assert values["head.num_atoms"].number_value == 51
    assert values["seed"].string_value == "1"
    assert values["network.noisy"].string_value == "false"
    assert values["trunk.num_cells"].string_value == "[120, 84]"
    assert not any(name.startswith(("logger", "checkpoint", "name")) for name in values)
    assert metadata.SESSION_END_INFO_TAG in events.summary_metadata
    assert metadata.EXPERIMENT_TAG not in events.summary_metadata  # it would hide what only other runs vary
    assert "custom_scalars__config__" in events.Tags()["tensors"]


@pytest.mark.parametrize(
    ("jobs", "names"),
    [
        ([["head=scalar", "gamma=.9"], ["head=quantile", "gamma=.9"]], {"head", "head.num_atoms", "seed"}),
        ([["gamma=.9"], ["gamma=.8"]], {"gamma", "seed"}),
        ([["experiment=a"], ["experiment=b"]], {"gamma", "head", "head.num_atoms", "seed"}),
        ([["gamma=.9"]], {"gamma", "head", "head.num_atoms", "seed"}),
    ],
)
def test_the_jobs_of_a_sweep_show_only_the_hyperparameters_that_differ(tmp_path, jobs, names):
    (tmp_path / "jobs.json").write_text(json.dumps(dict(enumerate(jobs))))
    board = TensorBoard(histograms=False)
    board.open(Opening(tmp_path / "0", {"gamma": 0.9, "head": {"_target_": "a.B", "num_atoms": 5}, "seed": 1}))
    board.close()
    start = read(tmp_path / "0").SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    assert set(metadata.parse_session_start_info_plugin_data(start).hparams) == names


def test_secrets_are_not_in_the_event_files(tmp_path):
    board = TensorBoard(histograms=False)
    board.open(Opening(tmp_path, masked({"api_key": "hunter2", "uri": "http://me:hunter2@host"})))
    board.close()
    assert not any(b"hunter2" in file.read_bytes() for file in tmp_path.iterdir())


def test_a_resumed_run_drops_events_past_its_checkpoint(tmp_path):
    for void_from, steps in ((None, range(100, 600, 100)), (301, (400,))):
        board = TensorBoard(histograms=False)
        board.open(Opening(tmp_path, {}, void_from))
        for step in steps:
            board.log(step, {"train/episode_return": float(step + (void_from or 0))})
        board.close()
        # Files are read in the order of their names, which begin with the second: both may be of the same one.
        newest = max(tmp_path.iterdir(), key=lambda file: file.stat().st_mtime_ns)
        newest.rename(tmp_path / f"events.out.tfevents.{1_700_000_000 + (void_from or 0)}")
    values = [(scalar.step, scalar.value) for scalar in read(tmp_path).Scalars("train/episode_return")]
    assert values == [(100, 100.0), (200, 200.0), (300, 300.0), (400, 701.0)]


def test_histograms_need_tensorboard(capsys):
    assert main(["check", "logger.histograms=true", "logger.tensorboard=false"]) == 2
    assert "logger: histograms=true needs TensorBoard, which shows them; set" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["scalar", "implicit_quantile", "fully_parameterized_quantile", "hl_gauss"])
@pytest.mark.parametrize("network", ["q_net", "shared_trunk", "ensemble"])
def test_every_head_and_network_is_drawn(head, network, pictured):
    seen = pictured(f"head={head}", f"network={network}")
    assert seen.values.shape == (6, 2)
    assert seen.is_greedy.sum(1).tolist() == [1] * 6
    assert seen.locations.shape == seen.masses.shape
    assert seen.masses.sum(-1) == pytest.approx(np.ones((6, 2)), abs=1e-4)


@pytest.mark.parametrize("words", [["env=gymnasium", "env.id=Blackjack-v1"], ["head=quantile", "head.transform=h"]])
def test_states_of_every_kind_are_drawn(words, pictured):
    assert pictured(*words).values.shape == (6, 2)


def test_the_laws_of_an_ensemble_are_the_mixture_of_its_members(pictured):
    seen = pictured("head=categorical", "head.num_atoms=11", "network=ensemble")
    assert seen.num_members == 10
    assert seen.locations.shape == (6, 2, 110)
    assert (seen.locations * seen.masses).sum(-1) == pytest.approx(seen.values, abs=1e-3)


def test_the_laws_of_branches_stand_side_by_side_as_their_values_do(pictured):
    seen = pictured("head=categorical", "env=gymnasium", "env.id=qframe-test/Dials-v0")
    assert seen.locations.shape[:2] == seen.values.shape
    assert (seen.locations * seen.masses).sum(-1) == pytest.approx(seen.values, abs=1e-3)


@pytest.fixture
def pictured():
    def see(*words):
        parts = build.parts(compose(words, provided=build.PROVIDED))
        network = parts.loss.value_network
        first, again = (FixedStates(parts.envs, parts.action_space).see(network) for _ in range(2))
        assert (first.values == again.values).all()
        assert network.training
        return first

    return see


def test_a_picture_shows_the_mean_and_the_mass_where_they_are():
    location, mass = np.tile(np.linspace(0.0, 10.0, 11), (1, 1, 1)), np.zeros((1, 1, 11))
    mass[..., [2, 8]] = 0.5
    picture = draw_laws(location, mass, "laws", ["a0"])
    blue = np.unique(np.argwhere((picture == (31, 119, 180)).all(-1))[:, 1])
    red = np.unique(np.argwhere((picture == (214, 39, 40)).all(-1))[:, 1])
    middle = (blue.min() + blue.max()) / 2
    assert abs(red.mean() - middle) < 2  # the mean is between two equal atoms
    assert (np.diff(blue) > 1).sum() == 1  # two bars


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("env=cartpole",), ["left", "right"]),
        (("env=minatar", "env.full_action_space=false", "trunk=small_conv"), ["none", "left", "right"]),
        (("env=gymnasium", "env.id=qframe-test/Bandit-v0"), ["a0", "a1"]),
        (
            ("env=gymnasium", "env.id=qframe-test/Dials-v0", "action_space=multi_categorical"),
            ["a0", "a1", "a2", "a3", "a4", "a5"],
        ),
    ],
)
def test_actions_are_named_where_names_are_known(words, names):
    parts = build.parts(compose(words, provided=build.PROVIDED))
    assert FixedStates(parts.envs, parts.action_space).action_names == names


@pytest.mark.parametrize(
    ("bins", "encoding", "names"),
    [
        ([2, 3], "enumerated", ["-2,0", "-2,0.5", "-2,1", "2,0", "2,0.5", "2,1"]),
        ([2, 3], "multi_categorical", ["0: -2", "0: 2", "1: 0", "1: 0.5", "1: 1"]),
    ],
)
def test_bins_are_named_by_their_values(bins, encoding, names):
    box = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))
    space = make_discretized_space(box, bins=bins, encoding=encoding)
    envs: Any = None
    assert FixedStates(envs, space).action_names == names


def test_the_greedy_action_is_framed():
    values = np.array([[1.0, 2.0]])
    framed = draw_values(values, np.array([[False, True]]), "values", ["left", "right"])
    other = draw_values(values, np.array([[True, False]]), "values", ["left", "right"])
    assert np.argwhere((framed != other).any(-1))[:, 1].max() > np.argwhere((framed == 28).all(-1))[:, 1].min()


def test_a_network_that_diverged_is_not_drawn(tmp_path):
    board = TensorBoard(histograms=True)
    board.states = SimpleNamespace(see=lambda network: Seen(*[np.full((1, 2), np.nan)] * 2, *[np.ones((1, 2, 3))] * 2))
    board.open(Opening(tmp_path, {}))
    network = nn.Linear(1, 1)
    nn.init.constant_(network.weight, np.nan)
    board.log_network(1, network)
    board.close()
    tags = read(tmp_path).Tags()
    assert tags["images"] == []
    assert tags["histograms"] == ["parameters/bias"]
