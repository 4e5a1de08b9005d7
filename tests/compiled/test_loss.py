"""A loss as native code: what the loss itself returns, and its gradients."""

from functools import partial

import pytest
import torch

from qframe.compiled import loss as compiled_loss
from qframe.compiled.loss import CompiledLoss
from qframe.compiled.update import NotCompiled
from qframe.heads import ScalarHead
from qframe.networks import SharedTrunk
from tests.compiled.test_update import HEADS, TracedFunction, learner


@pytest.fixture
def uncompiled(monkeypatch):
    monkeypatch.setattr(compiled_loss, "NativeFunction", TracedFunction)


def batch_of(part):
    batch = part.replay.sample()
    return batch.set("action", part._action_space.decode(batch["action"]))


def gradients(loss, evaluate, batch):
    loss.zero_grad()
    loss.generator.manual_seed(3)
    metrics = evaluate(batch)
    (2.0 * metrics["loss"]).backward()
    kept = [None if param.grad is None else param.grad.clone() for param in loss.parameters()]
    return metrics.detach(), kept, batch[loss.priority_key]


def check_equal(batches=2, **choices):
    part = learner(compiled=False, **choices)
    fast = CompiledLoss(part.loss)
    for _ in range(batches):
        batch = batch_of(part)
        results = [gradients(part.loss, evaluate, batch.clone()) for evaluate in (part.loss, fast)]
        (metrics, own, priority), (fast_metrics, fast_own, fast_priority) = results
        assert set(metrics.keys()) == set(fast_metrics.keys())
        torch.testing.assert_close(metrics.to_dict(), fast_metrics.to_dict())
        torch.testing.assert_close(priority, fast_priority)
        for a, b in zip(own, fast_own, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b)
        part.update()


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("head", HEADS)
def test_metrics_priorities_and_gradients_are_those_of_the_loss_for_every_head(head):
    check_equal(head=HEADS[head])


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("choices", [{"network": SharedTrunk}, {"noisy": True}, {"double": True}, {"target": "none"}])
def test_so_they_are_for_other_networks_and_losses(choices):
    check_equal(**choices)


def test_so_they_are_when_compiled():
    check_equal(head=partial(ScalarHead, loss_function="smooth_l1"))


@pytest.mark.usefixtures("uncompiled")
def test_without_gradients_a_loss_is_a_number():
    part = learner(compiled=False)
    with torch.no_grad():
        assert not CompiledLoss(part.loss)(batch_of(part))["loss"].requires_grad


@pytest.mark.usefixtures("uncompiled")
def test_ever_new_layouts_are_refused():
    part = learner(compiled=False)
    fast = CompiledLoss(part.loss)
    for size in range(2, 10):
        fast(batch_of(part)[:size])
    with pytest.raises(NotCompiled, match=r"more than 8 layouts, last observation \(10, 3\)"):
        fast(batch_of(part)[:10])
