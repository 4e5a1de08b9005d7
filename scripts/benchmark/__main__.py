"""Measure qframe beside its peers: ``make peers``, then ``make benchmark ARGS="w1 w4 --repeats 5"``.

Every contestant is a process of its own; all take turns in every repeat. Results go to
``docs/results/speed/benchmark.json``, and from there into the table in ``docs/speed.md``.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import table
from measure import ROOT, Workload, differing, interleaved, medians, ratio

RESULTS = ROOT / "docs" / "results" / "speed" / "benchmark.json"
TOOLS = {"__main__", "measure", "table"}
ALL = sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - TOOLS)


def main() -> int:
    """Run the workloads named, all by default; 1 if contestants did not do the same work."""
    parser = argparse.ArgumentParser(prog="benchmark", description=__doc__)
    parser.add_argument("workloads", nargs="*", default=ALL, help=f"among {', '.join(ALL)}")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="contestants")
    parser.add_argument("--table", action="store_true", help="only write the table in docs/speed.md again")
    options = parser.parse_args()
    if options.table:
        table.PAGE.write_text(table.written(table.PAGE.read_text(), _saved()))
        return 0
    faults = [fault for name in options.workloads for fault in _measure(name, options.repeats, options.only)]
    print(*faults, sep="\n", file=sys.stderr)
    table.PAGE.write_text(table.written(table.PAGE.read_text(), _saved()))
    return int(bool(faults))


def _measure(name: str, repeats: int, only: list[str]) -> list[str]:
    workload: Workload = importlib.import_module(name).WORKLOAD
    print(f"{name}: {workload.title}", flush=True)
    results = interleaved(workload, repeats, only=only)
    ratios = [found for bar in workload.bars if (found := ratio(bar, results)) is not None]
    for found in ratios:
        spread = f"{found['ratio']:.2f} ({found['lowest']:.2f} to {found['highest']:.2f})"
        print(f"  {found['own']} / {found['peer']}: {spread}, to reach {found['at_least']:.2f}")
    faults = differing(workload, results)
    _save(name, {
        "title": workload.title, "repeats": repeats, "notes": workload.notes, "faults": faults, "ratios": ratios,
        "medians": {who: medians(rows) for who, rows in results.items()}, "runs": results,
    })  # fmt: skip
    return faults


def _saved() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"workloads": {}}


def _save(name: str, measured: dict[str, Any]) -> None:
    saved = _saved()
    saved["machine"] = {"processor": _processor(), "cores": os.cpu_count(), "system": platform.platform()}
    measured["load"] = round(os.getloadavg()[2], 1)
    saved["workloads"] = dict(sorted({**saved["workloads"], name: measured}.items()))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(saved, indent=1) + "\n")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    sys.exit(main())
