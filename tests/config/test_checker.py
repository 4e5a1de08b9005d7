import pytest

from qframe.config.checker import Checker, described
from qframe.config.targets import resolve

KEYS = "valid: bias, kind, limit, mode"
TRUNK = "part.trunk: expected a mapping with _target_ that builds a Trunk"

pytestmark = pytest.mark.usefixtures("toy")


def checked(node, provided=None):
    checker = Checker(provided or {"part": frozenset({"num_actions"})})
    result = checker.node(node, "part")
    return result, [str(fault) for fault in checker.faults]


def head(**keys):
    return checked({"_target_": "toy_parts.Head", **keys})


@pytest.mark.parametrize(
    ("written", "meant"),
    [(3, 3), (1e6, 1_000_000), ("1M", 1_000_000), ("50k", 50_000), ("1_000_000", 1_000_000), ("1e3", 1000)],
)
def test_an_integer_may_be_written_in_many_ways(written, meant):
    result, faults = head(limit=written)
    assert faults == []
    assert result["limit"] == meant
    assert type(result["limit"]) is int


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"limit": 1.5}, "part.limit: expected an integer (e.g. 1000, 1e6, 50k or 1M) or null, got 1.5"),
        ({"limit": True}, "part.limit: expected an integer (e.g. 1000, 1e6, 50k or 1M) or null, got true"),
        ({"limit": "many"}, "part.limit: expected an integer (e.g. 1000, 1e6, 50k or 1M) or null, got 'many'"),
        ({"bias": 1}, "part.bias: expected true or false, got 1"),
        ({"bias": None}, "part.bias: expected true or false, got null"),
        ({"kind": "bth"}, "part.kind: expected one of a, b, both, got 'bth'; nearest is 'both'"),
        ({"kind": 3}, "part.kind: expected one of a, b, both, got 3"),
        ({"kin": "a"}, f"part.kin: unknown key of toy_parts.Head; nearest is 'part.kind' ({KEYS})"),
        ({"num_actions": 2}, "part.num_actions: this is filled in by qframe, not by the config; remove it"),
        ({"_partial_": True}, f"part._partial_: unknown key of toy_parts.Head; {KEYS}"),
    ],
)
def test_each_wrong_value_is_reported_in_one_line(keys, message):
    assert head(**keys)[1] == [message]


def test_all_faults_of_a_node_are_reported_at_once():
    assert len(head(bias="no", limit=0.5, kin="a", kind="c")[1]) == 4


def test_a_missing_argument_is_reported_with_its_type():
    assert checked({"_target_": "toy_parts.Env"})[1] == ["part.id: missing: toy_parts.Env needs text; set part.id=…"]
    assert checked({})[1] == ["part._target_: missing: name a class, such as qframe.networks.MLP"]


def test_a_whole_number_is_a_number():
    result, faults = checked({"_target_": "toy_parts.Net", "trunk": {"_target_": "toy_parts.Trunk"}, "dropout": 1})
    assert faults == []
    assert repr(result["dropout"]) == "1.0"


def test_nested_nodes_and_lists_are_checked_at_their_place():
    node = {"_target_": "toy_parts.Net", "trunk": {"_target_": "toy_parts.Trunk", "sizes": ["1k", "x"], "width": 3}}
    result, faults = checked(node)
    assert result["trunk"]["sizes"] == [1000, "x"]
    assert faults == [
        "part.trunk.sizes[1]: expected an integer (e.g. 1000, 1e6, 50k or 1M), got 'x'",
        "part.trunk.width: unknown key of toy_parts.Trunk; valid: activation, sizes",
    ]


@pytest.mark.parametrize(
    ("trunk", "message"),
    [
        (3, f"{TRUNK}, got 3"),
        ({"sizes": [1]}, f"{TRUNK}, got a mapping without _target_"),
        ({"_target_": "toy_parts.Part"}, f"{TRUNK}, got toy_parts.Part"),
        (
            {"_target_": "toy_parts.Trunk", "activation": "toy_parts.Part"},
            "part.trunk.activation: expected the dotted name of a class under Module, got 'toy_parts.Part'",
        ),
    ],
)
def test_a_part_must_build_what_the_parameter_wants(trunk, message):
    assert checked({"_target_": "toy_parts.Net", "trunk": trunk})[1] == [message]


def test_arguments_passed_on_to_a_base_class_are_known():
    node = {"_target_": "toy_parts.DeepTrunk", "depth": 2, "sizes": [1]}
    assert checked(node)[1] == []
    assert "unknown key" in checked({**node, "size": [1]})[1][0]


def test_a_function_that_waits_for_arguments_misses_none():
    algorithm = {"_target_": "torch.optim.Adam", "ep": 1e-8}
    _, faults = checked({"_target_": "toy_parts.Optimizer", "algorithm": algorithm, "betas": [0.9]})
    assert faults[0].startswith("part.algorithm.ep: unknown key of torch.optim.Adam; nearest is 'part.algorithm.eps'")
    assert faults[1:] == ["part.betas: expected a list of 2: a number, a number, got [0.9]"]
    assert checked({"_target_": "toy_parts.Optimizer", "algorithm": {"_target_": "torch.optim.Adam"}})[1] == []


def test_what_is_called_without_arguments_needs_none():
    faults = {}
    for name in ("Linear", "PReLU"):
        node = {"_target_": "qframe.networks.MLPTrunk", "num_cells": [4], "activation": f"torch.nn.{name}"}
        faults[name] = [fault for fault in checked(node)[1] if "activation" in fault]
    called = "part.activation: 'torch.nn.Linear' is called without arguments, and needs in_features and out_features"
    assert faults == {"Linear": [called], "PReLU": []}


def test_mappings_and_enums():
    node = {"_target_": "toy_parts.Optimizer", "algorithm": "torch.optim.Adam", "names": {"a": "1k"}}
    assert checked(node)[0]["names"] == {"a": 1000}
    assert checked({**node, "names": [1]})[1] == ["part.names: expected a mapping or null, got [1]"]
    assert described(resolve("toy_parts.Mode")) == "one of FAST, SLOW"
