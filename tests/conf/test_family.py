"""The whole family by its keys: every combination runs one update, or is refused when it is built, with the reason."""

from itertools import product
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict

from qframe.config import build
from qframe.config.build import Assembly
from qframe.config.compose import compose
from qframe.config.targets import resolve
from qframe.envs import gymnasium
from qframe.training import Learner

CONF = Path(__file__).parents[2] / "conf"
HEADS = sorted(path.stem for path in (CONF / "head").glob("*.yaml"))
LAMBDAS = ("td_lambda", "watkins", "retrace")
ESTIMATORS = ("td0", "munchausen", *LAMBDAS)
ENVS, STEPS = 2, 8
SIZES = {"env.num_envs": ENVS, "trunk.num_cells": "[8]", "replay.capacity": 64, "replay.batch_size": 16}


def nodes(group, names, *overrides):
    """The configs of several options of a group, small ones."""
    sizes = [f"{key}={value}" for key, value in SIZES.items() if key.startswith(f"{group}.")]
    found = {}
    for name in names:
        config = compose([f"{group}={name}", *sizes, *overrides], provided=build.PROVIDED)
        found[name] = OmegaConf.to_container(config, resolve=True)[group]
    return found


@pytest.fixture(scope="module")
def options():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gymnasium, "first_difference", lambda env, steps: None)  # it is one environment, a thousand times
        yield small_options()


def small_options():
    config = compose([f"{key}={value}" for key, value in SIZES.items()], provided=build.PROVIDED)
    return {
        "config": OmegaConf.to_container(config, resolve=True),
        "head": nodes("head", HEADS),
        "network": nodes("network", ("q_net", "shared_trunk")),
        "loss": nodes("loss", ("dqn", "double_dqn")),
        "replay": nodes("replay", ("transitions", "slices")),
        "priorities": nodes("priorities", ("none", "proportional")),
        "estimator": nodes("estimator", ESTIMATORS),
    }


def replay_of(options, estimator, n_step):
    """Slices for an estimator along time; with n steps it gets what it cannot use."""
    if estimator in LAMBDAS and n_step == 1:
        return options["replay"]["slices"]
    return options["replay"]["transitions"] | {"n_step": n_step}


def transitions():
    g = torch.Generator().manual_seed(0)
    count = ENVS * STEPS
    done = torch.rand(count, 1, generator=g) < 0.2
    return TensorDict(
        {
            "observation": torch.randn(count, 4, generator=g),
            "action": torch.randint(2, (count,), generator=g),
            "action_probability": torch.rand(count, 1, generator=g),
            "env": torch.arange(ENVS).repeat(STEPS),
            "next": {
                "observation": torch.randn(count, 4, generator=g),
                "reward": torch.randn(count, 1, generator=g),
                "terminated": done,
                "truncated": torch.zeros_like(done),
                "done": done,
            },
        },
        [count],
    )


def faults_or_update(config):
    """The reasons why a config is refused; where there are none, one update is made with it."""
    assembly = Assembly(config)
    parts = assembly.parts
    if assembly.faults:
        return [fault.message for fault in assembly.faults]
    learner = Learner(
        parts.loss,
        parts.replay,
        optimizer=parts.optimizer,
        target_update=parts.target_update,
        action_space=parts.action_space,
        device=torch.device("cpu"),
    )
    parts.replay.extend(transitions())
    before = [parameter.clone() for parameter in parts.loss.value_network.parameters()]
    learner.update()
    after = list(parts.loss.value_network.parameters())
    assert all(parameter.isfinite().all() for parameter in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert learner.take_metrics()["loss/loss"] != 0.0
    return []


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("head", HEADS)
def test_every_combination_runs_one_update_or_is_refused_with_the_reason(head, estimator, options):
    axes = product(options["loss"], options["network"], (False, True), (False, True), (1, 3))
    for loss, network, is_noisy, is_prioritized, n_step in axes:
        found = faults_or_update(
            options["config"]
            | {
                "head": options["head"][head],
                "estimator": options["estimator"][estimator],
                "loss": options["loss"][loss],
                "network": options["network"][network] | {"noisy": is_noisy},
                "replay": replay_of(options, estimator, n_step),
                "priorities": options["priorities"]["proportional" if is_prioritized else "none"],
            }
        )
        if estimator in LAMBDAS and n_step > 1:
            assert "weighs all horizons itself" in found[0]
        elif estimator == "munchausen" and loss == "double_dqn":
            assert "takes its policy from the target network" in found[0]
        else:
            assert not found


@pytest.mark.parametrize("head", HEADS)
def test_retrace_with_a_soft_policy_trains_a_mean_and_is_refused_on_a_law(head, options):
    config = options["config"] | {
        "head": options["head"][head],
        "estimator": options["estimator"]["retrace"] | {"temperature": 0.1},
        "replay": options["replay"]["slices"],
    }
    found = faults_or_update(config)
    if resolve(config["head"]["_target_"]).targets_mean:
        assert not found
    else:
        assert "Retrace with a soft policy gives a mixture with negative weights" in found[0]
