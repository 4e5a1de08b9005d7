import pytest

from qframe.runs.comparison.groups import by_environment, groups, repeated_seeds
from qframe.runs.folder import RunFolder
from tests.runs.folders import write_run

CATEGORICAL = {"_target_": "qframe.heads.CategoricalHead", "num_atoms": 51, "v_max": 10.0}


@pytest.fixture
def make(tmp_path):
    made = []

    def one(**options):
        made.append(RunFolder(write_run(tmp_path / str(len(made)), score=1.0, **options)))
        return made[-1]

    return one


def labelled(runs, names=None):
    return {group.label: len(group.runs) for group in groups(runs, names or {})}


def test_runs_that_differ_in_their_seed_alone_are_one_group(make):
    runs = [make(seed=seed, device=device, evaluation__every=every) for seed, device, every in
            ((1, "cpu", 500), (2, "auto", 500), (3, "cpu", 100))]  # fmt: skip
    assert labelled(runs) == {"toy": 3}


def test_another_class_is_named_without_the_keys_that_come_with_it(make):
    runs = [make(seed=1), make(seed=1, head=CATEGORICAL), make(seed=2, head=CATEGORICAL)]
    assert labelled(runs) == {"head=ScalarHead": 1, "head=CategoricalHead": 2}
    assert labelled(runs, {"head=qframe.heads.CategoricalHead": "categorical"})["head=categorical"] == 2


def test_a_key_that_differs_among_runs_of_one_class_is_named_too(make):
    runs = [make(), make(head=CATEGORICAL), make(head=CATEGORICAL | {"num_atoms": 21})]
    assert list(labelled(runs)) == [
        "head=ScalarHead", "head=CategoricalHead, head.num_atoms=51", "head=CategoricalHead, head.num_atoms=21"
    ]  # fmt: skip


def test_lists_numbers_and_absent_keys_tell_runs_apart(make):
    runs = [make(network={"num_cells": [64, 64]}), make(network={"num_cells": [8]}), make()]
    assert labelled(runs) == {"network.num_cells=[64,64]": 1, "network.num_cells=[8]": 1, "toy": 1}


def test_names_stand_for_long_differences(make):
    many = {f"a_long_key_{index}": index for index in range(8)}
    assert labelled([make(name="first"), make(name="second", network=many)]) == {"first": 1, "second": 1}


def test_environments_are_kept_apart(make):
    a, b = make(), make(env__id="Acrobot-v1")
    c, d = make(env__num_envs=2), make(env__kwargs={"g": 9})
    found = by_environment([a, b, c, d])
    assert found == {"Acrobot-v1": [b], "CartPole-v1": [a, c], "CartPole-v1 (kwargs.g=9)": [d]}
    assert labelled([a, c]) == {"env.num_envs=8": 1, "env.num_envs=2": 1}


def test_a_null_or_empty_key_of_another_version_is_no_difference(make):
    old, new = make(), make(env__wrappers=[], env__timeout=3, env__mask_key=None, reward={"clip": None})
    assert by_environment([old, new]) == {"CartPole-v1": [old, new]}
    assert labelled([old, make(reward={"clip": None})]) == {"toy": 2}


def test_a_seed_that_occurs_twice_is_seen(make):
    (group,) = groups([make(seed=1), make(seed=2), make(seed=1)], {})
    assert repeated_seeds(group) == [1]


def test_long_labels_give_way_to_the_runs_names_and_what_differs_among_those_of_one_name(tmp_path):
    head = {"_target_": "qframe.heads.QuantileHead"}
    many = {"head": head, "total_frames": 50_000, "gamma": 0.5, "optimizer": {"lr": 1e-3}, "replay": {"n_step": 5}}
    runs = [
        RunFolder(write_run(tmp_path / "0", score=1.0, name="plain")),
        RunFolder(write_run(tmp_path / "1", score=1.0, name="mine", **many)),
        RunFolder(write_run(tmp_path / "2", score=1.0, name="mine", **many | {"gamma": 0.9})),
    ]
    assert [group.label for group in groups(runs, {})] == ["plain", "mine (gamma=0.5)", "mine (gamma=0.9)"]
