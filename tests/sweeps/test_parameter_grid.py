from dataclasses import replace

import pytest

from qframe.config import build, compose
from qframe.config.compose import composed
from qframe.config.hydra_app import hydra_app
from qframe.errors import ConfigError
from qframe.sweeps.job_spec import composition
from qframe.sweeps.parameter_grid import grid, samples
from tests import fast_hydra


@pytest.fixture(scope="module")
def loader():
    with hydra_app() as app:
        yield app.config_loader


def test_every_combination_the_first_key_varying_slowest(loader):
    jobs = grid(["seed=1,2", "head=scalar,categorical", "gamma=0.9"], [], [], loader)
    assert jobs == [
        ("seed=1", "head=scalar", "gamma=0.9"),
        ("seed=1", "head=categorical", "gamma=0.9"),
        ("seed=2", "head=scalar", "gamma=0.9"),
        ("seed=2", "head=categorical", "gamma=0.9"),
    ]


def test_zipped_keys_vary_together_and_the_rest_is_combined(loader):
    jobs = grid(["env=cartpole,acrobot", "seed=1,2", "total_frames=1k,2k"], [], [["env", "total_frames"]], loader)
    assert jobs == [
        ("env=cartpole", "total_frames=1k", "seed=1"),
        ("env=cartpole", "total_frames=1k", "seed=2"),
        ("env=acrobot", "total_frames=2k", "seed=1"),
        ("env=acrobot", "total_frames=2k", "seed=2"),
    ]


def test_the_command_line_wins_over_parameters_and_forced_values_are_values(loader):
    assert grid(["++seed=3,4"], ["seed=1,2", "gamma=0.5"], [], loader) == [
        ("seed=3", "gamma=0.5"), ("seed=4", "gamma=0.5")
    ]  # fmt: skip


def test_ranges_and_lists(loader):
    assert grid(["seed=range(1,4)"], [], [], loader) == [("seed=1",), ("seed=2",), ("seed=3",)]
    assert grid(["trunk.num_cells=[8,8],[16]"], [], [], loader) == [
        ("trunk.num_cells=[8,8]",), ("trunk.num_cells=[16]",)
    ]  # fmt: skip


def test_equal_jobs_are_one(loader):
    assert grid(["seed=1,1"], [], [], loader) == [("seed=1",)]


def test_nothing_swept_over_is_one_job(loader):
    assert grid([], [], [], loader) == [()]


@pytest.mark.parametrize(
    ("texts", "zipped", "message"),
    [
        (["seed=1,2", "gamma=0.5"], [["seed", "gamma"]], "the key 'gamma' does not have several values"),
        (["seed=1,2", "env=a,b"], [["seed", "envs"]], "does not have several values; nearest is 'env'"),
        (["seed=1,2", "gamma=0.1,0.2,0.3"], [["seed", "gamma"]], "equally many values: seed has 2, gamma has 3"),
        (["seed=1,2", "gamma=0.1,0.2"], [["seed", "gamma"], ["seed"]], "the key 'seed' is in several groups"),
        (["gamma=interval(0,1)"], [], "or use hydra/sweeper=optuna"),
    ],
)
def test_invalid_grids_are_refused(loader, texts, zipped, message):
    with pytest.raises(ConfigError) as raised:
        grid(texts, [], zipped, loader)
    assert message in str(raised.value)


def test_of_a_large_sweep_every_value_is_looked_at_once(loader):
    texts = ["seed=range(0,30)", "gamma=0.1,0.2"]
    assert len(list(samples(texts, [], [], loader, most=60))) == 60
    looked = list(samples(texts, [], [], loader, most=59))
    assert len(looked) == 30
    assert {override for job in looked for override in job} == {f"seed={n}" for n in range(30)} | {
        "gamma=0.1", "gamma=0.2"
    }  # fmt: skip
    assert list(samples(["gamma=interval(0.5,1)"], [], [], loader, most=9, with_intervals=True)) == [("gamma=0.5",)]


SWEEPS = [
    (["experiment=cartpole_dqn,minatar_breakout_rainbow", "optimizer.lr=1e-3", "name=a"], []),
    (["env=acrobot", "env.kwargs={a: 1}", "trunk.num_cells=[8],[16,16]", "total_frames=1M"], []),
    (["~head.transform", "gamma=0.9,1.1", "head.num_atom=3", "priorities=proportional"], []),
    (["runner.threads=${env.num_envs}", "env.num_envs=2,3", "network=ensemble", "logger.every=${nope}"], []),
    (["head={_target_: qframe.heads.ScalarHead},null", "head.kappa=0.0", "~sweep"], ["seed=3"]),
]


@pytest.mark.parametrize(("texts", "params"), SWEEPS)
def test_jobs_are_composed_as_each_would_be_alone(texts, params):
    with hydra_app() as app:
        for job in grid(texts, params, [], app.config_loader):
            together = composition(app.config_loader, job)
            try:
                alone = composed(app.config_loader, job, build.PROVIDED)
            except ConfigError as error:  # a misspelt key of a single run is reported before all else
                misspelt = error.faults
            else:
                misspelt = ()
            if misspelt:
                assert set(misspelt) <= set(together.faults)
            else:
                assert replace(together, hydra=alone.hydra) == alone


def test_files_are_read_once_per_choice_of_groups(loader, monkeypatch):
    merge, heads = type(loader)._compose_config_from_defaults_list, []

    def counted(self, *words, **named):
        heads.append((config := merge(self, *words, **named)).head._target_)
        return config

    monkeypatch.setattr(compose, "merged_files", fast_hydra.merged_files)
    monkeypatch.setattr(type(loader), "_compose_config_from_defaults_list", counted)
    for job in grid(["seed=range(30)", "head=scalar,quantile", "optimizer.lr=1e-3,1e-4"], [], [], loader):
        composition(loader, job)
    assert heads == ["qframe.heads.ScalarHead", "qframe.heads.QuantileHead"]
