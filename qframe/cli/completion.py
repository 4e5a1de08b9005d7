"""``qframe completion SHELL``: a script that lets a shell complete commands, groups, options and keys."""

import argparse

from hydra.plugins.completion_plugin import DefaultCompletionPlugin

from qframe.cli.arguments import COMMANDS, Parser
from qframe.config.compose import read
from qframe.config.hydra_app import CONFIG_NAME, groups, hydra_app, options
from qframe.errors import UserError, hint

BASH = """_qframe() {
    local line="${COMP_LINE:0:$COMP_POINT}"
    local word="${line##* }"
    COMPREPLY=($(compgen -W "$(qframe completion query "$line" 2>/dev/null)" -- "$word"))
    case "$COMP_WORDBREAKS" in *=*) COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}") ;; esac
    case "${COMPREPLY[0]}" in *=|*.|*/) ;; *) [ ${#COMPREPLY[@]} -eq 1 ] && COMPREPLY=("${COMPREPLY[0]} ") ;; esac
}
complete -o nospace -o default -F _qframe qframe"""
ZSH = f"""(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -i; }}
autoload -U +X bashcompinit && bashcompinit
{BASH}"""
SCRIPTS = {"bash": BASH, "zsh": ZSH}
TAKES_OVERRIDES = ("train", "check")


def run(arguments: argparse.Namespace) -> int:
    """Print the script, or the completions of a line.

    Raises:
        UserError: the shell is not supported.
    """
    if arguments.shell == "query":
        print("\n".join(candidates(arguments.line)))
        return 0
    if arguments.shell not in SCRIPTS:
        raise UserError(f"unknown shell '{arguments.shell}'; {hint(arguments.shell, SCRIPTS)}")
    print(SCRIPTS[arguments.shell])
    return 0


def candidates(line: str) -> list[str]:
    """The completions of the last word of a line.

    >>> candidates("qframe tra")
    ['train']
    """
    *earlier, last = line.split(" ")
    words = [word for word in earlier[1:] if word]
    if not words:
        found = list(COMMANDS)
    elif words[0] not in COMMANDS:
        return []
    elif last.startswith("-"):
        found = sorted(Parser(words[0])._option_string_actions)
    else:
        found = _arguments(words[0], words[1:], last)
    return [name for name in found if name.startswith(last)]


def _arguments(command: str, words: list[str], last: str) -> list[str]:
    """Completions of overrides, by Hydra, and of groups and presets; the shell completes folders by itself."""
    with hydra_app() as app:
        loader = app.config_loader
        if command in TAKES_OVERRIDES:
            typed = [word for word in words if "=" in word and not word.startswith("-")]
            key, separator, values = last.rpartition("=")
            listed, comma, value = values.rpartition(",")  # of a sweep: the last of its values
            line = " ".join([*read(typed, loader).hydra, f"{key}{separator}{value}"])
            found = DefaultCompletionPlugin(loader)._query(CONFIG_NAME, line)
            return [f"{key}={listed},{name.rpartition('=')[2]}" for name in found] if comma else found
        if command == "list":
            return [group for group in groups(loader) if options(loader, group)]
        if command == "bench":
            return options(loader, "experiment")
    return list(SCRIPTS) if command == "completion" else []
