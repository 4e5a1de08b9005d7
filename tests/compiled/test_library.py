"""Functions as native code: the same results, changes in place, and what is compiled is found again."""

import re
import shutil
import time

import pytest
import torch
from torch import Tensor

from qframe.compiled import library as native
from qframe.compiled.library import NativeFunction
from qframe.machine.native_code import CACHE_VARIABLE


def step(vector: Tensor, by: Tensor) -> dict[str, list[Tensor]]:
    """Doubles the vector in place."""
    seen = vector + by
    vector.copy_(vector * 2.0)
    return {"seen": [seen, by * 3.0]}


def inputs():
    return [torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0])]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What compiling leaves in the cache that all tests share, where an earlier run may have done it."""
    function = NativeFunction(step, inputs())
    function.wait()
    until = time.monotonic() + 120.0
    while True:
        files = sorted(function._place.parent.glob(f"{function._place.name}*"))
        if len(files) == 2 or time.monotonic() > until:
            return files
        time.sleep(0.5)  # another worker is compiling it too


@pytest.fixture(scope="module")
def compiled(left, cache):
    for file in left:
        shutil.copy(file, cache)
    function = NativeFunction(step, inputs())
    function.wait()
    return function


def test_a_native_function_returns_and_changes_what_the_function_does(compiled):
    given = inputs()
    result = compiled(given)
    assert [tensor.tolist() for tensor in result["seen"]] == [[11.0, 22.0], [30.0, 60.0]]
    assert given[0].tolist() == [2.0, 4.0]
    assert compiled([given[0], torch.zeros(2)])["seen"][0].tolist() == [2.0, 4.0]
    assert given[0].tolist() == [4.0, 8.0]


@pytest.mark.usefixtures("compiled")
def test_the_second_time_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(native, "_Compiling", lambda *arguments: pytest.fail("compiled again"))
    assert NativeFunction(step, inputs())(inputs())["seen"][0].tolist() == [11.0, 22.0]


@pytest.mark.usefixtures("compiled")
def test_a_library_is_unpacked_where_files_can_be_written(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    assert NativeFunction(step, inputs())(inputs())["seen"][0].tolist() == [11.0, 22.0]


def test_only_the_library_and_its_verdict_are_left(left, compiled, cache):
    assert [file.suffix for file in left] == [".pt2", ".json"]
    assert {*cache.iterdir()} == {compiled.library, compiled._verdict}


def test_a_damaged_library_is_compiled_anew(compiled, monkeypatch):
    library = compiled.library
    whole = library.read_bytes()
    started = []

    class Compiling:
        def __init__(self, *arguments):
            started.append(arguments)

        def wait(self, tick=None):
            library.write_bytes(whole)

    monkeypatch.setattr(native, "_Compiling", Compiling)
    for damaged in (b"", whole[: len(whole) // 2], whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:]):
        library.write_bytes(damaged)
        assert NativeFunction(step, inputs())(inputs())["seen"][0].tolist() == [11.0, 22.0]
    assert len(started) == 3


def fingerprint(function, tensors):
    return native._fingerprint(native.trace(function, tensors)[0], tensors, "default")


def test_the_same_function_of_other_inputs_constants_or_threads_is_another(monkeypatch):
    plain = fingerprint(step, inputs())
    assert fingerprint(step, inputs()) == plain
    others = {
        fingerprint(step, [tensor.double() for tensor in inputs()]),
        fingerprint(step, [torch.zeros(3), torch.zeros(3)]),
        fingerprint(step, [torch.zeros(2, 2), torch.zeros(2, 2).t()]),
        fingerprint(lambda a, b: step(a, b * 1.5), inputs()),
        fingerprint(lambda a, b: (step(a, b), torch.tensor([1.0, 2.0]) + b), inputs()),
        fingerprint(lambda a, b: (step(a, b), torch.tensor([1.0, 3.0]) + b), inputs()),
    }
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    others.add(fingerprint(step, inputs()))
    assert len({plain, *others}) == 8


def test_what_reads_a_value_or_a_tensor_that_is_not_an_input_is_refused():
    hidden = torch.ones(2)
    with pytest.raises(Exception, match="FakeTensor"):
        native.trace(lambda x: x + hidden, [torch.ones(2)])
    with pytest.raises(Exception, match="data-dependent|item|guard"):
        native.trace(lambda x: x if x.sum() > 0 else -x, [torch.ones(2)])


def compiled_by(script, tmp_path, monkeypatch):
    """A function whose compiler is a script."""
    compiler = tmp_path / "compiler.py"
    compiler.write_text(script)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(native, "COMPILER", compiler)
    return NativeFunction(step, inputs())


def test_the_compilers_last_words_are_reported(tmp_path, monkeypatch):
    function = compiled_by("raise SystemExit('first\\nno space left')", tmp_path, monkeypatch)
    with pytest.raises(RuntimeError, match=re.escape("no space left")):
        function.wait()
    assert not list((tmp_path / "cache").iterdir())


def test_a_compiler_that_writes_nothing_is_not_asked_for_ever(tmp_path, monkeypatch):
    function = compiled_by("", tmp_path, monkeypatch)
    with pytest.raises(RuntimeError, match="the library just written to .* is damaged; check the disk"):
        function.wait()


def test_the_compiling_process_ends_with_the_function(tmp_path, monkeypatch):
    function = compiled_by("import time; time.sleep(60)", tmp_path, monkeypatch)
    assert function._compiling is not None
    process = function._compiling._process
    del function
    assert process.poll() is not None
