"""The support of C51 and HL-Gauss: set from the warm-up's returns, widened when returns leave it, watched if fixed."""

import json
import math
from functools import partial

import pytest
import torch
from tensordict import TensorDict

from qframe import load
from qframe.actions import Categorical, MultiCategorical
from qframe.cli.main import main
from qframe.export.formats import FORMATS
from qframe.functional.backup import Law
from qframe.heads import CategoricalHead, HLGaussHead, QuantileHead, ScalarHead
from qframe.networks import EnsembleQNet, MLPTrunk, QNet, SharedTrunk
from qframe.objectives import DQNLoss, DQVLoss
from qframe.training.support import ReturnRange, Support
from tests.runners import make_runner

HEADS = {"categorical": CategoricalHead, "hl_gauss": HLGaussHead}


def auto(head=CategoricalHead, **options):
    return partial(head, **{"v_min": "auto", "v_max": "auto", **options})


def seen(gamma, *episodes, cut=False):
    returns = ReturnRange(gamma)
    for rewards in episodes:
        last = len(rewards) - 1
        for place, reward in enumerate(rewards):
            returns.add([0], [reward], [place == last], [cut and place == last])
    return returns


def test_the_range_is_that_of_every_step_of_finished_episodes():
    """Returns 1 + .5·(−8 + .5·4) = −2, −6 and 4; the second environment's episode is not over."""
    returns = ReturnRange(0.5)
    for reward, over in ((1.0, False), (-8.0, False), (4.0, True)):
        returns.add([0, 1], [reward, 100.0], [over, False], [False, False])
    assert (returns.low, returns.high) == (-6.0, 4.0)
    assert returns.so_far(continues=True) == (-6.0, 200.0)
    assert returns.so_far(continues=False) == (-6.0, 175.0)


def test_an_episode_that_was_cut_continues_as_it_went():
    returns = seen(0.9, [1.0], cut=True)
    assert (returns.low, returns.high) == pytest.approx((10.0, 10.0))
    assert seen(1.0, [1.0, 2.0], cut=True).high == 3.0


def test_an_episode_that_never_ends_is_watched_in_constant_memory():
    returns = ReturnRange(0.9)
    sizes = set()
    for step in range(1000):
        returns.add([0], [1.0 if step < 500 else -2.0], [False], [False])
        sizes.add(len(returns.state_dict()["rewards"][0]))
    assert max(sizes) < 100
    assert (returns.low, returns.high) == pytest.approx((-20.0, 10.0), rel=0.02)


def test_no_policy_goes_beyond_the_rewards_seen_for_ever():
    assert seen(0.9, [-1.0, 3.0]).bounds() == pytest.approx((-10.0, 30.0))
    assert seen(0.9, [1.0, 3.0]).bounds() == pytest.approx((1.0, 30.0))
    assert seen(1.0, [-1.0, 0.0]).bounds() == (-math.inf, 0.0)


def test_the_mean_is_that_of_every_step_and_running_episodes_continue_as_they_went():
    """Returns −2, −6 and 4 of one episode, and 3 + .5·6 = 6 of another, cut after a step."""
    returns = seen(0.5, [1.0, -8.0, 4.0])
    assert returns.mean() == pytest.approx(-4 / 3)
    returns.add([1], [3.0], [False], [False])
    assert returns.mean() == pytest.approx(0.5)
    assert seen(1.0, [0.0, 0.0, 3.0], [0.0]).mean() == pytest.approx(2.25)


def test_the_mean_counts_every_step_of_an_episode_that_never_ends_once():
    returns = ReturnRange(0.9)
    for _ in range(1000):
        returns.add([0], [1.0], [False], [False])
    assert returns.mean() == pytest.approx(10.0)
    assert returns.number + len(returns.state_dict()["rewards"][0]) == 1000


def test_the_range_resumes_from_its_state():
    one, other = seen(0.5, [1.0, 2.0]), ReturnRange(0.5)
    one.add([3], [7.0], [False], [False])
    other.load_state_dict(one.state_dict())
    for returns in (one, other):
        returns.add([3], [1.0], [True], [False])
    assert (one.low, one.high) == (other.low, other.high) == (1.0, 7.5)
    assert one.mean() == other.mean() == 3.125  # of 2, 2, 7.5 and 1


def test_heads_say_what_they_can_express():
    assert ScalarHead(4, 2).expressible is None
    assert QuantileHead(4, 2).expressible is None
    assert CategoricalHead(4, 2, v_min=-3.0, v_max=5.0).expressible == (-3.0, 5.0)
    assert HLGaussHead(4, 2, v_min=-3.0, v_max=5.0).expressible == (-3.0, 5.0)
    low, high = CategoricalHead(4, 2, v_min=-1.0, v_max=1.0, transform="h").expressible
    assert torch.allclose(torch.tensor([low, high]), torch.tensor([-2.985, 2.985]), atol=0.02)  # h(3) is about 1


@pytest.mark.parametrize("head", HEADS.values())
def test_bounds_are_set_in_units_of_the_return_and_a_given_end_stays(head):
    for transform in ("none", "h"):
        free = head(4, 2, v_min="auto", v_max="auto", transform=transform)
        free.set_bounds(-30.0, 700.0)
        low, high = free.support[[0, -1]] + free.padding * (free.support[-1] - free.support[0]) * torch.tensor([1, -1])
        ends = torch.tensor([-30.0, 700.0])
        ends = ends if free.transform is None else free.transform.forward(ends)
        assert (low.item(), high.item()) == pytest.approx(tuple(ends.tolist()), rel=1e-4)
    half = head(4, 2, v_min=-5.0, v_max="auto")
    half.set_bounds(-30.0, 700.0)
    assert half.expressible == pytest.approx((-5.0, -5.0 + 705.0 / (1 - half.padding)))
    fixed = head(4, 2, v_min=0.0, v_max=1.0)
    fixed.set_bounds(-30.0, 700.0)
    assert fixed.expressible == (0.0, 1.0)


def support_of(head, gamma=0.9, network=QNet, loss=DQNLoss, **options):
    torch.manual_seed(0)
    options.setdefault("action_space", Categorical(2))
    built = network(MLPTrunk((3,), num_cells=[32]), head, **options)
    return Support(loss(built, delay_value=True, gamma=gamma))


def add(support, *episodes):
    for rewards in episodes:
        for place, reward in enumerate(rewards):
            over = place == len(rewards) - 1
            following = {"reward": [[reward]], "done": [[over]], "truncated": [[False]]}
            support.add(TensorDict({"env": [0], "next": {k: torch.tensor(v) for k, v in following.items()}}, [1]))


def states(number):
    generator = torch.Generator().manual_seed(7)
    return TensorDict({"observation": torch.rand(number, 3, generator=generator)}, [number])


@pytest.mark.parametrize(("episodes", "expected"), [
    ([[-1.0] * 3], (-3.565, -1.0)),  # −2.71 to −1 with half of 1.71 on both sides, but never above −1
    ([[0.0, 0.0, 1.0]], (0.715, 1.095)),
    ([[0.0], [0.0]], (-1.0, 1.0)),
    ([[5000.0], [3000.0]], (3000.0, 6000.0)),
    ([[1e-3], [-1e-3]], (-2e-3, 2e-3)),
    ([[-0.0010000000474974513, 0.019999999552965164]], (0.0155, 0.0215)),  # as 32 bits write them
])  # fmt: skip
def test_the_first_support_follows_the_scale_of_the_warm_up(episodes, expected):
    support = support_of(auto())
    add(support, *episodes)
    assert "head.v_min is now" in support.fit(states)
    assert support.bounds == pytest.approx(expected, rel=1e-3)
    assert support._loss.head.expressible == pytest.approx(expected, rel=1e-3)
    assert support._loss.target_value_network.head.expressible == pytest.approx(expected, rel=1e-3)
    assert support.fit(states) is None


@pytest.mark.parametrize("reward", [98.16407, -98.16407, 1e6 + 0.123456, 1.23456789e-7])
@pytest.mark.parametrize("spread", [1e-3, 1.0])
def test_a_support_holds_the_returns_that_it_was_made_for_and_stays(reward, spread):
    support = support_of(auto())
    add(support, [reward], [reward + spread * abs(reward)])
    assert support.fit(states) is not None
    slack = 1e-6 * (support.bounds[1] - support.bounds[0])
    assert support.bounds[0] - slack <= support.returns.low < support.returns.high <= support.bounds[1] + slack
    assert support.fit(states) is None
    add(support, [reward - 20 * spread * abs(reward)])
    assert support.fit(states) is not None
    assert support.bounds[0] - slack <= support.returns.low
    assert support.fit(states) is None


def test_returns_at_the_ends_are_learnt_without_a_bias():
    head = HLGaussHead(4, 2, num_atoms=51, v_min="auto", v_max="auto")
    head.set_bounds(0.0, 1.0)
    ends = torch.tensor([0.0, 1.0])
    target = head.project(Law(ends.unsqueeze(-1), torch.ones(2, 1)))
    assert (target @ head.support).tolist() == pytest.approx(ends.tolist(), abs=3e-4)
    given = HLGaussHead(4, 2, num_atoms=51, v_min=0.0, v_max="auto")
    given.set_bounds(-7.0, 1.0)
    assert given.support[[0, -1]].tolist() == pytest.approx([0.0, 1 / 0.97])


NETWORKS = {
    "plain": {},
    "dueling": {"network": SharedTrunk},
    "noisy": {"noisy": True},
    "ensemble": {"network": partial(EnsembleQNet, num_members=3, prior_scale=1.0)},
    "branches": {"action_space": MultiCategorical([2, 3]), "loss": partial(DQNLoss, joint="branching")},
    "dqv": {"network": partial(SharedTrunk, dueling=False), "loss": DQVLoss},
}


def values(network, data):
    with torch.no_grad():
        if getattr(network, "dueling", True):
            return [network.head.value(network.predict(data["observation"]))]
        return [network.head.value(p) for p in network.predict_streams(data["observation"])]


WARM_UP = [
    ([[0.0] * 49 + [1.0]], 0.198969),  # (1 − .9⁵⁰) / (50 · .1)
    ([[-1.0] * 20, [0.0]], -5.759139),  # 10 · (.9 · (1 − .9²⁰) / .1 − 20) / 21
    ([[5000.0], [3000.0], [3000.0], [3000.0]], 3500.0),
]


@pytest.mark.parametrize("transform", ["none", "h"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("episodes", "mean"), WARM_UP)
def test_the_first_prediction_is_the_mean_return_of_the_warm_up(episodes, mean, network, transform):
    support = support_of(auto(HLGaussHead, transform=transform), **NETWORKS[network])
    networks = support._loss.value_network, support._loss.target_value_network
    with torch.no_grad():  # the outputs of random weights are added to the bias
        for name, parameter in [pair for part in networks for pair in part.named_parameters()]:
            if "head" in name:
                parameter.zero_()
    add(support, *episodes)
    support.fit(states)
    online, target = (part.eval() for part in networks)
    for value in values(online, states(20)):
        assert value.flatten().tolist() == pytest.approx([mean] * value.numel(), rel=1e-3)
    for one, other in zip(online.state_dict().values(), target.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_first_prediction_of_random_weights_is_near_the_mean_and_differs_between_actions():
    support = support_of(auto(HLGaussHead))
    add(support, [0.0] * 99 + [1.0])
    support.fit(states)
    value = values(support._loss.value_network, states(200))[0]  # .75 without
    assert value.mean() == pytest.approx(0.1, abs=0.02)
    assert (value[:, 0] - value[:, 1]).abs().mean() > 1e-4


@pytest.mark.parametrize("prior_scale", [0.0, 1.0])
def test_only_the_state_value_of_a_dueling_ensemble_is_moved_and_its_prior_stays(prior_scale):
    ensemble = partial(EnsembleQNet, num_members=3, prior_scale=prior_scale, dueling=True)
    support = support_of(auto(HLGaussHead), network=ensemble)
    before = {name: entry.clone() for name, entry in support._loss.value_network.state_dict().items()}
    add(support, [0.0] * 99 + [1.0])
    support.fit(states)
    after = support._loss.value_network.state_dict()
    moved = [name for name, entry in after.items() if "support" not in name and not torch.equal(entry, before[name])]
    assert moved == ["state_head.layer.bias"]


def test_a_mean_beyond_the_support_is_predicted_near_its_end_by_logits_that_can_be_unlearnt():
    head = HLGaussHead(4, 2, num_atoms=51, v_min=0.0, v_max=50.0)
    for mean, near in ((-70.0, 0.157), (0.0, 0.157), (70.0, 49.843), (0.6, 0.6)):  # 1 / (e² − 1) atoms from the end
        torch.nn.init.zeros_(head.layer.bias)
        head.set_initial_mean(mean)
        assert head.layer.bias.detach().max().item() <= 50.001
        value = head.value(head.prediction(torch.zeros(1, 4)))
        assert value.flatten().tolist() == pytest.approx([near] * 2, abs=1e-3)


def test_the_first_prediction_stays_in_the_middle_if_all_returns_are_alike():
    """The support is from −1.005 to −.995: what has not been tried seems a little better than what has."""
    support = support_of(auto(HLGaussHead))
    before = support._loss.value_network.head.layer.bias.clone()
    add(support, [-1.0], [-0.9999])
    support.fit(states)
    assert torch.equal(support._loss.value_network.head.layer.bias, before)
    given = support_of(auto(HLGaussHead, v_max=1.0))  # whose middle is near 0
    add(given, [-1.0], [-0.9999])
    given.fit(states)
    assert values(given._loss.value_network, states(20))[0].mean() == pytest.approx(-1.0, abs=0.05)


def test_other_heads_and_those_without_a_bias_keep_their_weights():
    bare = HLGaussHead(4, 2, v_min="auto", v_max="auto")
    bare.layer = torch.nn.Linear(4, 102, bias=False)
    for head in (bare, HLGaussHead(None, 1), CategoricalHead(4, 2), ScalarHead(4, 2), QuantileHead(4, 2)):
        before = {name: entry.clone() for name, entry in head.state_dict().items()}
        head.set_initial_mean(3.0)
        for name, entry in head.state_dict().items():
            assert torch.equal(entry, before[name]), name


def test_a_fixed_support_and_one_that_came_with_its_weights_keep_their_predictions():
    fixed = support_of(partial(HLGaussHead, v_min=0.0, v_max=2.0))
    initial = support_of(auto(HLGaussHead))
    initial.is_set = True
    for support in (fixed, initial):
        before = support._loss.value_network.head.layer.bias.clone()
        add(support, [0.1], [0.3])
        assert support.fit(states) is None
        assert torch.equal(support._loss.value_network.head.layer.bias, before)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", HEADS)
def test_action_values_keep_when_the_support_is_widened(head, network):
    support = support_of(auto(HEADS[head]), **NETWORKS[network])
    add(support, [1.0], [9.0])
    support.fit(states)
    networks = support._loss.value_network, support._loss.target_value_network
    with torch.no_grad():  # outputs as different as those of a trained network
        for part in networks:
            for parameter in part.head.parameters():
                parameter.mul_(8)
            part.eval()
    before = [values(part, states(500)) for part in networks]
    add(support, [40.0])
    upper = {"categorical": "59.5", "hl_gauss": "61.37"}  # 58.5 wide, and .03 of the whole beyond each end
    assert support.fit(states) == f"returns range from 1 to 40: head.v_max is now {upper[head]}"
    for part, earlier in zip(networks, before, strict=True):
        assert not part.training
        for old, new in zip(earlier, values(part, states(500)), strict=True):
            assert (new - old).abs().mean() < 0.08  # of returns from 1 to 13; an atom is 1.2 wide
            assert (new - old).mean().abs() < 0.02


def test_errors_of_the_values_are_orthogonal_to_the_features(monkeypatch):
    monkeypatch.setattr("qframe.training.support.FIT_STEPS", 1000)
    support = support_of(auto())
    add(support, [1.0], [9.0])
    support.fit(states)
    network = support._loss.value_network
    with torch.no_grad():
        network.head.layer.weight.mul_(20)
        features = network.trunk(states(1024)["observation"])
    before = values(network, states(1024))[0]
    support._move((-50.0, 100.0), states(1024))
    error = values(network, states(1024))[0] - before
    assert error.abs().mean() > 0.02
    along = (features.T @ error).abs() / features.sum(0).clamp(min=1.0).unsqueeze(-1)  # the error where a feature is on
    assert along.max() < 0.2 * error.abs().mean()
    assert error.mean(0).abs().max() < 0.1 * error.abs().mean()


def test_a_support_inside_which_returns_stay_is_not_moved_and_one_that_is_given_is_only_watched():
    support = support_of(partial(CategoricalHead, v_min=0.0, v_max=2.0), gamma=0.5)
    add(support, [1.0])
    assert (support.fit(states), support.warning()) == (None, None)
    add(support, [4.0, 4.0])
    assert support.fit(states) is None
    assert support.warning() == (
        "returns range from 1 to 6, but the head's support from 0 to 2; widen head.v_min and head.v_max, or set them "
        "to auto"
    )
    assert support.warning() is None
    assert support.bounds == (0.0, 2.0)


def test_a_fixed_support_is_compared_with_an_episode_that_never_ends():
    support = support_of(partial(CategoricalHead, v_min=-20.0, v_max=0.0))
    for _ in range(3):
        following = {"reward": torch.ones(1, 1), "done": torch.zeros(1, 1), "truncated": torch.zeros(1, 1)}
        support.add(TensorDict({"env": [0], "next": following}, [1]))
    assert "returns range from 1 to 2.71, but the head's support from -20 to 0" in support.warning()


def test_one_given_end_stays_and_returns_beyond_it_are_warned_of():
    support = support_of(auto(v_max=0.0))
    add(support, [-8.0], [5.0])
    assert support.fit(states) is not None
    assert support.bounds == pytest.approx((-14.5, 0.0))
    assert "widen head.v_min and head.v_max" in support.warning()
    beyond = support_of(auto(v_max=0.0))
    add(beyond, [7.0], [5.0])
    beyond.fit(states)
    assert beyond.bounds == (-1.0, 0.0)


def test_a_support_resumes_from_its_state():
    one, other = support_of(auto()), support_of(auto())
    add(one, [1.0], [9.0])
    one.fit(states)
    other._loss.load_state_dict(one._loss.state_dict())
    other.load_state_dict(one.state_dict())
    for support in (one, other):
        add(support, [400.0])
        support.fit(states)
    assert one.bounds == other.bounds
    for a, b in zip(one._loss.state_dict().values(), other._loss.state_dict().values(), strict=True):
        assert torch.equal(a, b)


TASKS = {
    "costs": {"step": -1.0, "goal": 0.0},  # the best return is −4, the worst −30
    "thousands": {"step": -100.0, "goal": 5000.0},
    "thousandths": {"step": -0.001, "goal": 0.02},
    "far": {"cells": 12, "step": -0.1, "goal": 100.0},  # seldom reached during the warm-up
}


@pytest.mark.parametrize("task", TASKS)
def test_tasks_of_other_scales_are_learnt_as_well_as_by_the_quantile_head(tmp_path, task):
    score = {}
    quantile = partial(QuantileHead, num_quantiles=16)
    for name, head in {"quantile": quantile, **{name: auto(head) for name, head in HEADS.items()}}.items():
        options = {"kwargs": TASKS[task]}
        runner = make_runner(
            tmp_path / name, "qframe-test/Corridor-v0", head=head, env_options=options, seed=1, total_frames=700,
            lr=1e-2, tau=0.2,
        )  # fmt: skip
        score[name] = runner.run()["eval_return_mean"]
    worst = 30 * TASKS[task]["step"]
    for name in HEADS:
        assert score[name] >= score["quantile"] - 0.1 * (score["quantile"] - worst), score


def test_a_run_says_which_support_it_has_and_logs_it(tmp_path, capsys):
    words = ["head=categorical", "total_frames=1500", "evaluation.final_episodes=1", "compile=false"]
    assert main(["train", *words, f"hydra.run.dir={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "head.v_min is now 1 and head.v_max is now 100" in shown
    assert '"head/v_min": 1.0, "head/v_max": 100.0' in (tmp_path / "metrics.jsonl").read_text()


def test_a_support_that_is_too_narrow_is_warned_of_on_the_console(tmp_path, capsys):
    words = ["head=categorical", "head.v_max=5", "head.v_min=0", "total_frames=1500", "evaluation.final_episodes=1"]
    assert main(["train", *words, f"hydra.run.dir={tmp_path}"]) == 0
    assert "but the head's support from 0 to 5; widen head.v_min and head.v_max" in capsys.readouterr().out


def test_a_widened_support_is_in_the_checkpoint_and_in_exported_policies(tmp_path, capsys):
    words = [
        "env=gymnasium", "env.id=qframe-test/Corridor-v0", "env.kwargs={cells: 12, step: -0.1, goal: 100.0}",
        "head=categorical", "total_frames=2000", "runner.learning_starts=100", "evaluation.final_episodes=1", "seed=1",
    ]  # fmt: skip
    assert main(["train", *words, "compile=false", f"hydra.run.dir={tmp_path}"]) == 0
    assert capsys.readouterr().out.count("head.v_max is now") > 1
    last = [line for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if "head/v_max" in line][-1]
    learnt = load(tmp_path, last=True).network.head.support
    assert learnt[-1].item() == pytest.approx(json.loads(last)["head/v_max"])
    for form in FORMATS:
        assert main(["export", str(tmp_path), "--last", "--format", form, "--out", str(tmp_path / form)]) == 0
        assert "actions equal on" in capsys.readouterr().out
        observation, mask = torch.eye(12)[:5], torch.ones(5, 2, dtype=torch.bool)
        value = torch.as_tensor(FORMATS[form].load(tmp_path / form)(observation, mask)[1])
        network = load(tmp_path, last=True).network
        with torch.no_grad():
            assert torch.allclose(value, network.head.value(network.predict(observation)), rtol=1e-4)
