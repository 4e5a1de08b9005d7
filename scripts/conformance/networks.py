"""Networks with copied weights, distributions, operators, and the schedule of ε."""

import torch
import torchrl.data as reference_data
import torchrl.modules as reference
from record import Record
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, set_interaction_type
from torch import nn

import qframe.actions
import qframe.exploration
import qframe.modules
import qframe.networks

CASES = 2000


def compare(record: Record) -> None:
    """All of this file."""
    torch.manual_seed(2)
    _networks(record)
    _noisy(record)
    _distributions(record)
    _operators(record)
    _epsilon(record)


def _networks(record: Record) -> None:
    x, image = torch.randn(CASES, 6), torch.rand(60, 3, 40, 40)
    tanh = {"activation_class": nn.Tanh}
    ours = qframe.networks.MLP(6, 4, [32, 16], **tanh)
    theirs = reference.MLP(in_features=6, out_features=4, num_cells=[32, 16], **tanh)
    _same(record, "MLP", ours, theirs, x)
    ours = qframe.networks.MLP(6, (5, 3), 16, 2, **tanh)
    theirs = reference.MLP(in_features=6, out_features=torch.Size((5, 3)), num_cells=16, depth=2, **tanh)
    _same(record, "MLP of a shape", ours, theirs, x)
    shape = {"num_cells": [8, 8], "kernel_sizes": [5, 3], "strides": [2, 1], "activation_class": nn.ELU}
    ours, theirs = qframe.networks.ConvNet(3, **shape), reference.ConvNet(in_features=3, **shape)
    _same(record, "ConvNet", ours, theirs, image)
    cells = {"num_cells": [16], "activation_class": nn.ReLU}
    ours = qframe.modules.DuelingMlpDQNet(6, 4, num_cells=(32,), stream_cells=(16,), activation_class=nn.ReLU)
    theirs = reference.models.models.DuelingMlpDQNet(
        4, mlp_kwargs_feature={"in_features": 6, "depth": 0, "out_features": 32, "activation_class": nn.ReLU,
                               "activate_last_layer": True, "num_cells": []},
        mlp_kwargs_output={**cells, "in_features": 32},
    )  # fmt: skip
    _same(record, "DuelingMlpDQNet", ours, theirs, x)


def _same(record: Record, part: str, ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            own.copy_(other)
        record.compare(part, ours(x), theirs(x), len(x))


def _noisy(record: Record) -> None:
    ours, theirs = qframe.networks.NoisyLinear(5, 4), reference.NoisyLinear(5, 4)
    weights = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, own in ours.named_parameters():
            record.same("NoisyLinear: shapes", tuple(own.shape), tuple(weights[name].shape))
            own.copy_(weights[name])
    record.compare("NoisyLinear: σ₀", ours.weight_sigma, theirs.weight_sigma)
    x = torch.randn(1, 5)
    for library_layer in (ours, theirs):
        library_layer.eval()
    with set_interaction_type("deterministic"):
        record.compare("NoisyLinear in evaluation", ours(x.expand(CASES, 5)), theirs(x.expand(CASES, 5)), CASES)
    moments = []
    for layer in (ours.train(), theirs.train()):
        drawn = []
        for _ in range(20_000):
            layer.reset_noise()
            with torch.no_grad(), set_interaction_type("random"):
                drawn.append(layer(x)[0])
        moments.append(torch.stack(drawn))
    scale = moments[1].std(0)
    alike = ((moments[0].mean(0) - moments[1].mean(0)).abs() / scale < 0.05) & (
        (moments[0].std(0) / scale - 1).abs() < 0.05
    )
    record.compare("NoisyLinear: mean and spread of draws, to .05", alike, torch.ones(4, dtype=torch.bool), 20_000)


def _distributions(record: Record) -> None:
    features = 3 * torch.randn(CASES, 6)
    own, other = qframe.modules.NormalParamExtractor()(features), reference.NormalParamExtractor()(features)
    for mine, theirs in zip(own, other, strict=True):
        record.compare("NormalParamExtractor", mine, theirs, CASES)
    loc, scale = torch.randn(CASES, 3), torch.rand(CASES, 3) + 0.1
    for low, high in ((-1.0, 1.0), (0.0, 2.0)):
        ours = qframe.modules.TanhNormal(loc, scale, low=low, high=high)
        theirs = reference.TanhNormal(loc, scale, low=low, high=high)
        action = ours.deterministic_sample
        record.compare("TanhNormal: deterministic_sample", action, theirs.deterministic_sample, CASES)
        action = action.clamp(low + 0.02, high - 0.02)
        record.compare("TanhNormal: log_prob", ours.log_prob(action), theirs.log_prob(action), CASES)


def _operators(record: Record) -> None:
    x = TensorDict({"observation": torch.randn(CASES, 4), "action": torch.randn(CASES, 2)}, [CASES])
    hidden, policy = nn.Linear(4, 8), nn.Linear(8, 2)
    value, pair = nn.Linear(8, 1), nn.Bilinear(8, 2, 1)
    built = []
    for library in (qframe.modules, reference):
        trunk = library.SafeModule(hidden, in_keys=["observation"], out_keys=["hidden"])
        actor = library.Actor(policy, in_keys=["hidden"])
        state = library.ValueOperator(value, in_keys=["hidden"])
        both = library.ValueOperator(pair, in_keys=["hidden", "action"])
        built.append([
            library.ActorValueOperator(trunk, actor, state), library.ActorCriticOperator(trunk, actor, both),
            library.ActorCriticWrapper(library.Actor(nn.Sequential(hidden, policy)),
                                       library.ValueOperator(nn.Sequential(hidden, value))),
        ])  # fmt: skip
    getters = ("get_policy_operator", "get_value_operator", "get_policy_head", "get_value_head")
    critic = (None, "get_policy_operator", "get_critic_operator", "get_policy_head", "get_value_head")
    for ours, theirs in zip(*built, strict=True):
        part = type(theirs).__name__
        for getter in critic if part == "ActorCriticOperator" else (None, *getters):
            own, other = ((o if getter is None else getattr(o, getter)()) for o in (ours, theirs))
            record.same(f"{part}: keys", (own.in_keys, own.out_keys), (list(other.in_keys), list(other.out_keys)))
            rows = x.clone()
            rows["hidden"] = torch.randn(CASES, 8)
            answers = own(rows.clone()), other(rows.clone())
            for key in other.out_keys:
                record.compare(part, answers[0][key], answers[1][key], CASES)
    layer = TensorDictModule(nn.Linear(4, 1), in_keys=["observation"], out_keys=["state_value"])
    record.same("state_value is written by a ValueOperator", built[0][2].get_value_operator().out_keys, layer.out_keys)


def _epsilon(record: Record) -> None:
    ours = qframe.exploration.EGreedyModule(qframe.actions.Categorical(4), 1.0, 0.1, 500)
    theirs = reference.EGreedyModule(reference_data.Categorical(4), 1.0, 0.1, 500)
    for _ in range(600):
        ours.step(1)
        theirs.step(1)
        record.compare("EGreedyModule: ε frame by frame", ours.epsilon, float(theirs.eps))
    greedy = TensorDict({"action": torch.zeros(100_000, dtype=torch.int64)}, [100_000])
    shares = [module(greedy.clone())["action"].bincount(minlength=4) / len(greedy) for module in (ours, theirs)]
    apart = (shares[0] - shares[1]).abs() < 0.01
    record.compare("EGreedyModule: share of each action, to .01", apart, torch.ones(4, dtype=torch.bool), 100_000)
