"""``scripts/seeds_together.py`` and ``scripts/images.py``: the functions that they measure."""

import pytest
import torch
from torch.func import vmap

from scripts import images, seeds_together


def test_an_update_of_several_seeds_is_that_of_each():
    given = seeds_together.inputs(3)
    together = vmap(seeds_together.update)(*given)
    for seed in range(3):
        alone = seeds_together.update(*[tensor[seed] for tensor in given])
        for found, right in zip(together, alone, strict=True):
            torch.testing.assert_close(found[seed], right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("compiled", "status"), [(1.0, 0), (2.0, 1)])
def test_a_network_that_compiling_slows_down_is_marked(compiled, status, monkeypatch, capsys):
    found = {"torch": 1.5, "channels last": 1.2, "compiled": compiled, "compiled by torch": 1.1}
    monkeypatch.setattr(images, "ways", lambda name, dtype: iter(()))
    monkeypatch.setattr(images, "milliseconds", lambda calls: found)
    monkeypatch.setattr("sys.argv", ["images.py", "--networks", "minatar", "--threads", str(torch.get_num_threads())])
    assert images.main() == status
    assert capsys.readouterr().out.count("compiled is slower") == 2 * status


def test_every_way_computes_the_same_gradient(monkeypatch):
    class Uncompiled:
        def __init__(self, function, inputs):
            self.function = function

        def wait(self):
            pass

        def __call__(self, inputs):
            return self.function(*inputs)

    monkeypatch.setattr(images, "NativeFunction", Uncompiled)
    right, *others = [call() for _, call in images.ways("minatar", torch.float32)]
    for found in others:
        for own, other in zip(found, right, strict=True):
            torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-4)
