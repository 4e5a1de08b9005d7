"""Mutated configs: each must train briefly or be refused with a message: ``python scripts/fuzz.py [COUNT] [SEED]``.

A mutation changes one or two values of a small run: to another type, an extreme, an interpolation, a misspelt key or a
deeper nesting, on the command line or in a run's own ``config.yaml``. Cases that end with a traceback, take longer than
a minute, or are refused without a message are printed, and the exit status is 1.
"""

import contextlib
import io
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from qframe.cli.main import main
from qframe.config import build
from qframe.config.compose import compose
from qframe.config.hydra_app import conf_dir

SECONDS = 60
VALUES = (
    "", "null", "true", "-1", "0", "1", "0.5", "1e400", "-1e308", ".nan", ".inf", "1e30", "1" + "0" * 30, "1M", "[]",
    "{}", "[1,[2,{a: b}]]", "{a: {b: [null]}}", "'💥'", "'\u202e'", "'a b'", "../../x", "/", "${seed}", "${nope}",
    "${head}", "${oc.env:HOME}", "${oc.env:NOT_SET}", "x" * 2000, "0x10", "'%s%n'", "'{0.__class__}'", "'[/red]'",
    "{_target_: os.system}", "{_target_: torch.nn.Tanh}", "torch.nn.Tanh", "qframe.networks.MLPTrunk",
    "-9223372036854775809",
)  # fmt: skip
SMALL = {
    "total_frames": "40", "runner.learning_starts": "16", "runner.every": "8", "runner.updates": "1",
    "replay.capacity": "200", "replay.batch_size": "4", "env.num_envs": "2", "evaluation.every": "40",
    "evaluation.episodes": "1", "evaluation.final_episodes": "1", "evaluation.num_envs": "1", "checkpoint.every": "40",
    "logger.every": "20", "logger.tensorboard": "false", "trunk.num_cells": "[8]", "compile": "false",
}  # fmt: skip


class TookTooLong(BaseException):
    """A case took longer than ``SECONDS``."""


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every key of a config, groups included, nested keys joined by dots."""
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")


def mutation(draw: random.Random, keys: list[str], choices: dict[str, list[str]]) -> str:
    """One mutated override."""
    key, value = draw.choice(keys), draw.choice(VALUES)
    kind = draw.randrange(8)
    if kind == 0:
        return f"~{key}"
    if kind == 1:  # a misspelt key
        place = draw.randrange(len(key))
        return f"{key[:place]}{draw.choice('xyz_.💥')}{key[place + 1 :]}={value}"
    if kind == 2:
        return f"{key}.{draw.choice(['a', '_target_', '0', 'é'])}={value}"
    if kind == 3:
        group = draw.choice(list(choices))
        return f"{group}={draw.choice([*choices[group], value])}"
    return f"{key}={value}"


def outcome(words: list[str]) -> tuple[str, str]:
    """How a command ends, and the errors that it prints."""
    errors = io.StringIO()
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            status = main(words)
    except TookTooLong:
        return "hang", errors.getvalue()
    except BaseException as error:
        return "escaped", repr(error)
    finally:
        signal.alarm(0)
    text = errors.getvalue()
    if "Traceback" in text or status not in (0, 2):
        return f"traceback (status {status})", text
    if status == 2 and not text.startswith("qframe: "):
        return "refused without a message", text
    return ("trained" if status == 0 else "refused"), text


def run(count: int, seed: int) -> int:
    """Try this many configs, the first one unmutated; prints failures and a summary."""

    def time_out(*_: object) -> None:
        raise TookTooLong

    signal.signal(signal.SIGALRM, time_out)
    draw, counts = random.Random(seed), Counter[str]()
    config = compose([f"{key}={value}" for key, value in SMALL.items()], provided=build.PROVIDED)
    keys = list(leaves(config))  # pyright: ignore[reportArgumentType]
    left_out = ("hydra", "experiment", "sweep")
    groups = [path for path in conf_dir().iterdir() if path.is_dir() and path.name not in left_out]
    choices = {path.name: [file.stem for file in path.glob("*.yaml")] for path in sorted(groups)}
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        for case in range(count):
            mutations = [mutation(draw, keys, choices) for _ in range(draw.choice([1, 1, 2]) if case else 0)]
            named = {override.partition("=")[0] for override in mutations}
            small = [f"{key}={value}" for key, value in SMALL.items() if key not in named]
            words = ["train", *small, "hydra.run.dir=run", *mutations]
            if case and draw.random() < 0.25:
                words = ["eval", "run", "--episodes", "1"]
                _write_run(config, mutations)
            found, text = outcome(words)
            counts[found] += 1
            if found not in ("trained", "refused") or (not case and found != "trained"):
                print(f"case {case}: {found}: {' '.join(words)[:300]} {mutations}\n{text[-2000:]}", flush=True)
            shutil.rmtree("run", ignore_errors=True)
    print(", ".join(f"{number} {name}" for name, number in sorted(counts.items())))
    return 0 if counts.keys() <= {"trained", "refused"} else 1


def _write_run(config: Any, mutations: list[str]) -> None:
    """Write a run's folder whose ``config.yaml`` holds the mutated values as text."""
    content = OmegaConf.to_container(config, resolve=True)
    assert isinstance(content, dict)
    for override in mutations:
        *path, last = override.lstrip("~").partition("=")[0].split(".")
        node: Any = content
        for step in path:
            node = node.setdefault(step, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            node[last] = override.partition("=")[2]
    Path("run").mkdir()
    OmegaConf.save(OmegaConf.create(content), "run/config.yaml")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    sys.exit(run(*(numbers + [1000, 0][len(numbers) :])))
