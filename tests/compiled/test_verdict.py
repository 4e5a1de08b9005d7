"""Compiled code is compared with its function before its first use; code that differs is never used."""

import json
from pathlib import Path

import pytest
import torch

from qframe.compiled import cuda_graph as captured
from qframe.compiled import library as native
from qframe.compiled import update as compiled
from qframe.compiled.cuda_graph import CapturedFunction
from qframe.compiled.library import NativeFunction, trace
from qframe.compiled.verdict import COARSE, EXACT, Comparison, Verdict, precision_of
from qframe.heads import HLGaussHead
from qframe.machine.native_code import CACHE_VARIABLE, checksum
from tests.compiled.test_update import check_equal, learner


def gradient_step(vector, x):
    """Moves the vector down a gradient and returns the loss."""
    loss = (vector * x).sum() ** 2
    vector.sub_(0.1 * 2 * (vector * x).sum() * x)
    return [loss]


def inputs():
    return [torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, 0.1, 2.0])]


def is_wrong(vector, x):
    """The loss is right, and the gradient is not."""
    loss = (vector * x).sum() ** 2
    vector.sub_(0.1 * 2 * (vector * x).sum() * x.flip(0))
    return [loss]


def compare(found, function=gradient_step, given=None, **options):
    given = inputs() if given is None else given
    graph, _ = trace(function, given)
    return Comparison(**options)(function, lambda tensors: found(*tensors), given, graph)


class Compiler:
    """Compiles at once, in some ways wrongly: the wrong code returns what is right and changes its first input more."""

    def __init__(self, wrong, monkeypatch, folder):
        self.wrong, self.graphs, self.compiled = wrong, {}, []
        monkeypatch.setenv(CACHE_VARIABLE, str(folder))
        monkeypatch.setattr(native, "_Compiling", self.start)
        monkeypatch.setattr(native, "_load", self.load)

    def start(self, graph, layouts, place, way):
        self.compiled.append(way)
        place.write_text(f"{place.name} {way}")
        library = place.rename(f"{place}-{checksum(place)}.pt2")
        self.graphs[library.name] = graph
        return self

    def wait(self, tick=None):
        pass

    def load(self, library, gpu):
        graph, way = self.graphs[library.name], library.read_text().split()[1]

        def wrong(tensors):
            before = tensors[0].clone()
            outputs = graph(*tensors)
            tensors[0].add_(0.5 * (tensors[0] - before))
            return outputs

        return wrong if way in self.wrong else lambda tensors: graph(*tensors)


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    return lambda *wrong: Compiler(wrong, monkeypatch, tmp_path)


def files(folder, suffix):
    return [file for file in Path(folder).iterdir() if file.suffix == suffix]


def run(**options):
    given = inputs()
    function = NativeFunction(gradient_step, given, Comparison(**options))
    (loss,) = function(given)
    right = inputs()
    assert torch.equal(loss, gradient_step(*right)[0])
    torch.testing.assert_close(given[0], right[0])


def test_code_that_is_right_is_compared_once_and_the_verdict_is_kept(compiler, tmp_path, monkeypatch):
    made = compiler()
    run()
    (file,) = files(tmp_path, ".json")
    entry = json.loads(file.read_text())
    assert entry == {
        "library": files(tmp_path, ".pt2")[0].name, "torch": torch.__version__, "agrees": True,
        "difference": pytest.approx(0.0, abs=1e-6), "tolerance": EXACT.tolerance,
    }  # fmt: skip
    monkeypatch.setattr(Comparison, "__call__", lambda *arguments: pytest.fail("compared again"))
    run()
    assert made.compiled == ["default"]


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"agrees": true}', '{"library": 1, "agrees": 1, "difference": "x"}']
)
def test_a_damaged_verdict_is_made_again(compiler, tmp_path, damage):
    compiler()
    run()
    (file,) = files(tmp_path, ".json")
    whole = file.read_text()
    file.write_text(damage)
    run()
    assert file.read_text() == whole


def test_the_verdict_on_another_library_counts_for_nothing(compiler, tmp_path):
    compiler()
    run()
    (file,) = files(tmp_path, ".json")
    entry = json.loads(file.read_text())
    file.write_text(json.dumps(entry | {"library": "another.pt2"}))
    run()
    assert json.loads(file.read_text()) == entry


def test_a_cache_that_cannot_be_written_costs_a_comparison_and_nothing_else(tmp_path):
    Verdict(agrees=True, difference=0.0, tolerance=0.1).write(tmp_path / "none" / "verdict.json", "library.pt2")
    assert Verdict.read(tmp_path / "none" / "verdict.json") is None


WRONG = r"with TD0 gives wrong results when compiled; it is compiled again with fewer optimizations \(torch 2\.[^ ]+\)$"
UNCOMPILED = r"with TD0 gives wrong results when compiled; it runs uncompiled, which is slower \(torch 2\.[^ ]+\)$"


def test_wrong_code_is_deleted_and_compiled_in_another_way_with_one_warning(compiler, tmp_path):
    made = compiler("default")
    with pytest.warns(UserWarning, match=f"^the update of HLGaussHead {WRONG}") as warned:
        run(name="the update of HLGaussHead with TD0")
    assert len(warned) == 1
    assert len(files(tmp_path, ".pt2")) == 1
    assert len(files(tmp_path, ".json")) == 2
    run()  # without a warning
    assert made.compiled == ["default", "unfused"]


def test_where_all_code_is_wrong_the_function_itself_is_called(compiler, tmp_path):
    made = compiler("default", "unfused")
    with pytest.warns(UserWarning, match=f"{WRONG}|{UNCOMPILED}") as warned:
        run(name="the update of HLGaussHead with TD0")
    assert len(warned) == 2
    with pytest.warns(UserWarning, match=UNCOMPILED):
        run(name="the update of HLGaussHead with TD0")
    assert not files(tmp_path, ".pt2")
    assert made.compiled == ["default", "unfused"]


@pytest.mark.parametrize("wrong", [("default",), ("default", "unfused")])
def test_training_continues_with_the_right_numbers(compiler, wrong):
    compiler(*wrong)
    with pytest.warns(UserWarning, match=f"the update of HLGaussHead ({WRONG}|{UNCOMPILED})"):
        check_equal(steps=7, updates=3, head=lambda f, a: HLGaussHead(f, a, num_atoms=11))


def test_comparing_disturbs_nothing(compiler, tmp_path):
    compiler()
    part = learner(compiled=True, noisy=True, updates=3)

    def state():
        tensors = {**torch.nn.Module.state_dict(part.loss), **part.optimizer.tensors()}
        generators = (torch.default_generator, part.loss.generator, part.replay.generator)
        return [tensor.clone() for tensor in tensors.values()] + [generator.get_state() for generator in generators]

    before = state()
    part.wait(lambda text: None)
    assert all(map(torch.equal, before, state()))
    assert files(tmp_path, ".json")


def test_rounding_agrees_and_a_wrong_gradient_beside_a_right_loss_does_not():
    assert compare(lambda vector, x: gradient_step(vector, x * (1 + 1e-6))).agrees
    assert compare(gradient_step) == Verdict(agrees=True, difference=0.0, tolerance=1e-4)
    wrong = compare(is_wrong)
    assert not wrong.agrees
    assert wrong.difference > 0.5


def test_every_tensor_that_a_vector_stands_for_is_compared_by_its_own_size():
    def function(x):
        return [torch.cat([1e3 * x, x])]

    def slightly_wrong(x):
        return [torch.cat([1e3 * x, x + 0.05])]

    given = [torch.tensor([1.0, 2.0])]
    assert compare(slightly_wrong, function, given).agrees
    assert not compare(slightly_wrong, function, given, split=lambda tensor: tensor.split(2)).agrees


def test_what_rounding_makes_of_a_result_is_allowed():
    def function(vector, x):  # as Adam's first step: a sign, here of rounding errors
        return [((vector + x) - x - vector).sign(), vector * 2]

    given = [torch.linspace(0.1, 1.0, 200), torch.full((200,), 1000.0)]

    def rounded(vector, x):
        signs, twice = function(vector, x)
        return [signs * torch.where(torch.arange(200) % 5 == 0, -1.0, 1.0), twice]

    assert not compare(rounded, function, given).agrees
    assert compare(rounded, function, given, parameters=1).agrees


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_stand_in_the_same_places(value):
    def function(x, odd):
        return [torch.stack([x.sum(), odd, x.prod()])]

    given = [torch.tensor([1.0, 2.0]), torch.tensor(value)]
    assert compare(function, function, given, parameters=1).agrees
    assert not compare(lambda x, odd: [torch.stack([odd, x.sum(), x.prod()])], function, given).agrees
    assert not compare(lambda x, odd: [torch.stack([x.sum(), odd, 2 * x.prod()])], function, given).agrees


def test_random_operations_are_compared_on_equal_draws():
    def function(x):
        return [torch.nn.functional.dropout(x, 0.5)]

    state = torch.get_rng_state()
    assert compare(function, function, [torch.ones(50)]).agrees
    assert torch.equal(torch.get_rng_state(), state)


def test_16_bits_are_compared_less_closely():
    exact, _ = trace(lambda x: x * 2, [torch.ones(2)])
    coarse, _ = trace(lambda x: (x.bfloat16() * 2).float(), [torch.ones(2)])
    assert (precision_of(exact), precision_of(coarse)) == (EXACT, COARSE)


class PlayedWrongly(CapturedFunction):
    """A CUDA graph that leaves its first input changed too much, on the CPU."""

    def _record(self, graph):
        outputs = graph(*captured.scratch_of(graph, self._inputs))

        def replay():
            before = self._inputs[0].clone()
            for output, value in zip(outputs, graph(*self._inputs), strict=True):
                output.copy_(value)
            self._inputs[0].add_(0.5 * (self._inputs[0] - before))

        return replay, outputs


def test_a_wrong_cuda_graph_is_not_replayed():
    given = inputs()
    with pytest.warns(UserWarning, match="^the update gives wrong results as a CUDA graph; it runs without one, which"):
        function = PlayedWrongly(gradient_step, given, Comparison("the update"))
    assert torch.equal(given[0], inputs()[0])
    right = inputs()
    assert torch.equal(function(given)[0], gradient_step(*right)[0])
    assert torch.equal(given[0], right[0])


def test_training_continues_without_a_wrong_cuda_graph(monkeypatch):
    monkeypatch.setattr(compiled, "CapturedFunction", PlayedWrongly)
    with pytest.warns(UserWarning, match=r"the update of ScalarHead with TD0 gives wrong results as a CUDA graph"):
        check_equal(how="cuda_graph", updates=2)
