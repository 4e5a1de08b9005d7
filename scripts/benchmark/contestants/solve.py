"""Seconds until a periodic evaluation of ``qframe train`` reaches 475."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

OVERRIDES = ("seed=1", "evaluation.every=2_500", "evaluation.episodes=20", "evaluation.final_episodes=1")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "qframe", "train", *OVERRIDES, f"hydra.run.dir={run}"]
        subprocess.run(command, check=True, capture_output=True)
        rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    solved = [row for row in rows if row.get("eval/episode_return", 0) >= 475]
    print(json.dumps({
        "seconds": solved[0]["time/wall_seconds"] if solved else float("inf"),
        "frames": solved[0]["frames"] if solved else -1,
    }))  # fmt: skip


main()
