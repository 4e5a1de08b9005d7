"""How long a command takes: ``--help``, ``list``, ``check``; ``first-step`` of training; the bare ``imports``."""

import json
import subprocess
import sys
import tempfile
import time

FIRST_STEP = """
import sys
from qframe.cli import main
def stop(self, action): raise SystemExit(0)
def command(name, found=main._command):
    module = found(name)
    from qframe.envs.episodes import SeededEpisodes
    SeededEpisodes.step = stop
    return module
main._command = command
sys.exit(main.main(["train", "hydra.run.dir=" + sys.argv[1]]))
"""


def main() -> None:
    what = sys.argv[1]
    if what == "limit":
        print(json.dumps({"seconds": float(sys.argv[2])}))
        return
    with tempfile.TemporaryDirectory() as folder:
        command = {
            "imports": ["-c", "import torch, tensordict, hydra, gymnasium"],
            "first-step": ["-c", FIRST_STEP, f"{folder}/run"],
        }.get(what, ["-m", "qframe", what])
        started = time.monotonic()
        subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print(json.dumps({"seconds": time.monotonic() - started}))


main()
