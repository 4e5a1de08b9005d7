"""``qframe compare RUN…``: compare runs, grouped by their differences within each environment, in a table and files."""

import argparse
import re
from collections.abc import Iterable, Sequence

from qframe.cli.tables import matching, named_runs, print_table
from qframe.config.defaults import fill_in
from qframe.config.hydra_app import conf_dir
from qframe.errors import UserError
from qframe.formatting import format_path
from qframe.runs.comparison.csv_files import write_csv
from qframe.runs.comparison.groups import repeated_seeds
from qframe.runs.comparison.html_page import write_page
from qframe.runs.comparison.plots import draw_plots, write_plots
from qframe.runs.comparison.results import EnvironmentResult, compare, overview
from qframe.runs.comparison.table_cells import group_row, headers, interval, probability, share
from qframe.runs.folder import RunFolder

MOST_PAIRS = 10


def run(arguments: argparse.Namespace) -> int:
    """Compare the runs and print tables; with ``--out``, also write files.

    Raises:
        UserError: no run is finished, a run has no such score, or a package is missing.
    """
    if arguments.out is not None and arguments.out.exists() and not arguments.out.is_dir():
        raise UserError(f"--out: '{arguments.out}' is a file; name a folder")
    runs = matching(named_runs(arguments.runs), arguments.where)
    finished = [run for run in runs if run.is_finished and run.config]
    notes = _notes([run for run in runs if run not in finished])
    if not finished:
        raise UserError(f"none of these runs is finished; {'; '.join(notes) or 'none has the values of --where'}")
    for run in finished:
        fill_in(run.config)
    results = compare(
        finished,
        score=arguments.score,
        thresholds=_thresholds(arguments.threshold),
        names=_names(),
        by=[key for text in arguments.by for key in text.split(",")],
    )
    notes += list(_seed_notes(results))
    for result in results:
        _print(result, arguments.score)
    if len(results) > 1:
        print("IQM over environments, normalised by the lowest and the highest score of a run in each")
        rows = [(row.label, *map(share, (row.mean, *row.scores))) for row in overview(results)]
        columns = ("mean", *(result.environment for result in results))
        print_table(("group", *columns), rows, numbers=columns)
        print()
    for note in notes:
        print(f"note: {note}")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_csv(arguments.out, results, arguments.score)
        plots = draw_plots(results, arguments.score)
        write_plots(arguments.out, plots)
        page = write_page(arguments.out, results, arguments.score, plots, notes)
        print(f"written to   {format_path(page)}, with CSV and SVG beside it")
    return 0


def _print(result: EnvironmentResult, score: str) -> None:
    print(result.environment)
    columns = headers(result, score)
    print_table(columns, [(r.group.label, *group_row(r)) for r in result.groups], numbers=columns[1:])
    if result.improvements:
        pairs = result.improvements[:MOST_PAIRS]
        rows = [(p.better, ">", p.worse, probability(p.probability), interval(p.interval, probability)) for p in pairs]
        print_table(("probability of improvement", "", "", "P", "95 % interval"), rows, numbers=("P",))
        if len(result.improvements) > MOST_PAIRS:
            print(f"and {len(result.improvements) - MOST_PAIRS} more pairs: --out DIR writes them all")
    print()


def _notes(others: Sequence[RunFolder]) -> list[str]:
    """Notes on the runs that are left out, by reason."""
    found: dict[str, list[RunFolder]] = {}
    for run in others:
        found.setdefault("without a readable config.yaml" if run.is_finished else run.status, []).append(run)
    return [f"{len(runs)} {why} left out, for example {format_path(runs[0].path)}" for why, runs in found.items()]


def _seed_notes(results: Iterable[EnvironmentResult]) -> Iterable[str]:
    for result in results:
        for found in result.groups:
            if seeds := repeated_seeds(found.group):
                listed = ", ".join(map(str, seeds))
                yield f"{result.environment}: '{found.group.label}' has seed {listed} more than once; each run counts"


def _thresholds(words: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for word in words:
        environment, _, text = word.rpartition("=")
        try:
            found[environment] = float(text)
        except ValueError:
            raise UserError(f"--threshold: '{word}' is not a number or ENV=NUMBER") from None
    return found


def _names() -> dict[str, str]:
    """Names of classes that are unique in ``conf/``, as ``head=qframe.heads.ScalarHead`` → ``scalar``."""
    options: dict[str, list[str]] = {}
    for file in sorted(conf_dir().glob("*/*.yaml")):
        target = re.search(r"^_target_: *(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        if target:
            options.setdefault(f"{file.parent.name}={target[1]}", []).append(file.stem)
    return {place: stems[0] for place, stems in options.items() if len(stems) == 1}
