"""The cache of compiled code: where it is, and what happens where nothing can be kept."""

import os
import tempfile
import warnings
from pathlib import Path

import pytest

from qframe.machine import native_code
from qframe.machine.native_code import CACHE_VARIABLE, cache_dir


@pytest.fixture(autouse=True)
def forgotten():
    native_code._writable.cache_clear()
    yield
    native_code._writable.cache_clear()


def set_variables(monkeypatch, **values):
    for name in (CACHE_VARIABLE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))


def test_the_cache_is_in_the_first_folder_that_is_named(monkeypatch, tmp_path):
    set_variables(monkeypatch, HOME=tmp_path)
    assert cache_dir() == tmp_path / ".cache" / "qframe"
    set_variables(monkeypatch, HOME=tmp_path, XDG_CACHE_HOME=tmp_path / "xdg")
    assert cache_dir() == tmp_path / "xdg" / "qframe"
    set_variables(monkeypatch, HOME=tmp_path, **{CACHE_VARIABLE: tmp_path / "own"})
    assert cache_dir() == tmp_path / "own"


@pytest.mark.parametrize("name", [CACHE_VARIABLE, "XDG_CACHE_HOME", "HOME"])
def test_a_folder_that_cannot_be_written_to_is_replaced_by_a_temporary_one_with_one_warning(
    name, monkeypatch, tmp_path
):
    (tmp_path / "file").touch()
    set_variables(monkeypatch, **{name: tmp_path / "file" / "inside"})
    with pytest.warns(UserWarning, match=f"cannot be kept for later runs: Not a directory .*; set {CACHE_VARIABLE} to"):
        folder = cache_dir()
    assert folder.parent == Path(tempfile.gettempdir())
    assert folder.stat().st_mode & 0o777 == 0o700
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache_dir() == folder


def test_in_a_folder_of_another_user_is_one_of_ones_own(monkeypatch, tmp_path):
    own = f"user-{os.geteuid()}"
    monkeypatch.setattr(native_code, "_owner", lambda path: os.geteuid() + (path.name != own))
    set_variables(monkeypatch, **{CACHE_VARIABLE: tmp_path})
    assert cache_dir() == tmp_path / own
    assert cache_dir().stat().st_mode & 0o777 == 0o700


def test_code_that_another_user_compiled_is_not_run(monkeypatch, tmp_path):
    monkeypatch.setattr(native_code, "_owner", lambda path: os.geteuid() + 1)
    set_variables(monkeypatch, **{CACHE_VARIABLE: tmp_path})
    with pytest.warns(UserWarning, match=f"later runs: {tmp_path}/user-.* belongs to another user; set"):
        assert cache_dir().parent == Path(tempfile.gettempdir())


def test_a_user_without_a_home_has_a_temporary_one(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    set_variables(monkeypatch)
    monkeypatch.setattr(Path, "home", home)
    with pytest.warns(UserWarning, match="later runs: could not determine home directory; set"):
        assert cache_dir().is_dir()


def test_a_library_is_left_out_if_there_is_no_folder_at_all(monkeypatch, tmp_path):
    def no_folder(prefix):
        raise FileNotFoundError(2, "No usable temporary directory found")

    set_variables(monkeypatch, HOME=tmp_path / "file" / "inside")
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "mkdtemp", no_folder)
    source = tmp_path / "a.cpp"
    source.write_text("int a;")
    assert native_code.library(source) is None
