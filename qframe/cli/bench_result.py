"""The outcome of a benchmark: per-seed numbers, their interquartile mean, and all that is needed to repeat it."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from qframe.cli.bench_seeds import SeedRun
from qframe.config.score import Score
from qframe.runs.folder import RunFolder, environment_name
from qframe.runs.statistics import interquartile_mean, stratified_bootstrap

Result = dict[str, Any]

OF_A_RUN = (
    "seed", "eval_return_mean", "eval_return_std", "eval_return_last", "eval_episodes", "train_return_mean",
    "best_frames", "frames", "updates", "wall_seconds",
)  # fmt: skip


def summed_up(preset: str, score: Score, runs: Sequence[SeedRun]) -> Result:
    """What ``results/PRESET.json`` holds.

    Args:
        preset: its name.
        score: what it states.
        runs: of all seeds, at least one of them finished; one that failed is no pass.
    """
    failed = [run.seed for run in runs if not run.is_finished]
    seeds, options, runs = [run.seed for run in runs], runs[0].options, [run for run in runs if run.is_finished]
    manifests = [RunFolder(run.folder).manifest for run in runs]
    summaries = [run.summary for run in runs]
    config = RunFolder(runs[0].folder).config
    env = config["env"]
    measured = statistics([summary[score.metric] for summary in summaries], score.expected)
    return {
        "preset": preset,
        "environment": environment_name(env),
        "command": command(preset, seeds, options),
        "frames": config["total_frames"],
        **asdict(score),
        **measured,
        "passed": measured["passed"] and not failed,
        "failed": failed,
        "runs": [
            {name: summary.get(name) for name in OF_A_RUN} | {"revision": _revision(manifest), "command": run.command}
            for run, summary, manifest in zip(runs, summaries, manifests, strict=True)
        ],
        "versions": manifests[0].get("versions"),
        "machine": manifests[0].get("machine"),
        "env": env,
        "evaluation": config["evaluation"],
    }


def statistics(scores: Sequence[float], expected: float) -> Result:
    """What is said of the scores of all seeds.

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
    """The command that gives these seeds; ``options`` say where the preset is and what it may name.

    >>> command("cartpole_dqn", [101, 102])
    'qframe bench cartpole_dqn --seeds 2'
    """
    first = "" if seeds[0] == 101 else f" --first-seed {seeds[0]}"
    return f"qframe bench {preset} --seeds {len(seeds)}{first} {shlex.join(options)}".rstrip()


def _revision(manifest: dict[str, Any]) -> str | None:
    git = manifest.get("git")
    if not git:
        return None
    return git["revision"] + ("+changes" if git.get("dirty") else "")
