"""Run folders written by hand, as a run leaves them."""

import json
from pathlib import Path

import yaml

from qframe.runs.process import this_process

CONFIG = {
    "name": "toy",
    "seed": 1,
    "total_frames": 1000,
    "env": {"_target_": "qframe.envs.GymnasiumEnvs", "id": "CartPole-v1", "num_envs": 8},
    "head": {"_target_": "qframe.heads.ScalarHead", "loss_function": "smooth_l1"},
    "evaluation": {"every": 500},
}
DEAD = this_process() | {"started": "1"}


def write_run(
    folder: Path,
    *,
    score: float | None = None,
    status: str = "finished",
    curve=(),
    process=None,
    summary=None,
    **changes,
) -> Path:
    """A run with these evaluations ``(frames, return)`` and changes to the config; dots in names by ``__``."""
    folder.mkdir(parents=True)
    config = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        group, _, name = key.partition("__")
        if name:
            config[group][name] = value
        else:
            config[group] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "manifest.json").write_text(json.dumps({"process": process or this_process()}))
    logs = [
        {"frames": frames, "eval/episode_return": value, "time/wall_seconds": frames / 100} for frames, value in curve
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(log) + "\n" for log in logs))
    outcome = {"status": status, "seed": config["seed"]} | (summary or {})
    if status == "finished":
        outcome |= {"frames": config["total_frames"], "eval_return_mean": score, "wall_seconds": 10.0}
    (folder / "summary.json").write_text(json.dumps(outcome))
    return folder
