"""The arguments of every command. Nothing here imports torch: help and mistyped options are reported at once."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from qframe.config.numbers import integer
from qframe.errors import UserError, hint

COMMANDS = {
    "train": "train a run, or with -m a sweep over several values",
    "check": "report all faults of a config at once, or the parts that it would train",
    "init": "a project of your own: environment, head, preset and tests, which trains at once",
    "list": "list the groups of the config and their options",
    "resume": "resume a run exactly where it stopped, or a sweep",
    "bench": "train several seeds of a preset and compare them with the score that it states",
    "eval": "play greedy episodes of a trained run and print their statistics",
    "compare": "compare runs: scores with intervals, learning curves; as table, CSV, SVG and HTML",
    "runs": "list runs and sweeps: status, frames, score, age",
    "diff": "show how the configs of two runs differ",
    "rerun": "train the same run again and check that it logs the same, or with changes such as seed=2",
    "export": "write the trained policy as one ONNX or torch.export file, checked against the network",
    "completion": "print the script that completes commands, groups, options and keys in your shell",
}
OF_HYDRA = {
    "--cfg": "qframe check --print shows the config", "-c": "qframe check --print shows the config",
    "--resolve": "qframe check --print shows the resolved config", "--info": "see qframe list and qframe check --print",
    "-i": "see qframe list and qframe check --print", "--package": "qframe check --print shows the config",
    "-p": "qframe check --print shows the config", "-cd": "use --config-dir DIR", "-cp": "use --config-dir DIR",
    "--config-path": "use --config-dir DIR", "-cn": "choose a preset by experiment=NAME",
    "--config-name": "choose a preset by experiment=NAME", "--hydra-help": "see qframe train --help",
    "--shell-completion": "use qframe completion", "-sc": "use qframe completion", "--run": "leave it out",
    "-r": "leave it out", "--experimental-rerun": "use qframe rerun RUN",
}  # fmt: skip
"""Options of Hydra's own command line, with the way to the same thing here."""
STATUSES = ("finished", "running", "stopped", "crashed", "failed", "refused", "pruned")
"""Of a run."""


class Parser(argparse.ArgumentParser):
    """The parser of one command's arguments; its errors are :class:`UserError`.

    Args:
        command: one of ``COMMANDS``.
        **options: of ``argparse.ArgumentParser``.
    """

    def __init__(self, command: str, **options: object) -> None:
        options = {"description": COMMANDS[command], "allow_abbrev": False} | options
        super().__init__(prog=f"qframe {command}", **options)  # pyright: ignore[reportArgumentType]
        ARGUMENTS[command](self)

    def error(self, message: str) -> NoReturn:
        """Raise the error as one line."""
        message = message.replace("RUN, OVERRIDE", "RUN")  # argparse lists what may be left out as well
        raise UserError(f"{message}; see {self.prog} --help")

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments; in any order; after ``--`` a path may begin with a dash.

        Raises:
            UserError: there is an unknown option, or an argument is missing or superfluous.
        """
        if "--" in words:
            place = words.index("--")
            paths = [f"./{word}" if word.startswith("-") else word for word in words[place + 1 :]]
            words = [*words[:place], *paths]
        arguments, rest = self.parse_known_intermixed_args(words)
        if rest:
            options = [option for option in self._option_string_actions if option.startswith("--")]
            remedy = hint(rest[0], options) if rest[0].startswith("-") else f"see {self.prog} --help"
            word = rest[0].partition("=")[0]
            raise UserError(f"unknown argument '{rest[0]}'; {OF_HYDRA.get(word, remedy)}")
        return arguments


def whole_number(text: str) -> int:
    """An integer in the notation of a config.

    >>> whole_number("1e3")
    1000
    """
    number = integer(text)
    if number is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not an integer (e.g. 1000, 1e6, 50k or 1M)")
    return number


def at_least(lowest: int) -> Callable[[str], int]:
    """The type of an integer that is not below ``lowest``."""

    def number(text: str) -> int:
        if (value := whole_number(text)) < lowest:
            raise argparse.ArgumentTypeError(f"must be at least {lowest}, got {value}")
        return value

    return number


def _train(parser: argparse.ArgumentParser) -> None:
    text = "sweep: run every combination of the values given as key=a,b"
    parser.add_argument("-m", "--multirun", action="store_true", help=text)
    text = "with -m: only print the jobs, and what launching the sweep would do with each"
    parser.add_argument("--dry-run", action="store_true", help=text)
    text = "start from the config of an earlier run in place of the defaults, as --config RUN/config.yaml"
    parser.add_argument("--config", type=Path, metavar="FILE", help=text)
    _overrides(parser)


def _check(parser: argparse.ArgumentParser) -> None:
    text = "also print the resolved config, with the file and the meaning of each value"
    parser.add_argument("--print", action="store_true", dest="prints", help=text)
    _overrides(parser)


def _init(parser: argparse.ArgumentParser) -> None:
    text = "a new or empty folder; its name becomes the Python package's, as my-lab → my_lab"
    parser.add_argument("folder", type=Path, metavar="DIR", help=text)


def _list(parser: argparse.ArgumentParser) -> None:
    text = "only this group, as network, or the file of one option, as network/q_net; experiment lists the presets with"
    text += " the scores that they state"
    parser.add_argument("group", nargs="?", metavar="GROUP", help=text)
    _config_dir(parser)


def _resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run or a sweep")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="key=value, as total_frames=100k")
    text = "resume with another learner.workers: running episodes are abandoned, and replays fill again"
    parser.add_argument("--reshard", action="store_true", help=text)
    _trust(parser)


def _bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("preset", metavar="PRESET", help="a name that qframe list experiment shows")
    parser.add_argument("--seeds", type=at_least(1), default=5, metavar="N", help="number of seeds (default 5)")
    text = "the first seed (default 101); presets were tuned on lower ones"
    parser.add_argument("--first-seed", type=at_least(0), default=101, metavar="S", help=text)
    text = "runs at once (default: as many as the cores allow)"
    parser.add_argument("--jobs", type=at_least(1), default=None, metavar="N", help=text)
    text = "keep the seeds that are finished, and resume the others"
    parser.add_argument("--resume", action="store_true", help=text)
    text = "for maintainers: also write DIR/PRESET.json, from as many seeds as the preset states (docs/results)"
    parser.add_argument("--record", type=Path, metavar="DIR", help=text)
    _config_dir(parser)
    _trust(parser)


def _eval(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument(
        "--episodes", type=at_least(1), default=100, metavar="N", help="episodes to play (default 100)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="S", help="of the episodes (default 0)")
    text = "film the first episodes into the run's folder videos/ (default 1; needs the extra video)"
    parser.add_argument("--video", type=at_least(0), nargs="?", const=1, default=0, metavar="N", help=text)
    parser.add_argument("--last", action="store_true", help="the last network instead of the best one")
    text = "cpu, cuda or cuda:N (default: the run's own, or the CPU if this machine lacks it)"
    parser.add_argument("--device", metavar="D", help=text)
    _trust(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    text = "folders of runs, or folders with runs in them, such as sweeps"
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help=text)
    parser.add_argument("--out", type=Path, metavar="DIR", help="write CSV, SVG and index.html there")
    text = "the key of summary.json to compare (default eval_return_mean; eval_return_last: the last network)"
    parser.add_argument("--score", default="eval_return_mean", metavar="NAME", help=text)
    text = "a return to reach, for all environments or as ENV=R (default: nine tenths of the way from the lowest"
    text += " evaluation in an environment to the highest); may be repeated"
    parser.add_argument("--threshold", action="append", default=[], metavar="R", help=text)
    text = "group runs by these keys alone, as head,replay.n_step (default: by all in which they differ but the seed)"
    parser.add_argument("--by", action="append", default=[], metavar="KEY[,KEY]", help=text)
    _where(parser)


def _where(parser: argparse.ArgumentParser) -> None:
    text = "only runs with this value in their config, as env.id=CartPole-v1; may be repeated"
    parser.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help=text)


def _runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="folders to search (default outputs/)")
    parser.add_argument("--status", metavar="S[,S]", help=f"only these: {', '.join(STATUSES)}")
    _where(parser)
    text = "age, score, frames, status, path (default age, newest first)"
    parser.add_argument("--sort", default="age", metavar="BY", help=text)
    parser.add_argument("--jobs", action="store_true", help="list every job of a sweep on its own line")
    parser.add_argument("--json", action="store_true", help="one JSON object per run, for scripts")


def _diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, metavar="A", help="the folder of a run")
    parser.add_argument("second", type=Path, metavar="B", help="the folder of another")


def _rerun(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    text = "key=value, as seed=2: changes of the run, which is then not compared with the earlier one"
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help=text)
    parser.add_argument("--dir", type=Path, metavar="DIR", help="the new run's folder (default in outputs/)")
    _trust(parser)


def _export(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("--format", default="onnx", metavar="F", help="onnx (default) or torch (torch.export)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default policy.onnx or .pt2 in the run's folder")
    parser.add_argument("--last", action="store_true", help="the last network instead of the best one")
    _trust(parser)


def _completion(parser: argparse.ArgumentParser) -> None:
    text = 'bash or zsh: eval "$(qframe completion bash)" in your shell, or in its start-up file'
    parser.add_argument("shell", metavar="SHELL", help=text)
    parser.add_argument("line", nargs="?", default="", help=argparse.SUPPRESS)


def _overrides(parser: argparse.ArgumentParser) -> None:
    text = "group=option or key=value, as network=shared_trunk optimizer.lr=1e-3 total_frames=1M"
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help=text)
    _config_dir(parser)
    _trust(parser)


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")


def _config_dir(parser: argparse.ArgumentParser) -> None:
    text = "a folder with options of your own, as network/my_net.yaml"
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help=text)


def _trust(parser: argparse.ArgumentParser) -> None:
    text = "a package that _target_ may name besides qframe, torch.nn and torch.optim; may be repeated"
    parser.add_argument("--trust", action="append", default=[], metavar="PREFIX", help=text)


ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "train": _train, "check": _check, "init": _init, "list": _list, "resume": _resume, "bench": _bench, "eval": _eval,
    "compare": _compare, "runs": _runs, "diff": _diff, "rerun": _rerun, "export": _export, "completion": _completion,
}  # fmt: skip
"""Adds the arguments of each command."""
