"""What ``auto`` picks: a fixed rule."""

import pytest

from qframe.config import auto, build
from qframe.config.auto import resolved
from qframe.config.compose import compose
from qframe.errors import ConfigError


def config(**changes):
    return {
        "compile": "auto", "total_frames": 61_000, "head": {"_target_": "qframe.heads.ScalarHead"},
        "optimizer": {"algorithm": {"_target_": "torch.optim.Adam"}},
        "trunk": {"_target_": "qframe.networks.MLPTrunk"},
        "runner": {"learning_starts": 1_000, "every": 6, "updates": 2, "threads": "auto"},
    } | changes  # fmt: skip


@pytest.fixture(autouse=True)
def _a_machine(monkeypatch):
    monkeypatch.setattr(auto, "missing_compiler", lambda: None)
    monkeypatch.setattr(auto.os, "cpu_count", lambda: 8)


def test_an_update_is_compiled_where_a_run_has_enough_of_them():
    assert resolved(config())[1]["compile"] == (True, "20,000 updates")
    assert resolved(config(total_frames=60_999))[1]["compile"] == (
        False, "19,998 updates; compiling pays from 20,000 on",
    )  # fmt: skip
    costly = config(total_frames=16_000, head={"_target_": "qframe.heads.QuantileHead"})
    assert resolved(costly)[0]["compile"] is True


def test_without_a_compiler_or_for_another_optimizer_it_continues_eagerly_and_says_so(monkeypatch):
    other = config(optimizer={"algorithm": {"_target_": "torch.optim.NAdam"}})
    assert resolved(other)[1]["compile"] == (False, "NAdam cannot be compiled")
    monkeypatch.setattr(auto, "missing_compiler", lambda: "none")
    value, reason = resolved(config())[1]["compile"]
    assert (value, reason) == (
        False, "20,000 updates would pay for compiling, but there is no C++ compiler: install g++",
    )  # fmt: skip


def test_on_a_gpu_how_to_compile_is_the_users_choice():
    assert resolved(config(device="cuda"))[1]["compile"] == (
        False, "20,000 updates would pay for compiling; on a GPU, set compile=cuda_graph or true yourself",
    )  # fmt: skip


def test_threads_are_all_cores_for_images_and_one_for_grids_and_numbers():
    images = config(trunk={"_target_": "qframe.networks.ConvTrunk"})
    assert resolved(images)[0]["runner"]["threads"] == 8
    grid = config(trunk={"_target_": "qframe.networks.ConvTrunk", "strides": [1]})
    assert resolved(grid)[0]["runner"]["threads"] == 1
    assert resolved(config())[0]["runner"]["threads"] == 1


@pytest.mark.parametrize("trunk", [{}, 3, "torch.nn.Tanh"])
def test_a_trunk_that_is_none_is_left_to_be_refused(trunk):
    assert resolved(config(trunk=trunk))[1]["runner.threads"] == (1, "faulty")


def test_what_is_not_auto_stays():
    given = config(compile=False, runner={"learning_starts": 0, "every": 1, "updates": 1, "threads": 3})
    assert resolved(given) == (given, {})


@pytest.mark.parametrize(("every", "trunk", "envs"), [(8, "MLPTrunk", 8), (1, "MLPTrunk", 1), (500, "MLPTrunk", 128),
                                                      (4, "ConvTrunk", 4), (64, "ImpalaTrunk", 16)])  # fmt: skip
def test_environments_are_as_many_as_frames_between_rounds_within_bounds(every, trunk, envs):
    given = config(env={"num_envs": "auto"}, trunk={"_target_": f"qframe.networks.{trunk}"})
    given["runner"]["every"] = every
    assert resolved(given)[0]["env"] == {"num_envs": envs}


def test_the_collector_overlaps_where_a_run_is_long_and_a_core_is_free(monkeypatch):
    def collector(**changes):
        made, picked = resolved(config(collector={"_target_": "auto"}, **changes))
        return made["collector"]["_target_"].rpartition(".")[2], *picked["collector"]

    assert collector(total_frames=100_000) == ("PipelinedCollector", "pipelined", "100,000 frames on 8 cores")
    assert collector(total_frames=99_999)[:2] == ("Collector", "sync")
    assert collector(total_frames="many") == ("Collector", "sync", "faulty")
    monkeypatch.setattr(auto.os, "cpu_count", lambda: 1)
    assert collector(total_frames=100_000) == ("Collector", "sync", "one core")


def test_every_auto_of_a_command_line_is_in_order_and_built():
    def composed(*overrides):
        return compose(overrides, provided=build.PROVIDED)

    made = composed("collector=auto", "env.num_envs=auto", "runner.every=12")
    assert build.parts(made).envs.num_envs == 12
    with pytest.raises(ConfigError, match=r"env\.num_envs: expected an integer"):
        composed("env.num_envs=automatic")
    with pytest.raises(ConfigError, match=r"collector\.depth: unknown key: collector=auto takes none"):
        composed("collector=auto", "+collector.depth=2")


@pytest.mark.parametrize(("words", "picked"), [((), (8, 16)), (("env.num_envs=20", "runner.threads=2"), (2, 20))])
def test_images_inside_a_dict_count_as_images(words, picked):
    nested = ["env=gymnasium", "env.id=qframe-test/Mixed-v0", "env.num_envs=auto", "runner.every=64", *words]
    assembly = build.Assembly(compose(nested, provided=build.PROVIDED))
    assert (assembly.config["runner"]["threads"], assembly.config["env"]["num_envs"]) == picked
    assert assembly.parts.envs.num_envs == picked[1]
    reason = assembly.picked.get("runner.threads", (None, "a network over images on 8 cores"))[1]
    assert reason == "a network over images on 8 cores"
