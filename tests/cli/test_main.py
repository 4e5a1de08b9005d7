import runpy
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import qframe
from qframe.cli import main as cli
from qframe.cli.main import main
from qframe.errors import RunError, Stopped, UserError
from qframe.formatting import format_command


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    assert "train" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"qframe {qframe.__version__}\n"
    assert main([]) == 2
    assert main(["list", "--help"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "qframe: unknown command 'trian'; nearest is 'train'"),
        (["--verson"], "qframe: unknown command '--verson'; nearest is '--version' (valid: --help, --version)\n"),
        (["list", "--config-di", "x"], "qframe: unknown argument '--config-di'; nearest is '--config-dir'"),
        (["list", "a", "b"], "qframe: unknown argument 'b'; see qframe list --help\n"),
        (["resume"], "qframe: the following arguments are required: RUN; see qframe resume --help\n"),
        (["train", "--cfg", "job"], "qframe: unknown argument '--cfg'; qframe check --print shows the config"),
        (["train", "-cd", "conf"], "qframe: unknown argument '-cd'; use --config-dir DIR"),
        (["check", "--info"], "qframe: unknown argument '--info'; see qframe list and qframe check --print"),
        (["eval", "x", "--episodes", "1.5"], "qframe: argument --episodes: '1.5' is not an integer (e.g. 1000,"),
        (["list", "--config-dir"], "qframe: argument --config-dir: expected one argument; see qframe list --help\n"),
    ],
)
def test_a_mistyped_word_exits_2_with_the_nearest(words, message, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("broken"), 1, "this is a fault of qframe; please report"),
        (OSError(28, "No space left on device", "a.pt"), 2, "cannot write or read 'a.pt': No space left on device"),
        (SystemExit(143), 143, ""),
        (Stopped(signal.SIGTERM, "saved"), 143, "qframe: saved"),
        (Stopped(signal.SIGINT, "saved"), 130, "qframe: saved"),
        (RunError("diverged"), 2, "qframe: diverged"),
        (UserError("mistyped"), 2, "qframe: mistyped"),
    ],
)
def test_what_a_command_raises_becomes_an_exit_status(error, status, text, monkeypatch, capsys):
    def parsed(words):
        raise error

    monkeypatch.setattr(cli, "_parsed", parsed)
    assert main(["train"]) == status
    printed = capsys.readouterr().err
    assert text in printed
    assert ("Traceback" in printed) == (status == 1)


def test_a_warning_is_one_line_without_colours(monkeypatch):
    monkeypatch.setattr(cli.warnings, "formatwarning", cli.warnings.formatwarning)
    assert main(["--version"]) == 0
    text = cli.warnings.formatwarning("\x1b[33mWARN: out of date.\x1b[0m", UserWarning, "file.py", 1)
    assert text == "qframe: warning: out of date.\n"


def test_help_imports_neither_torch_nor_hydra():
    code = "import sys; from qframe.cli import main; main.main(['-h']); print({'torch', 'hydra'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_the_package_is_the_command_and_has_types():
    done = subprocess.run([sys.executable, "-m", "qframe", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"qframe {qframe.__version__}\n"
    assert Path(qframe.__file__).with_name("py.typed").is_file()


def test_the_script_is_the_train_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(Path(qframe.__file__).parents[1] / "scripts" / "train.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("usage: qframe train")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "hed=other"], ["check", "hed=other"], ["train", "-m", "hed=other"], ["list", "hed"], ["runs", "no"],
        ["compare", "no"], ["diff", "no", "no"], ["eval", "no"], ["export", "no"], ["resume", "no"], ["rerun", "no"],
        ["bench", "no"], ["init", "no=1"], ["completion", "no"], ["trian"], ["train", "--no"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["1", "0", None])
def test_hydras_variable_adds_the_traceback_of_a_mistake_to_every_command(toy, monkeypatch, capsys, words, value):
    if value is not None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", value)
    assert main(words) == 2
    printed = capsys.readouterr().err
    assert ("Traceback (most recent call last)" in printed) is (value == "1")
    assert printed.splitlines()[-1].startswith("qframe: ")


def test_list_shows_groups_options_and_their_first_comment(toy, capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "logger\n  default   The logger of the tests\nloss\n" in listed
    assert "hydra" not in listed
    assert main(["list", "experiment"]) == 0
    assert capsys.readouterr().out == "experiment\n  small  A small run\n"


def test_list_of_an_unknown_group_exits_2(toy, capsys):
    assert main(["list", "experimnt"]) == 2
    assert capsys.readouterr().err.startswith("qframe: experimnt: unknown group; nearest is 'experiment'")


def test_check_tells_what_would_be_trained(toy, capsys):
    assert main(["check"]) == 0
    assert capsys.readouterr().out == "environment  Toy-v0\nhead         Head\nno faults found\n"


def test_check_tells_all_faults_at_once(toy, capsys):
    assert main(["check", "env.num_env=4", "seed=-1", "head=othr"]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0] == "qframe: 3 faults in the configuration"
    assert len(captured.err.splitlines()) == 4
    assert captured.out == ""


def test_check_tells_what_only_building_shows(toy, capsys):
    assert main(["check", "head=other", "env.num_envs=3"]) == 2
    assert capsys.readouterr().err == "qframe: head.kind: expected a with three environments, got 'b'\n"


def test_after_two_dashes_a_path_may_begin_with_a_dash(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-dash").mkdir()
    assert main(["runs", "--", "-dash"]) == 2
    assert capsys.readouterr().err == "qframe: there is no run in '-dash'; qframe train writes its runs to outputs/\n"


def test_commands_that_are_printed_can_be_pasted_into_a_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "it's [mine] $HOME"
    command = format_command("qframe", "resume", place)
    assert shlex.split(command) == ["qframe", "resume", "it's [mine] $HOME"]
    assert format_command("cd", tmp_path / "-dash") == "cd ./-dash"
