"""Write the table in ``docs/results.md`` from ``docs/results/`` and the presets: ``python scripts/results.py``."""

import re
from pathlib import Path
from typing import Any

from qframe.cli.bench import command
from qframe.config import build
from qframe.config.compose import compose
from qframe.config.hydra_app import hydra_app, options
from qframe.config.score import Score, preset_score
from qframe.formatting import format_score
from qframe.runs.folder import environment_name, read_json

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
RESULTS = ROOT / "docs" / "results"
START, END = "<!-- by scripts/results.py -->\n", "<!-- end of results -->\n"
COLUMNS = (
    "command", "algorithm", "environment", "frames", "mean", "IQM [95 %]", "last network", "expected", "of the source",
    "seconds",
)  # fmt: skip


def scores() -> dict[str, Score]:
    """The score that each preset states; a preset without one is no benchmark."""
    with hydra_app() as app:
        loader = app.config_loader
        stated = {preset: preset_score(loader, preset) for preset in options(loader, "experiment")}
    return {preset: score for preset, score in stated.items() if score is not None}


def table() -> str:
    """The rows as Markdown, those of presets that were not run among them."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(_row(preset, score) for preset, score in scores().items())]
    return "".join(f"| {' | '.join(map(_signed, row))} |\n" for row in rows)


def _row(preset: str, score: Score) -> tuple[str, ...]:
    result = read_json(RESULTS / f"{preset}.json")
    first, *middle, seconds = _measured(preset, result) if result else _not_run(preset, score)
    source = score.source
    published = f"{source['score']} ({source['name']}, {source['protocol']})" if source else "–"
    return first, score.algorithm, *middle, published, seconds


def _measured(preset: str, result: dict[str, Any]) -> tuple[str, ...]:
    low, high = result["interval"]
    runs = result["runs"]
    last = format_score(_mean(runs, "eval_return_last")) if result["metric"] == "eval_return_mean" else "–"
    verdict = "reached" if result["passed"] else "missed"
    return (
        f"[`{result['command']}`](results/{preset}.json)",
        str(environment_name(result["env"])),
        f"{result['frames']:,}",
        format_score(result["mean"]),
        f"{format_score(result['iqm'])} [{format_score(low)}, {format_score(high)}]",
        last,
        f"{result['expected']:g}, {verdict}",
        f"{_mean(runs, 'wall_seconds'):.0f}",
    )


def _not_run(preset: str, score: Score) -> tuple[str, ...]:
    config = compose([f"experiment={preset}"], provided=build.PROVIDED)
    typed = f"`{command(preset, range(101, 101 + score.seeds))}`"
    environment = str(environment_name(config.env))
    return (typed, environment, f"{config.total_frames:,}", "not run", "not run", "", f"{score.expected:g}", "")


def _mean(runs: list[dict[str, Any]], key: str) -> float:
    return sum(run[key] for run in runs) / len(runs)


def _signed(cell: str) -> str:
    """With a minus sign for a reader, outside of commands and links."""
    return cell if "`" in cell else re.sub(r"(^|[ \[])-(?=\d)", r"\1−", cell)


def written(text: str) -> str:
    """The page with the current table between the markers."""
    before, _, rest = text.partition(START)
    return before + START + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
