"""``qframe bench PRESET``: several seeds of a preset, each a process of its own, against the score that it states."""

import argparse
import os
from pathlib import Path
from typing import Any

from qframe.cli.arguments import add_config_arguments, whole_number
from qframe.cli.bench_result import Result, summed_up
from qframe.cli.bench_seeds import SeedRun, run_all
from qframe.config import build
from qframe.config.compose import composed
from qframe.config.hydra_app import hydra_app
from qframe.config.score import Score, preset_score
from qframe.config.targets import apply_trust
from qframe.errors import UserError
from qframe.runs.folder import RunFolder, flat, write_json

FOLDER = Path("outputs", "bench")
RESULTS = Path("results")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The preset, how many seeds, how many at a time, and whether to go on."""
    parser.add_argument("preset", metavar="PRESET", help="a name that qframe list experiment shows")
    parser.add_argument("--seeds", type=whole_number, default=5, metavar="N", help="how many (default 5)")
    text = "the first seed (default 101); presets were tuned on others"
    parser.add_argument("--first-seed", type=whole_number, default=101, metavar="S", help=text)
    text = "runs at a time (default: as many as there are cores)"
    parser.add_argument("--jobs", type=whole_number, default=None, metavar="N", help=text)
    text = "keep the seeds that are finished, and go on with those that were stopped"
    parser.add_argument("--resume", action="store_true", help=text)
    add_config_arguments(parser, overrides=False)


def run(arguments: argparse.Namespace) -> int:
    """Train every seed, compare, and write ``results/PRESET.json``.

    Returns:
        0 where the expected score is reached, 1 where it is not or a seed failed.

    Raises:
        UserError: no such preset, one without a stated score, faults in it, or seeds that were run before.
    """
    preset, jobs = arguments.preset, _cores() if arguments.jobs is None else arguments.jobs
    numbers = (("--seeds", arguments.seeds, 1), ("--jobs", jobs, 1), ("--first-seed", arguments.first_seed, 0))
    for name, value, least in numbers:
        if value < least:
            raise UserError(f"{name}: expected an integer of at least {least}, got {value}")
    apply_trust(arguments.trust)
    score, config = _checked(preset, arguments.config_dir)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    options = [*(["--config-dir", str(arguments.config_dir)] if arguments.config_dir else [])]
    options += [word for prefix in arguments.trust for word in ("--trust", prefix)]
    runs = [SeedRun(preset, seed, FOLDER / preset / f"s{seed}", tuple(options)) for seed in seeds]
    there = [run.folder for run in runs if run.folder.exists()]
    if there and not arguments.resume:
        raise UserError(f"expected seeds that were not run before, got {there[0]}; add --resume to go on, or remove it")
    for run in runs:
        _check_kept(run, score, config)
    print(f"{preset}: {score.algorithm}, seeds {seeds[0]} to {seeds[-1]}, {min(jobs, len(runs))} at a time", flush=True)
    run_all(runs, jobs, score.metric)
    if not any(run.is_finished for run in runs):
        return 1
    result = summed_up(preset, score, runs)
    path = RESULTS / f"{preset}.json"
    write_json(path, result)
    _tell(result, score, path)
    return 0 if result["passed"] else 1


def _checked(preset: str, config_dir: Path | None) -> tuple[Score, dict[str, Any]]:
    """The preset's score and config, once the preset is known to run."""
    with hydra_app(config_dir) as app:
        score = preset_score(app.config_loader, preset)
        if score is None:
            raise UserError(f"experiment={preset} states no score to reach; add one under score: in its file")
        composition = composed(app.config_loader, [f"experiment={preset}"], build.PROVIDED)
    build.checked(composition.config, composition.faults)
    return score, composition.config


def _check_kept(run: SeedRun, score: Score, config: dict[str, Any]) -> None:
    """Refuse a run of an earlier command that is damaged, or of a preset that was another then."""
    saved, now, remedy = flat(RunFolder(run.folder).config), flat(config), f"remove {run.folder} to run its seed again"
    if run.is_finished:
        numbers = [run.summary.get(name) for name in (score.metric, "wall_seconds")]
        if not saved or not all(isinstance(number, int | float) for number in numbers):
            raise UserError(f"expected a whole run in {run.folder}, got one whose files are damaged; {remedy}")
    for key in sorted(saved.keys() & now.keys() - {"seed"}):
        if now[key] not in ("auto", saved[key]):
            told = f"{key}={saved[key]} in {run.folder}, {now[key]} in the preset now"
            raise UserError(f"expected seeds of one configuration, got {told}; {remedy}")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tell(result: Result, score: Score, path: Path) -> None:
    low, high = result["interval"]
    iqm = f"IQM {result['iqm']:.1f} [{low:.1f}, {high:.1f}]"
    print(f"{score.metric} mean {result['mean']:.1f}, {iqm} over {result['count']} seeds")
    if result["failed"]:
        print(f"failed runs, which no score counts: seeds {', '.join(map(str, result['failed']))}")
    verdict = "pass" if result["passed"] else "fail"
    print(f"{verdict}: expected an IQM of at least {score.expected:g} ({score.protocol})")
    print(f"written to {path}")
