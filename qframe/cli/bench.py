"""``qframe bench PRESET``: a sweep over seeds of a preset, and whether it reaches the score that the preset states."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from hydra.types import RunMode

from qframe.config.compose import composed, pinned_folder
from qframe.config.hydra_app import hydra_app
from qframe.config.schema import PROVIDED
from qframe.config.score import Score, preset_score
from qframe.config.targets import apply_trust
from qframe.errors import Stopped, UserError
from qframe.formatting import format_score
from qframe.runs.folder import RunFolder, environment_name, flat, write_json
from qframe.runs.statistics import interquartile_mean, stratified_bootstrap
from qframe.sweeps.folder import SweepFolder

FOLDER = Path("outputs", "bench")
OF_A_RUN = (
    "seed", "eval_return_mean", "eval_return_std", "eval_return_last", "eval_episodes", "train_return_mean",
    "best_frames", "frames", "updates", "wall_seconds",
)  # fmt: skip
"""The keys of a run's summary that the result repeats."""

Result = dict[str, Any]


def run(arguments: argparse.Namespace) -> int:
    """Train every seed, compare with the score, and write ``outputs/bench/PRESET/result.json``; ``--record`` copies it.

    Returns:
        0 if the score is reached; 1 if it is missed or a seed failed.

    Raises:
        UserError: no such preset, a preset without a score or with faults, seeds that were run before, or too few to
            record.
    """
    preset, config_dir, trust = arguments.preset, arguments.config_dir, arguments.trust
    apply_trust(trust)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    folder = SweepFolder(FOLDER / preset)
    numbers = folder.numbered([(f"experiment={preset}", f"seed={seed}") for seed in seeds])
    swept = [f"experiment={preset}", f"seed={','.join(map(str, seeds))}"]
    of_hydra = [pinned_folder("sweep", folder.path), f"hydra.launcher.jobs={arguments.jobs or 'null'}"]
    overrides = [*swept, *of_hydra, "hydra.sweeper.retries=0"]  # a seed that fails counts against the preset
    with hydra_app(config_dir) as app:
        score = preset_score(app.config_loader, preset)
        if score is None:
            raise UserError(f"experiment={preset} states no score to reach; add one under score: in its file")
        if arguments.record is not None and len(seeds) < score.seeds:
            raise UserError(f"--record: experiment={preset} states {score.seeds} seeds; add --seeds {score.seeds}")
        from qframe.config import build  # not at the top: see typos.py
        from qframe.sweeps.sweep import launch, record_of

        composition = composed(app.config_loader, overrides, PROVIDED, mode=RunMode.MULTIRUN)
        build.Assembly(composition.config, composition.faults).checked()
        begun = [run for number in numbers if (run := RunFolder(folder.job(number))).path.exists()]
        if begun and not arguments.resume:
            raise UserError(f"{begun[0].path} holds a seed that was run before; add --resume to keep it, or remove it")
        for earlier in begun:
            check_kept(earlier, score, composition.config)
        print(f"{preset}: {score.algorithm}, seeds {seeds[0]} to {seeds[-1]}", flush=True)
        try:
            launch(app, composition, record_of(overrides, config_dir, trust))
        except Stopped as stopped:
            raise Stopped(stopped.number, f"{stopped}; resume by the same command with --resume") from stopped
    folder = SweepFolder(folder.path)
    return verdict(preset, score, seeds, [RunFolder(folder.job(number)) for number in numbers], arguments)


def check_kept(run: RunFolder, score: Score, config: dict[str, Any]) -> None:
    """Refuse a run of an earlier command that is damaged, or whose preset has changed since.

    Raises:
        UserError: the run cannot be averaged with the others.
    """
    saved, now, remedy = flat(run.config), flat(config), f"remove {run.path} to run its seed again"
    if run.is_finished:
        numbers = [run.summary.get(name) for name in (score.metric, "wall_seconds")]
        if not saved or not all(isinstance(number, int | float) for number in numbers):
            raise UserError(f"the files of the run in {run.path} are damaged; {remedy}")
    for key in sorted(saved.keys() & now.keys() - {"seed"}):
        if now[key] not in ("auto", saved[key]):
            changed = f"the run in {run.path} has {key}={saved[key]}, the preset now has {now[key]}"
            raise UserError(f"{changed}; {remedy}")


def verdict(
    preset: str, score: Score, seeds: Sequence[int], runs: Sequence[RunFolder], arguments: argparse.Namespace
) -> int:
    """Print whether the score is reached, and write the result; see :func:`run`."""
    if not any(run.is_finished for run in runs):
        print("fail: no seed has finished")
        return 1
    options = [*(["--config-dir", str(arguments.config_dir)] if arguments.config_dir else [])]
    options += [word for prefix in arguments.trust for word in ("--trust", prefix)]
    result = summarized(preset, score, dict(zip(seeds, runs, strict=True)), options)
    path = FOLDER / preset / "result.json"
    write_json(path, result)
    low, high = map(format_score, result["interval"])
    mean, iqm = format_score(result["mean"]), format_score(result["iqm"])
    count = f"{result['count']} {'seed' if result['count'] == 1 else 'seeds'}"
    print(f"{score.metric}: mean {mean}, IQM {iqm} [{low}, {high}] over {count}")
    if result["failed"]:
        print(f"without a result: seeds {', '.join(map(str, result['failed']))}")
    outcome = "pass" if result["passed"] else "fail"
    print(f"{outcome}: the preset states an IQM of at least {score.expected:g} ({score.protocol})")
    print(f"written to {path}")
    if arguments.record is not None and result["count"] < score.seeds:
        print(f"not recorded: {result['count']} of the {score.seeds} seeds that the preset states have finished")
    elif arguments.record is not None:
        write_json(arguments.record / f"{preset}.json", result)
        print(f"recorded in {arguments.record / f'{preset}.json'}")
    return 0 if result["passed"] else 1


def summarized(preset: str, score: Score, runs: dict[int, RunFolder], options: Sequence[str]) -> Result:
    """The content of ``result.json``: the scores, and all that is needed to repeat them.

    Args:
        preset: its name.
        score: that it states.
        runs: by seed, at least one of them finished; a seed that is not finished is no pass.
        options: of the command line: where the preset is, and which packages it may name.
    """
    finished = {seed: run for seed, run in runs.items() if run.is_finished}
    failed = sorted(runs.keys() - finished.keys())
    first = next(iter(finished.values()))
    measured = statistics([run.summary[score.metric] for run in finished.values()], score.expected)
    return {
        "preset": preset,
        "environment": environment_name(first.config["env"]),
        "command": command(preset, list(runs), options),
        "frames": first.config["total_frames"],
        **asdict(score),
        **measured,
        "passed": measured["passed"] and not failed,
        "failed": failed,
        "runs": [
            {name: run.summary.get(name) for name in OF_A_RUN}
            | {
                "revision": _revision(run.manifest),
                "command": shlex.join(["qframe", "train", f"experiment={preset}", f"seed={seed}", *options]),
            }
            for seed, run in finished.items()
        ],
        "versions": first.manifest.get("versions"),
        "machine": first.manifest.get("machine"),
        "env": first.config["env"],
        "evaluation": first.config["evaluation"],
    }


def statistics(scores: Sequence[float], expected: float) -> Result:
    """Statistics of the scores of all seeds.

    >>> statistics([490.0, 500.0, 500.0, 500.0], 495)["iqm"]
    500.0
    """
    array = np.array(scores, dtype=np.float64)
    iqm = interquartile_mean(array)
    return {
        "count": len(scores),
        "mean": float(array.mean()),
        "iqm": iqm,
        "interval": list(stratified_bootstrap(array[:, None])),
        "passed": iqm >= expected,
    }


def command(preset: str, seeds: Sequence[int], options: Sequence[str] = ()) -> str:
    """The command that runs these seeds.

    >>> command("cartpole_dqn", [101, 102])
    'qframe bench cartpole_dqn --seeds 2'
    """
    first = "" if seeds[0] == 101 else f" --first-seed {seeds[0]}"
    return f"qframe bench {shlex.quote(preset)} --seeds {len(seeds)}{first} {shlex.join(options)}".rstrip()


def _revision(manifest: dict[str, Any]) -> str | None:
    git = manifest.get("git")
    if not git:
        return None
    return git["revision"] + ("+changes" if git.get("dirty") else "")
