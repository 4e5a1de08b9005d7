"""The site builds without a warning and loads nothing from elsewhere; its reference has every key of ``conf/``."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qframe.cli.main import COMMANDS
from scripts import docs_reference

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path for path in docs_reference.CONF.rglob("*.yaml") if path.parts[-2] not in ("sweeper", "launcher", "conf")
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_no_page_loads_anything_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        loaded = re.findall(r'<(?:script|img|iframe|source|video)[^>]* src="?(https?:[^" >]+)', text)
        loaded += re.findall(r'<link[^>]* rel="?(?:stylesheet|preconnect)"?[^>]* href="?(https?:[^" >]+)', text)
        assert not loaded, page


def test_every_command_and_package_has_its_reference(site):
    text = (site / "reference" / "cli.html").read_text()
    assert all(f"qframe {command}" in text for command in COMMANDS)
    assert "ScalarHead" in (site / "reference" / "python" / "heads.html").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT / "conf")))
def test_the_reference_lists_every_key_of_a_file(file):
    text = file.read_text()
    table = docs_reference.key_table(text)
    for key in keys(yaml.safe_load(text)):
        assert f"| `{key}` |" in table, key


def keys(node, prefix=""):
    for key, value in node.items():
        if key in ("_target_", "defaults", "hydra"):
            continue
        yield f"{prefix}{key}"
        if isinstance(value, dict) and "_target_" in value:
            yield from keys(value, f"{prefix}{key}.")
