"""The HTML page of ``qframe compare``: one file with tables and embedded pictures, readable offline."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from qframe.formatting import format_score
from qframe.runs.comparison.results import EnvironmentResult, Improvement
from qframe.runs.comparison.table_cells import group_row, headers, interval, probability

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .8rem .25rem 0; text-align: right; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
th:first-child, td:first-child, .path { text-align: left; } td + td { white-space: nowrap; }
h1, h2 { overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption, .note { color: #555; font-size: .9rem; }
"""


def write_page(
    folder: Path,
    results: Sequence[EnvironmentResult],
    score: str,
    pictures: Sequence[tuple[str, Path]],
    notes: Iterable[str],
) -> Path:
    """Write ``index.html`` to the folder; names of runs and environments are escaped."""
    environments = [result.environment for result in results]
    title = environments[0] if len(environments) == 1 else f"{len(environments)} environments"
    title = f"Comparison: {title}"
    parts = [f"<h1>{escape(title)}</h1>", f"<p class=note>written {datetime.now():%Y-%m-%d %H:%M}</p>"]
    parts += [f"<p class=note>Note: {escape(note)}</p>" for note in notes]
    for result in results:
        parts.append(f"<h2>{escape(result.environment)}</h2>")
        rows = [(found.group.label, *group_row(found)) for found in result.groups]
        parts.append(_table(headers(result, score), rows))
        shown = [(text, path) for text, path in pictures if text.startswith(f"{result.environment}: ")]
        parts += [_figure(text.removeprefix(f"{result.environment}: "), path) for text, path in shown]
        if result.improvements:
            parts.append("<h3>Probability of improvement</h3>")
            parts.append(_table(("pair", "P", "95 % interval"), map(_pair, result.improvements)))
        parts.append("<h3>Runs</h3>")
        parts.append(_table(("group", "seed", score, "seconds", "folder"), _runs(result, score)))
    body = "\n".join(parts)
    page = folder / "index.html"
    page.write_text(
        f'<!doctype html>\n<html lang=en>\n<meta charset="utf-8">\n<meta name=viewport content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n<body>\n{body}\n</body>\n</html>\n",
        encoding="utf-8",
    )
    return page


def _pair(pair: Improvement) -> tuple[str, ...]:
    return f"{pair.better} > {pair.worse}", probability(pair.probability), interval(pair.interval, probability)


def _runs(result: EnvironmentResult, score: str) -> Iterable[tuple[str, ...]]:
    for found in result.groups:
        for run in found.group.runs:
            seconds = run.summary.get("wall_seconds")
            shown = f"{seconds:,.0f}" if isinstance(seconds, int | float) else ""
            yield found.group.label, str(run.config.get("seed")), format_score(run.summary[score]), shown, str(run.path)


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    marks = [" class=path" if header == "folder" else "" for header in headers]
    head = _cells("th", headers, marks)
    body = "\n".join(f"<tr>{_cells('td', row, marks)}</tr>" for row in rows)
    return f"<div class=wide><table>\n<tr>{head}</tr>\n{body}\n</table></div>"


def _cells(tag: str, texts: Sequence[str], marks: Sequence[str]) -> str:
    return "".join(f"<{tag}{mark}>{escape(text)}</{tag}>" for text, mark in zip(texts, marks, strict=True))


def _figure(caption: str, path: Path) -> str:
    image = b64encode(path.read_bytes()).decode()
    text = escape(caption, quote=True)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{image}"><figcaption>{text}</figcaption></figure>'
