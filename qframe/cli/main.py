"""The ``qframe`` command: finds the subcommand, runs it, and turns what it raises into an exit status.

0: done; 1: a fault of qframe, with its traceback; 2: a mistake of the user, in a few lines; 130 and 143: a signal.
A command is a module of ``qframe.cli`` with ``run(arguments) -> int``, and its arguments are in ``arguments.py``;
``arguments.started`` is when the process started, on ``time.monotonic``'s clock.
"""

import argparse
import errno
import gc
import importlib
import os
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from traceback import walk_tb
from types import ModuleType

import qframe
from qframe.cli.arguments import COMMANDS, Parser
from qframe.errors import RunError, Stopped, UserError, hint
from qframe.machine.screen import guarded_screen

TRAINING = (["train"], ["resume"], ["rerun"], ["bench"])
"""Commands that run on when nobody reads their output; the output of all others is their result."""
DISK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
PLACES = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
"""Errors of a path that was typed, or of a folder that somebody moved; an environment's own are not the user's."""
REFUSED_ON_CUDA = "does not have a deterministic implementation"  # torch's message under deterministic=true
PACKAGE = Path(qframe.__file__).parent
ENVIRONMENT = "the environment raised this error; the lines above show where"
NO_MEMORY = "out of memory; lower replay.capacity, replay.batch_size or env.num_envs"
ISSUES = "this is a fault of qframe; please report it with the lines above"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``qframe``; None takes them from the process.

    Returns:
        The exit status.
    """
    started = time.monotonic()
    if argv is None and is_follower():
        return _command("qframe.cli.follow").follow()
    warnings.formatwarning = _readable
    words = list(sys.argv[1:] if argv is None else argv)
    with guarded_screen() as screen:
        screen.output.warns_of_reader = is_training = words[:1] in TRAINING
        try:
            command, arguments = _parsed(words)
            arguments.started = started
            status = command.run(arguments)
        except BaseException as error:
            status = _reported(error)
    return status or (0 if is_training or screen.output.has_reader else 2)


def _reported(error: BaseException) -> int:
    """Print why a command ended, and return its exit status; ``HYDRA_FULL_ERROR=1`` adds the traceback of a mistake."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1" and not isinstance(error, SystemExit | Stopped | KeyboardInterrupt):
        traceback.print_exception(error)
        print(file=sys.stderr)
    if isinstance(error, UserError | RunError):
        _report(str(error), error)
        return 2
    if isinstance(error, Stopped):
        _report(str(error), error)
        return 130 if error.number == signal.SIGINT else 143
    if isinstance(error, SystemExit) and not _is_environments(error):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        print("qframe: interrupted", file=sys.stderr)
        return 128 + next((number for number in error.args if isinstance(number, int)), signal.SIGINT)
    if isinstance(error, OSError) and (error.errno in DISK or (error.errno in PLACES and not _is_environments(error))):
        place = f" '{error.filename}'" if error.filename else ""
        _report(f"cannot write or read{place}: {error.strerror}", error)
        return 2
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        _report(NO_MEMORY, error)
        return 2
    if REFUSED_ON_CUDA in str(error):
        print(f"qframe: deterministic: {str(error).split(',')[0]}; set deterministic=false", file=sys.stderr)
        return 2
    if os.environ.get("HYDRA_FULL_ERROR") != "1":
        traceback.print_exception(error)
    print(f"qframe: {ENVIRONMENT if _is_environments(error) else ISSUES}", file=sys.stderr)
    return 1


def _parsed(words: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    """The command's module and its arguments.

    Raises:
        SystemExit: help or the version was asked for, and printed.
        UserError: there is no such command or argument.
    """
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        raise SystemExit(0 if words else 2)
    if words[0] == "--version":
        print(f"qframe {qframe.__version__}")
        raise SystemExit(0)
    if words[0] not in COMMANDS:
        valid = ["--help", "--version"] if words[0].startswith("-") else COMMANDS
        raise UserError(f"unknown command '{words[0]}'; {hint(words[0], valid)}")
    arguments = Parser(words[0]).parse_words(words[1:])
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the current folder no longer exists; change to another one") from error
    _look_for_run(arguments)
    return _command(f"qframe.cli.{words[0]}"), arguments


def is_follower() -> bool:
    """Whether this process learns with another one, rank 0, which alone reads the command line.

    ``torchrun``, and rank 0 itself, set these variables.
    """
    world = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return all(name in os.environ for name in world) and os.environ["RANK"] != "0"


def _look_for_run(arguments: argparse.Namespace) -> None:
    """Look for the run that the arguments name before the command is imported, which takes seconds.

    Raises:
        UserError: there is none.
    """
    if "run" in arguments:
        from qframe.runs.folder import open_run  # not at the top: the other commands start faster

        if not (arguments.run / "sweep.json").is_file():
            open_run(arguments.run)


def _command(name: str) -> ModuleType:
    """Import a command's module without garbage collection, which would take a sixth of the start-up time."""
    if name in sys.modules:
        return sys.modules[name]
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _report(text: str, error: BaseException) -> None:
    """Print an error with its notes, such as how far the run came."""
    print("\n  ".join([f"qframe: {text}", *getattr(error, "__notes__", [])]), file=sys.stderr)


def _is_environments(error: BaseException) -> bool:
    """Whether an environment raised it: the last of qframe's own files in the traceback is one of ``envs/``."""
    files = [Path(frame.f_code.co_filename) for frame, _ in walk_tb(error.__traceback__)]
    ours = [path for path in files if PACKAGE in path.parents]
    return bool(ours) and ours[-1] != files[-1] and ours[-1].parent == PACKAGE / "envs"


def _readable(message: Warning | str, category: type[Warning], *place: object) -> str:
    """A warning in one line, without Gymnasium's colours."""
    text = re.sub(r"\x1b\[\d*m", "", str(message)).removeprefix("WARN: ")
    return f"qframe: warning: {text}\n"


def _help() -> str:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {line}" for name, line in COMMANDS.items())
    return (
        "usage: qframe COMMAND [arguments]\n\nDeep Q-learning from YAML.\n\n"
        f"{listed}\n\nqframe COMMAND --help shows the arguments of a command, qframe --version the version.\n"
        "First steps: qframe list, qframe check, qframe train experiment=cartpole_dqn"
    )
