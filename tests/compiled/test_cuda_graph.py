"""Updates as a CUDA graph: what is copied in and out, played on the CPU; the graph itself where there is a GPU."""

import pytest
import torch

from qframe.compiled import cuda_graph as captured
from qframe.compiled import update as compiled
from qframe.compiled.cuda_graph import CapturedFunction
from qframe.compiled.library import trace
from qframe.heads import ImplicitQuantileHead
from qframe.replay import ReplayBuffer
from tests.compiled.test_update import check_equal
from tests.runners import prioritized


class Played(CapturedFunction):
    """Fixed places for inputs and outputs as a CUDA graph has them, the operations run as they are."""

    def _record(self, graph):
        outputs = graph(*captured.scratch_of(graph, self._inputs))

        def replay():
            for output, value in zip(outputs, graph(*self._inputs), strict=True):
                output.copy_(value)

        return replay, outputs


def test_inputs_elsewhere_are_copied_in_and_outputs_are_kept_apart():
    total = torch.zeros(3)

    def function(total, step):
        total += step
        return {"total": total * 1, "twice": 2 * step}

    played = Played(function, [total, torch.ones(3)])
    assert total.tolist() == [0, 0, 0]
    first = played([total, torch.ones(3)])
    second = played([total, torch.full((3,), 5.0)])
    assert total.tolist() == [6, 6, 6]
    assert (first["total"].tolist(), first["twice"].tolist()) == ([1, 1, 1], [2, 2, 2])
    assert (second["total"].tolist(), second["twice"].tolist()) == ([6, 6, 6], [10, 10, 10])


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"updates": 4, "steps": 8},
        {"replay": prioritized(ReplayBuffer)},
        {"head": ImplicitQuantileHead, "noisy": True},
    ],
)
def test_updates_from_fixed_places_are_the_eager_ones(monkeypatch, choices):
    monkeypatch.setattr(compiled, "CapturedFunction", Played)
    check_equal(how="cuda_graph", **choices)


def test_only_inputs_that_are_written_to_are_copied():
    def function(total, parts, pieces, out, step):
        total += step
        parts.view(3, 2)[1].mul_(2)
        pieces.split(2)[1].add_(1)
        torch.add(step, 1, out=out)
        return (step * 2).add_(1)

    inputs = [torch.zeros(3), torch.ones(6), torch.ones(4), torch.zeros(3), torch.ones(3)]
    graph, _ = trace(function, inputs)
    scratch = captured.scratch_of(graph, inputs)
    assert [given is own for given, own in zip(scratch, inputs, strict=True)] == [False, False, False, False, True]
    graph(*scratch)
    assert [tensor.tolist() for tensor in inputs] == [[0] * 3, [1] * 6, [1] * 4, [0] * 3, [1] * 3]


def test_an_input_on_another_device_would_be_a_constant_and_is_refused():
    with pytest.raises(ValueError, match="inputs are on cpu and meta; move them to one device"):
        Played(lambda total, step: total + step, [torch.zeros(3), torch.zeros((), device="meta")])


def test_a_device_without_graphs_is_refused():
    with pytest.raises(ValueError, match="compile=cuda_graph needs a CUDA device, not cpu; set compile=true"):
        captured.check_capturable(torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
def test_a_recorded_graph_replays_the_function():
    total = torch.zeros(3, device="cuda")

    def function(total, step):
        total += step
        return 2 * step

    recorded = CapturedFunction(function, [total, torch.ones(3, device="cuda")])
    assert total.tolist() == [0, 0, 0]
    assert recorded([total, torch.full((3,), 5.0, device="cuda")]).tolist() == [10, 10, 10]
    assert total.tolist() == [5, 5, 5]
