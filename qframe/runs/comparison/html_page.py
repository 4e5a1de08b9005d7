"""The HTML page of ``qframe compare``: one file with tables and plots, readable offline, on a phone, light or dark."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qframe.formatting import format_path, format_score
from qframe.runs.comparison.groups import differences
from qframe.runs.comparison.plots import COLOURS, Plot
from qframe.runs.comparison.results import EnvironmentResult, Improvement, overview
from qframe.runs.comparison.table_cells import group_row, headers, interval, probability, share

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: var(--text);
  background: var(--ground); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
a { color: var(--link); } nav ul { padding-left: 1.2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; overflow-wrap: normal; }
th, td { padding: .25rem .8rem .25rem 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child, .path { text-align: left; } td + td { white-space: nowrap; }
figure { margin: 1.5rem 0; } svg { width: 100%; max-width: 36rem; height: auto; display: block; }
figcaption, .note { color: var(--weak); font-size: .9rem; }
"""


def write_page(
    folder: Path, results: Sequence[EnvironmentResult], score: str, plots: Sequence[Plot], notes: Iterable[str]
) -> Path:
    """Write ``index.html`` to the folder; names of runs and environments are escaped."""
    names = [result.environment for result in results]
    title = f"Comparison: {names[0] if len(names) == 1 else f'{len(names)} environments'}"
    sections = [("overview", "Overview", _overview(results, score))] if len(results) > 1 else []
    sections += [
        (f"environment-{number}", result.environment, _section(folder, result, score, plots))
        for number, result in enumerate(results)
    ]
    links = "".join(f'<li><a href="#{place}">{escape(name)}</a></li>' for place, name, _ in sections)
    parts = [f"<h1>{escape(title)}</h1>", f"<p class=note>written {datetime.now():%Y-%m-%d %H:%M}</p>"]
    parts += [f"<p class=note>Note: {escape(note)}</p>" for note in notes]
    parts += [f"<nav><ul>{links}</ul></nav>"] if len(sections) > 1 else []
    parts += [f'<h2 id="{place}">{escape(name)}</h2>\n{body}' for place, name, body in sections]
    body = "\n".join(parts)
    page = folder / "index.html"
    page.write_text(
        f'<!doctype html>\n<html lang=en>\n<meta charset="utf-8">\n'
        f'<meta name=viewport content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{COLOURS}{STYLE}</style>\n<body>\n{body}\n</body>\n</html>\n",
        encoding="utf-8",
    )
    return page


def _overview(results: Sequence[EnvironmentResult], score: str) -> str:
    rows = [(row.label, *map(share, (row.mean, *row.scores))) for row in overview(results)]
    note = f"IQM of {score}, normalised: in each environment 0 is the lowest score of a run and 1 the highest."
    return f"<p class=note>{escape(note)}</p>" + _table(("group", "mean", *(r.environment for r in results)), rows)


def _section(folder: Path, result: EnvironmentResult, score: str, plots: Sequence[Plot]) -> str:
    rows = [(found.group.label, *group_row(found)) for found in result.groups]
    parts = [f"<p class=note>Protocol: {escape(text)}</p>" for text in _protocols(result)]
    parts.append(_table(headers(result, score), rows))
    parts += [
        f"<figure>{plot.svg}<figcaption>{escape(plot.caption)}</figcaption></figure>"
        for plot in plots
        if plot.environment == result.environment
    ]
    if changed := differences([found.group for found in result.groups]):
        parts.append("<h3>Differences between the configs</h3>")
        columns = ("key", *(found.group.label for found in result.groups))
        parts.append(_table(columns, [(key, *values) for key, values in changed.items()]))
    if result.improvements:
        parts.append("<h3>Probability of improvement</h3>")
        parts.append(_table(("pair", "P", "95 % interval"), map(_pair, result.improvements)))
    parts.append("<h3>Runs</h3>")
    parts.append(_table(("group", "seed", score, "seconds", "folder"), _runs(result, score), _links(folder, result)))
    return "\n".join(parts)


def _protocols(result: EnvironmentResult) -> Iterable[str]:
    """The evaluation protocols of the runs, each once."""
    stated = [run.summary.get("eval_protocol") for found in result.groups for run in found.group.runs]
    return dict.fromkeys(", ".join(map(_shown, node.items())) for node in stated if isinstance(node, Mapping))


def _shown(item: tuple[str, Any]) -> str:
    key, value = item
    return f"{value} episodes" if key == "episodes" else f"{key} {value}"


def _pair(pair: Improvement) -> tuple[str, ...]:
    return f"{pair.better} > {pair.worse}", probability(pair.probability), interval(pair.interval, probability)


def _runs(result: EnvironmentResult, score: str) -> Iterable[tuple[str, ...]]:
    for found in result.groups:
        for run in found.group.runs:
            seconds = run.summary.get("wall_seconds")
            shown = f"{seconds:,.0f}" if isinstance(seconds, int | float) else ""
            seed, value = str(run.config.get("seed")), format_score(run.summary[score])
            yield found.group.label, seed, value, shown, format_path(run.path)


def _links(folder: Path, result: EnvironmentResult) -> dict[str, str]:
    """The address of every run's folder from the page's, by the path shown."""
    runs = [run for found in result.groups for run in found.group.runs]
    return {format_path(run.path): quote(os.path.relpath(run.path, folder)) for run in runs}


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]], links: Mapping[str, str] | None = None) -> str:
    marks = [" class=path" if header == "folder" else "" for header in headers]
    head = _cells("th", headers, marks, {})
    body = "\n".join(f"<tr>{_cells('td', row, marks, links or {})}</tr>" for row in rows)
    return f"<div class=wide><table>\n<tr>{head}</tr>\n{body}\n</table></div>"


def _cells(tag: str, texts: Sequence[str], marks: Sequence[str], links: Mapping[str, str]) -> str:
    return "".join(
        f"<{tag}{mark}>{_linked(text, links if mark else {})}</{tag}>" for text, mark in zip(texts, marks, strict=True)
    )


def _linked(text: str, links: Mapping[str, str]) -> str:
    return f'<a href="{escape(links[text])}">{escape(text)}</a>' if text in links else escape(text)
