"""A mkdocs hook that generates the site's Reference pages from ``conf/``, ``--help`` and the docstrings."""

import argparse
import re
from functools import partial
from pathlib import Path

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from qframe.cli.arguments import COMMANDS, Parser

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
AS_FILES = ("experiment", "sweep", "hydra")
"""Groups whose options choose among the others': their files are shown whole."""
PACKAGES = (
    "training", "envs", "actions", "networks", "heads", "exploration", "estimators", "objectives", "replay",
    "optimizer", "compiled", "checkpoints", "loggers", "runs", "export", "functional", "modules",
)  # fmt: skip
LINE = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?: +(?P<value>[^#]*?))?(?: *# *(?P<comment>.*))?$")
EXIT_STATUSES = """
| exit status | meaning |
|---|---|
| 0 | done |
| 1 | a fault of qframe or of the environment, with a traceback; `bench`: score missed; `rerun`: results differ |
| 2 | a mistake in the command or the config; nothing was written |
| 130, 143 | stopped by Ctrl-C or SIGTERM, with a checkpoint |
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill in the navigation."""
    nav = [
        {"Command line": "reference/cli.md"},
        {"Configuration": ["reference/config/index.md", *(f"reference/config/{group}.md" for group in groups())]},
        {"Python": [f"reference/python/{package}.md" for package in PACKAGES if (ROOT / "qframe" / package).is_dir()]},
    ]
    assert config.nav is not None
    next(entry for entry in config.nav if isinstance(entry, dict) and "Reference" in entry)["Reference"] = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Docstrings' ``:class:`` and the like are roles of another markup: only the name is shown."""
    return re.sub(r":(?:class|func|meth|mod|attr|data):(?=<code>)", "", html)


def pages() -> dict[str, str]:
    """Every generated page: its path in the site, and its Markdown."""
    return {
        "reference/cli.md": command_line(),
        "reference/config/index.md": top_level(),
        **{f"reference/config/{group}.md": group_page(group) for group in groups()},
        **{f"reference/python/{package}.md": f"# qframe.{package}\n\n::: qframe.{package}\n" for package in PACKAGES},
    }


def command_line() -> str:
    """The help of every command."""
    sections = [f"# Command line\n\nAlso as `python -m qframe`.\n{EXIT_STATUSES}"]
    for name, line in COMMANDS.items():
        formatter = partial(argparse.HelpFormatter, width=90)
        parser = Parser(name, formatter_class=formatter, add_help=False, description=None)
        sections.append(f"## qframe {name}\n\n{line[0].upper()}{line[1:]}.\n\n```text\n{parser.format_help()}```\n")
    return "\n".join(sections)


def top_level() -> str:
    """The keys of ``conf/train.yaml``, and the groups."""
    text = (CONF / "train.yaml").read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)["defaults"]
    chosen = {key: value for entry in defaults if isinstance(entry, dict) for key, value in entry.items()}
    rows = "\n".join(
        f"| [`{group}`]({group}.md) | {chosen.get(group) or '–'} | {' '.join(f'`{name}`' for name in options(group))} |"
        for group in groups()
    )
    return (
        "# Configuration\n\nA run is one option of each group and the keys at the top. "
        "`group=option` chooses, `key=value` changes a key; `qframe check --print` shows the result with the file that "
        f"each value comes from.\n\n## Keys at the top\n\n{key_table(text)}\n\n## Groups\n\n"
        f"| group | default | options |\n|---|---|---|\n{rows}\n"
    )


def groups() -> list[str]:
    """The groups of ``conf/``."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir())


def options(group: str) -> list[str]:
    """The options of a group."""
    return sorted(str(path.relative_to(CONF / group).with_suffix("")) for path in (CONF / group).rglob("*.yaml"))


def group_page(group: str) -> str:
    """Every option of a group with its keys, or its file."""
    sections = [f"# {group}\n\nChosen by `{group}=OPTION`.\n"]
    for option in options(group):
        text = (CONF / group / f"{option}.yaml").read_text(encoding="utf-8")
        comments = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#") and "@package" not in line]
        summary = f"{comments[0].rstrip('.')}." if comments else ""
        body = f"```yaml\n{text}```" if group in AS_FILES else key_table(text, f"{group}.")
        sections.append(f"## {option}\n\n{summary}\n\n{built_from(text)}{body}\n")
    return "\n".join(sections)


def built_from(text: str) -> str:
    """The class that an option builds, and the option that it extends."""
    target = re.search(r"^_target_: (\S+)", text, re.MULTILINE)
    base = re.search(r"^defaults: \[(\w+)", text, re.MULTILINE)
    lines = [f"Builds [`{target[1]}`][{target[1]}]." if target and target[1].startswith("qframe.") else ""]
    lines += [f"Extends `{base[1]}`: its keys hold here too." if base else ""]
    return "".join(f"{line}\n\n" for line in lines if line)


def key_table(text: str, prefix: str = "") -> str:
    """The keys of a file with their defaults and comments as a table."""
    rows, parents = [], {-1: prefix}
    for match in filter(None, map(LINE.match, text.splitlines())):
        indent, key, value, comment = len(match["indent"]), match["key"], match["value"], match["comment"] or ""
        if key in ("defaults", "_target_"):
            continue
        parent = parents[max(level for level in parents if level < indent)]
        parents = {level: name for level, name in parents.items() if level < indent} | {indent: f"{parent}{key}."}
        default = f"`{value}`" if value else ""
        rows.append(f"| `{parent}{key}` | {default} | {comment.replace('|', chr(92) + '|')} |")
    header = "| key | default | meaning |\n|---|---|---|\n"
    return header + "\n".join(rows) if rows else ""
