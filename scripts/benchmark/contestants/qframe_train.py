"""qframe on CartPole by a preset and overrides: what its summary says."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "qframe", "train", *sys.argv[1:], f"hydra.run.dir={run}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout[-1000:] + done.stderr[-2000:])
        summary, manifest = (json.loads((run / name).read_text()) for name in ("summary.json", "manifest.json"))
        rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
        learning = [row for row in rows if {"loss/loss", "time/wall_seconds"} <= row.keys()]
        first, last = learning[0], learning[-1]
        seconds = last["time/wall_seconds"] - first["time/wall_seconds"]
        print(json.dumps({
            "learning_frames_per_second": (last["frames"] - first["frames"]) / seconds,
            "seconds": summary["wall_seconds"], "frames": summary["frames"], "updates": summary["updates"],
            "frames_per_second": summary["frames_per_second"], "train_return": summary["train_return_mean"],
            "eval_return": summary["eval_return_last"], "picked": manifest["picked"],
        }))  # fmt: skip


main()
