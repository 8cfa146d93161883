"""Writes the page of commands from what the commands themselves say, so that it cannot fall behind them."""

from __future__ import annotations

import html
import importlib
import os

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

from fl.cli.arguments.explained import explained
from fl.cli.arguments.overrides import defaults, groups
from fl.cli.commands.completion import OF_A_RUN, SHELLS
from fl.cli.main import COMMANDS
from fl.coordinator.config import CoordinatorConfig, TaskConfig

_MARK = "<!-- every command -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """What mkdocs calls for each page."""
    return markdown.replace(_MARK, every_command()) if _MARK in markdown else markdown


def every_command() -> str:
    """A section for each command: its line, and a table of its settings."""
    parts = []
    for name, (module, about) in COMMANDS.items():
        parts += [f"## fl {name}", "", f"{_escaped(about)}.", ""]
        if name == "coordinator":
            parts += ["| setting | default | |", "|---|---|---|"]
            own = [*explained(TaskConfig), *explained(CoordinatorConfig)]
            parts += [
                f"| `{setting.name}=` | {_shown(setting.default)} | {_escaped(setting.about)} |" for setting in own
            ]
            parts += ["", "and the settings of [fl run](#fl-run), by their full names."]
        elif name in OF_A_RUN:
            parts += _run_settings(OF_A_RUN[name])
        elif name == "completion":
            parts += ["| shell | put in use with |", "|---|---|"]
            parts += [f"| `{shell}` | `{line}` |" for shell, line in SHELLS.items()]
        else:
            parts += ["| setting | |", "|---|---|"]
            known = importlib.import_module(module).KNOWN
            parts += [f"| `{key}=` | {_escaped(line)} |" for key, line in known.items()]
        parts.append("")
    return "\n".join(parts)


def _run_settings(prefixes: tuple[str, ...] | None) -> list[str]:
    lines = ["| choice | |", "|---|---|"]
    for group, choices in groups().items():
        if prefixes is None or group in prefixes:
            lines += [f"| `{group}={choice}` | {_escaped(line)} |" for choice, line in choices.items()]
    lines += ["", "| setting | default |", "|---|---|"]
    for key, value in defaults().items():
        if prefixes is None or key.partition(".")[0] in prefixes:
            lines.append(f"| `{key}=` | {_shown(value)} |")
    return lines


def _shown(value: object) -> str:
    return "" if value in (None, []) else f"`{value}`"


def _escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|")
