"""W1 for so many frames: the ratio of speeds as ``seconds``, and how resident memory grew."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def resident(process: int) -> float:
    """The resident memory of a process in MB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def frames_of(metrics: Path) -> list[dict]:
    """The rows that are logged so far."""
    rows = metrics.read_text().splitlines() if metrics.is_file() else []
    return [json.loads(row) for row in rows if row.endswith("}")]


def main() -> None:
    total = int(sys.argv[1].replace("_", ""))
    with tempfile.TemporaryDirectory() as folder:
        run, memory = Path(folder) / "run", {}
        words = [f"{key}={total}" for key in ("total_frames", "evaluation.every", "checkpoint.every")]
        command = [sys.executable, "-m", "qframe", "train", "experiment=benchmark_w1", *words]
        command.append(f"hydra.run.dir={run}")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            rows = frames_of(run / "metrics.jsonl")
            if rows and rows[-1]["frames"] < 0.99 * total:
                memory[rows[-1]["frames"]] = resident(process.pid)
            time.sleep(0.5)
        rows = [row for row in frames_of(run / "metrics.jsonl") if "time/wall_seconds" in row]

    def speed(first: float, last: float) -> float:
        inside = [row for row in rows if first * total <= row["frames"] <= last * total]
        seconds = inside[-1]["time/wall_seconds"] - inside[0]["time/wall_seconds"]
        return (inside[-1]["frames"] - inside[0]["frames"]) / seconds

    early = [megabytes for frames, megabytes in memory.items() if 0.1 * total <= frames <= 0.2 * total]
    late = [megabytes for frames, megabytes in memory.items() if frames >= 0.9 * total]
    print(json.dumps({
        "seconds": speed(0.9, 0.99) / speed(0.1, 0.2), "grown_megabytes": max(late) - min(early),
        "frames_per_second": speed(0.1, 0.99),
    }))  # fmt: skip


main()
