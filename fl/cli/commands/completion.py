"""`fl completion`: a script that completes commands, settings, choices and files in bash, zsh or fish.

The script holds all words by itself, so a Tab waits for no Python; make it again after an update of Fairshare.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from fl.cli.arguments.overrides import defaults, groups
from fl.cli.main import COMMANDS
from fl.coordinator.config import CoordinatorConfig, TaskConfig
from fl.errors import ConfigError
from fl.report.loggers import KNOWN as LOGGERS
from fl.scoring.coalition.game import GAMES, UTILITIES
from fl.scoring.scorer import known_scorers

SHELLS = {
    "bash": 'eval "$(fl completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(fl completion zsh)" in ~/.zshrc, after compinit',
    "fish": "fl completion fish > ~/.config/fish/completions/fl.fish",
}
# Commands whose settings are a run's: all of them, or these.
OF_A_RUN = {"run": None, "coordinator": None, "shards": ("data", "partition", "seed")}
# Choices that no description begins with.
_CHOICES: dict[str, dict[str, list[str]]] = {
    "run": {"loggers": list(LOGGERS)},
    "shards": {"out": []},
    # Its own settings and those of the task go by their short names too.
    "coordinator": {
        **{attribute.name: [] for of in (CoordinatorConfig, TaskConfig) for attribute in fields(of)},
        "stay": ["claims", "closed", "rounds"],
    },
    "score": {"game": list(GAMES), "utility": list(UTILITIES), "scorer": sorted(known_scorers())},
    "deploy": {"chain": ["anvil"]},
    "compile": {"solc": ["npm"]},
    "completion": {},
}


@dataclass(kw_only=True)
class Words:
    """What may follow a command."""

    about: str
    keys: dict[str, list[str]] = field(default_factory=dict)  # setting -> its choices, none where it is free
    bare: list[str] = field(default_factory=list)  # words that are no key=value


def main(arguments: Sequence[str]) -> None:
    """Print the script of a shell."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print("usage: fl completion SHELL\n")
        for shell, line in SHELLS.items():
            print(f"  {shell:<5} put in use with: {line}")
        return
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        seen = " ".join(arguments) or "nothing"
        raise ConfigError(f"the shell is {seen}; choose {', '.join(SHELLS)}, as in `fl completion bash`")
    print({"bash": bash, "zsh": zsh, "fish": fish}[arguments[0]](vocabulary()), end="")


def vocabulary() -> dict[str, Words]:
    """Every command with its settings and their choices."""
    found = {}
    choices, settings = groups(), defaults()
    for command, (module, about) in COMMANDS.items():
        words = found[command] = Words(about=about)
        if command in OF_A_RUN:
            prefixes = OF_A_RUN[command]
            names = [name for name in (*choices, *settings) if prefixes is None or name.partition(".")[0] in prefixes]
            words.keys = {name: list(choices.get(name, [])) for name in names}
        elif command != "completion":
            for key, line in importlib.import_module(module).KNOWN.items():
                words.keys[key] = ["true", "false"] if line.startswith(("true ", "false ")) else []
        words.keys |= _CHOICES.get(command, {})
    found["completion"].bare = list(SHELLS)
    return found


def bash(words: dict[str, Words]) -> str:
    """For bash, 3.2 or newer."""
    lines = ["# fl, for bash: " + SHELLS["bash"], "_fl_words() {", '  case "$1" in']
    for command, word in words.items():
        keys = " ".join([*(f"{key}=" for key in word.keys), *word.bare, "--help"])
        lines.append(f"    {command}) echo '{keys}' ;;")
        lines += [
            f"    {command}/{key}) echo '{' '.join(choices)}' ;;" for key, choices in word.keys.items() if choices
        ]
    lines += ["  esac", "}", _BASH.replace("COMMANDS", " ".join(words))]
    return "\n".join(lines)


_BASH = r"""_fl() {
  # Words are taken from the line itself: bash splits them at = and :, which settings are full of.
  local line=${COMP_LINE:0:COMP_POINT} cur key value head choices
  local -a words
  read -ra words <<<"$line"
  case $line in *[[:space:]]) words+=("") ;; esac
  cur=${words[${#words[@]} - 1]}
  COMPREPLY=()
  if ((${#words[@]} <= 2)); then
    COMPREPLY=($(compgen -W "COMMANDS --help --version" -- "$cur"))
    return
  fi
  case $cur in
  *=*)
    key=${cur%%=*} value=${cur#*=}
    choices=$(_fl_words "${words[1]}/$key")
    if [ -n "$choices" ]; then
      head=${value%"${value##*[\[,]}"} # of a list, what is before its last entry
      COMPREPLY=($(compgen -P "$head" -W "$choices" -- "${value#"$head"}"))
    else
      compopt -o filenames 2>/dev/null
      COMPREPLY=($(compgen -f -- "$value"))
    fi
    # bash replaces what is after the = where it breaks words there, and the whole word where it does not.
    case $COMP_WORDBREAKS in
    *=*) ;;
    *) COMPREPLY=("${COMPREPLY[@]/#/$key=}") ;;
    esac
    ;;
  *)
    COMPREPLY=($(compgen -W "$(_fl_words "${words[1]}")" -- "$cur"))
    case ${COMPREPLY[0]} in
    *=) compopt -o nospace 2>/dev/null ;;
    "")
      compopt -o filenames 2>/dev/null
      COMPREPLY=($(compgen -f -- "$cur"))
      ;;
    esac
    ;;
  esac
}
complete -F _fl fl
"""


def zsh(words: dict[str, Words]) -> str:
    """For zsh, after compinit."""
    lines = ["#compdef fl", "# fl, for zsh: " + SHELLS["zsh"], "typeset -gA _fl_words", "_fl_words=("]
    for command, told in words.items():
        keys = " ".join([*(f"{key}=" for key in told.keys), *told.bare, "--help"])
        lines.append(f"  {command} '{keys}'")
        lines += [f"  {command}/{key} '{' '.join(choices)}'" for key, choices in told.keys.items() if choices]
    about = [f"    '{command}:{_quoted(word.about)}'" for command, word in words.items()]
    return "\n".join([*lines, ")", _ZSH.replace("    COMMANDS", "\n".join(about))])


_ZSH = r"""_fl() {
  local -a commands found
  commands=(
    COMMANDS
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  if compset -P 1 '*='; then
    found=(${=_fl_words[${words[2]}/${IPREFIX%=}]})
    if (( $#found )); then
      compset -P '*[\[,]'
      compadd -a found
    else
      _files
    fi
    return
  fi
  found=(${=_fl_words[${words[2]}]})
  compadd -S '' -- ${(M)found:#*=}
  compadd -- ${found:#*=}
  _files
}
compdef _fl fl
"""


def fish(words: dict[str, Words]) -> str:
    """For fish, which completes files after a = by itself."""
    lines = ["# fl, for fish: " + SHELLS["fish"], "complete -c fl -n __fish_use_subcommand -f -l help -l version"]
    for command, word in words.items():
        lines.append(f"complete -c fl -n __fish_use_subcommand -f -a {command} -d '{_quoted(word.about)}'")
        seen = f"complete -c fl -n '__fish_seen_subcommand_from {command}'"
        told = [f"{key}={choice}" for key, choices in word.keys.items() for choice in choices]
        told += [f"{key}=" for key, choices in word.keys.items() if not choices]
        lines.append(f"{seen} -a '{' '.join([*told, *word.bare])}'")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text.replace("'", "’")
