import pytest

from tests.config.toy import enter


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A small configuration folder and a builder to go with it; the current folder is a temporary one."""
    return enter(tmp_path, monkeypatch)
