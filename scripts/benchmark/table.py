"""The table in ``docs/speed.md``, from ``docs/results/speed/benchmark.json``."""

from typing import Any

from measure import ROOT

PAGE = ROOT / "docs" / "speed.md"
START, END = "<!-- by scripts/benchmark -->\n", "<!-- end of speed -->\n"


def written(text: str, saved: dict[str, Any]) -> str:
    """The page with the current table between the markers."""
    before, _, rest = text.partition(START)
    return f"{before}{START}{lines(saved)}\n{END}{rest.partition(END)[2]}"


def lines(saved: dict[str, Any]) -> str:
    """A row for every ratio."""
    loads = ", ".join(f"{name.upper()} {row['load']}" for name, row in saved["workloads"].items() if "load" in row)
    rows = ["| | workload | qframe | beside it | ratio (lowest to highest) | to reach |", "|---|---|---|---|---|---|"]
    for name, measured in saved["workloads"].items():
        for found in measured["ratios"]:
            own, peer = (_side(measured, found[side], found["number"]) for side in ("own", "peer"))
            spread = f"{found['ratio']:.2f} ({found['lowest']:.2f} to {found['highest']:.2f})"
            rows.append(f"| {name.upper()} | {measured['title']} | {own} | {peer} | {spread} | {_bar(found)} |")
        if measured["notes"]:
            rows.append(f"| {name.upper()} | {measured['notes']} | | | | |")
    machine = saved.get("machine", {})
    if loads:
        where = f"On {machine.get('cores')} cores of {machine.get('processor')}"
        rows += ["", f"{where}; the machine's load over the last quarter of an hour, a busy process being 1: {loads}."]
    return "\n".join(rows)


def _side(measured: dict[str, Any], name: str, number: str) -> str:
    """A contestant, its number, and what tells that it did the same work."""
    row = measured["medians"][name]
    shown = f"{name}: {row[number]:,.4g} {number}"
    score = next((row[key] for key in ("train_return", "eval_return") if key in row), None)
    if score is not None:
        shown += f", {row['frames']:,.0f} frames, {row['updates']:,.0f} updates, return {score:.0f}"
    return shown


def _bar(found: dict[str, Any]) -> str:
    return f"{found['at_least']:.2f}{'' if found['reached'] else ': not reached'}"
