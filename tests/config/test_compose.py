import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from qframe.config import hydra_app
from qframe.config.compose import compose, merged_with_values, read, recheck
from qframe.errors import ConfigError
from tests import fast_hydra
from tests.config.toy import PROVIDED, write


def composed(*overrides, config_dir=None):
    return compose(overrides, config_dir, provided=PROVIDED)


def faults(*overrides, config_dir=None):
    with pytest.raises(ConfigError) as caught:
        composed(*overrides, config_dir=config_dir)
    return [str(fault) for fault in caught.value.faults]


def test_the_defaults_compose_twice_in_a_process_and_leave_hydra_as_it_was(toy):
    first, second = composed(), composed("seed=2")
    assert (first.seed, second.seed) == (1, 2)
    assert "hydra" not in first
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("texts", "mode"),
    [
        (["head=other", "head.limit=3", "hydra.run.dir=a", "gamma=0.5"], RunMode.RUN),
        (["head=default,other", "seed=1,2", "hydra/launcher=basic", "hydra.sweep.dir=b"], RunMode.MULTIRUN),
    ],
)
def test_a_config_is_composed_as_by_hydra(toy, texts, mode, monkeypatch):
    with hydra_app.hydra_app() as app:
        for values in ([], ["seed=7", "head.bias=false"], []):
            overrides = read([*texts, *values], app.config_loader, sweep=mode is RunMode.MULTIRUN)
            found, hydra = merged_with_values(app.config_loader, overrides, mode)
            with monkeypatch.context() as patch:
                patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", fast_hydra.compose_files)
                whole = app.config_loader.load_configuration("train", overrides.hydra, mode)
            assert OmegaConf.to_container(found.config) == {
                key: value for key, value in OmegaConf.to_container(whole).items() if key != "hydra"
            }
            for place in ("run", "sweep", "sweeper", "launcher", "runtime.choices"):
                first, second = (OmegaConf.select(config, place) for config in (hydra, whole.hydra))
                assert OmegaConf.to_container(first) == OmegaConf.to_container(second)
            assert (hydra.mode, hydra.job.override_dirname) == (whole.hydra.mode, whole.hydra.job.override_dirname)


def test_a_file_that_changed_is_read_again(toy):
    assert composed().head.kind == "a"
    write(toy.conf / "head" / "default.yaml", "_target_: toy_parts.Head\nkind: both\n")
    assert composed().head.kind == "both"


def test_numbers_are_normalised(toy):
    assert composed("total_frames=1M").total_frames == 1_000_000
    assert composed("total_frames=1e6", "network.trunk.sizes=[1k,2]").network.trunk.sizes == [1000, 2]
    assert composed("experiment=small").total_frames == 1000


def test_a_valid_key_needs_no_plus_even_when_no_file_sets_it(toy):
    assert composed("head.limit=3").head.limit == 3
    assert composed("+head.limit=3").head.limit == 3
    assert composed("+env.num_envs=3").env.num_envs == 3
    assert composed("+head=other").head.kind == "b"


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_an_unknown_key_is_unknown_with_and_without_plus(toy, plus):
    known = "nearest is 'env.num_envs' (valid: id, kwargs, num_envs)"
    assert faults(f"{plus}env.num_env=4") == [f"env.num_env: unknown key of toy_parts.Env; {known}  [command line]"]


def test_all_faults_are_reported_at_once(toy):
    found = faults(
        "env.num_env=4", "head=othr", "seed=-1", "gamma=2", "total_frames=many", "device=tpu", "name=a/b",
        "experimnt=x", "network.trunk.sizes=[a]", "nonsense", "~logger.ever",
    )  # fmt: skip
    assert [fault.split(":")[0].split(" (")[0] for fault in found] == [
        "head", "expected key=value or group=option, got 'nonsense'  [command line]", "~logger.ever", "name",
        "seed", "device", "gamma", "total_frames", "experimnt", "env.num_env", "network.trunk.sizes[0]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("head=othr", "head: unknown option 'othr'; nearest is 'other' (valid: default, other)  [command line]"),
        ("hed=other", "hed: unknown key; nearest is 'head'  [command line]"),
        ("network/trunk=x", "network/trunk: unknown group; nearest is 'network'  [command line]"),
        ("head@x=other", "Could not override 'head@x'; Did you mean to override head?"),
        ("head=null", "head: unknown option 'null'; leave the group out with '~head'  [command line]"),
        ("seed=1,2", "seed: expected one value, got several: 'seed=1,2'; add -m to sweep over them, or write a list"),
        ("seed=-1", "seed: expected an integer ≥ 0, got -1  [command line]"),
        ("gamma=1.5", "gamma: expected a number from 0 to 1, got 1.5  [command line]"),
        ("total_frames=0", "total_frames: expected an integer ≥ 1, got 0  [command line]"),
        ("name=a/b", "name: expected a name of letters, digits and any of . _ - = , +, got 'a/b'  [command line]"),
        ("device=gpu", "device: expected auto, cpu, cuda or cuda:N, got 'gpu'"),
        ("device=cuda:99", "device: there is no device 'cuda:99'; this machine has: cpu"),
        ("~seed", "seed: missing; set it with seed=…"),
        ("~seeed", "~seeed: there is no such key; nearest is 'seed'  [command line]"),
        ("~head", "head: missing; choose one with head=OPTION"),
        ("head=5", "head: unknown option '5'; valid: default, other  [command line]"),
        ("head=[default,other]", "head: choose one option, or sweep over several with -m head=default,other  [command"),
        ("head={kind: b, knd: 1}", "head.knd: unknown key of toy_parts.Head; nearest is 'head.kind'"),
        ("head.kind.x=1", "head.kind: expected one of a, b, both, got a mapping without _target_  [command line]"),
        ("env=nameless", "env.id: missing; set it with env.id=…  [conf/env/nameless.yaml]"),
        ("env.id=${nam}", "env.id: cannot be interpolated: Interpolation key 'nam' not found  [command line]"),
        ("head._target_=os.system", "head._target_: 'os.system' is not a class or function written in qframe"),
        ("head.num_actions=2", "head.num_actions: this is filled in by qframe, not by the config; remove it"),
        ("hydra.run.dirr=x", "hydra.run.dirr: unknown key; nearest is 'hydra.run.dir' (valid: dir)  [command line]"),
        ("+hydra.callbacks.x._target_=os.system", "hydra.callbacks.x._target_: qframe does not read this key; under"),
        ("seed=[1", "expected key=value or group=option, got 'seed=[1'"),
    ],
)  # fmt: skip
def test_one_fault_has_one_line(toy, override, message):
    found = faults(override)
    assert len(found) == 1
    assert found[0].startswith(message)
    assert "\n" not in found[0]


def test_the_file_of_a_fault_is_named(toy):
    write(toy.conf / "experiment" / "small.yaml", "# @package _global_\nenv:\n  num_env: 3\nseed: x\n")
    assert [fault.rpartition("  ")[2] for fault in faults("experiment=small")] == ["[conf/experiment/small.yaml]"] * 2


def test_a_key_that_an_experiment_sets_for_another_option_can_be_left_out(toy):
    write(toy.conf / "experiment" / "small.yaml", "# @package _global_\nhead:\n  knd: b\n")
    (fault,) = faults("experiment=small")
    assert fault.endswith("; leave it out with '~head.knd'  [conf/experiment/small.yaml]")
    assert "knd" not in composed("experiment=small", "~head.knd").head


def test_broken_yaml_is_reported_with_file_and_position(toy):
    write(toy.conf / "head" / "default.yaml", "_target_: toy_parts.Head\nkind: [a\n")
    assert faults() == [
        "not valid YAML: expected ',' or ']', but got '<stream end>'  [conf/head/default.yaml, line 3, column 1]"
    ]


@pytest.mark.parametrize("keyword", ["override", "optional"])
def test_a_mistyped_option_in_a_defaults_list_names_the_file(toy, keyword):
    line = {"override": "override /head: othr", "optional": "optional /head@extra: othr"}[keyword]
    write(toy.conf / "experiment" / "small.yaml", f"# @package _global_\ndefaults:\n  - {line}\n")
    nearest = "nearest is 'other' (valid: default, other)"
    assert faults("experiment=small") == [f"head: unknown option 'othr'; {nearest}  [conf/experiment/small.yaml]"]


def test_faults_of_a_group_whose_option_is_unknown_are_not_reported(toy):
    found = faults("network=dep", "network.trunk.depth=4", "seed=-1")
    assert [fault.split(":")[0] for fault in found] == ["network", "seed"]


def test_a_users_own_folder_joins(toy):
    own = toy.folder / "own"
    write(own / "head" / "mine.yaml", "# Mine\n_target_: toy_parts.Head\nkind: both\nbais: true\n")
    assert "nearest is 'head.bias'" in faults("head=mine", config_dir=own)[0]
    assert faults("head=mine", config_dir=own)[0].endswith("[own/head/mine.yaml]")
    assert faults("head=min", config_dir=own)[0].startswith("head: unknown option 'min'; nearest is 'mine'")
    write(own / "head" / "mine.yaml", "_target_: toy_parts.Head\nkind: both\n")
    assert composed("head=mine", config_dir=own).head.kind == "both"
    write(own / "experiment" / "theirs.yaml", "# @package _global_\ndefaults:\n  - override /head: mne\n")
    assert faults("experiment=theirs", config_dir=own)[0].endswith("[own/experiment/theirs.yaml]")


def test_a_users_file_that_would_be_shadowed_is_refused(toy):
    own = toy.folder / "own"
    write(own / "head" / "other.yaml", "_target_: toy_parts.Head\n")
    message = "--config-dir: qframe has an option of this name, which would take precedence; rename the file"
    assert faults(config_dir=own) == [f"{message}  [own/head/other.yaml]"]
    assert "nowhere' is not a folder; name one with YAML files" in faults(config_dir=toy.folder / "nowhere")[0]


def test_a_saved_config_is_checked_again(toy):
    config = composed("total_frames=1k")
    assert recheck(config, PROVIDED) == config
    config.seed = -3
    with pytest.raises(ConfigError, match="expected an integer ≥ 0, got -3"):
        recheck(OmegaConf.create(config), PROVIDED)


def test_the_checkouts_own_configuration_is_found():
    assert (hydra_app.conf_dir() / "train.yaml").is_file()
