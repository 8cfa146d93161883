"""What ran: the part of the report that tells data, model, rules and settings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fl.plain_text import plural
from fl.report.tables import settings_table
from fl.report.wording import escaped, tokens

_TASK_HASHES = {"Contract": "contract", "Token": "token", "Task id": "id", "Spec hash": "spec_hash"}


def setup_html(summary: dict[str, Any]) -> str:
    """Data, model, rules and hashes of a run, and all its settings."""
    config, task, totals = summary["config"], summary["task"], summary["totals"]
    attested = ", attested by evaluators, not provable on chain" if task["attested"] else ""
    facts: dict[str, str] = {
        "Data": f"{data_name(summary)}, {_dealt(summary)}; "
        + (
            f"{plural(len(task['class_names']), 'class').replace('classs', 'classes')}"
            if task["class_names"]
            else "no classes"
        ),
        "Model": f"{config['model']['path']} {_arguments(config['model']['arguments'])}".strip(),
        "Training": f"{config['task']['steps']} steps of {config['task']['batch_size']} samples a round, learning rate "
        f"{config['task']['learning_rate']}, {config['task']['loss']}",
        "Strategy": f"{config['strategy']['name']} {_arguments(config['strategy']['arguments'])}".strip(),
        "Length": _length(config["task"].get("length")),
        "Public step": _public(config["scorer"].get("public_rounds")),
        "Scorer": f"{task['scorer']}{attested}, {config['scorer']['nodes']} nodes, tolerance {config['scorer']['tolerance']}",
        "Privacy": privacy_told(summary),
        "Seed": str(config["seed"]),
        "Budget": f"{tokens(totals['budget_wei'])} tokens over {plural(len(summary['rounds']), 'round')}",
        "Chain": f"{config['chain']['name']}, chain id {task['chain_id']}",
    }
    hashes = {name: task[key] for name, key in _TASK_HASHES.items()}
    rows = _rows((name, escaped(value)) for name, value in facts.items())
    rows += _rows((name, f"<code>{escaped(value)}</code>") for name, value in hashes.items())
    return (
        f'<div class="card"><dl class="facts">{rows}</dl></div>\n'
        f"<details><summary>All settings</summary>{settings_table(summary)}</details>"
    )


def _length(rule: str | None) -> str:
    longer = "a longer update counts as if it had that length"
    return {
        "median": f"held to the median of each round, by stake: {longer}",
        "capped": f"held to the task's cap: {longer}",
    }.get(rule or "", "–")


def _public(rounds: int | None) -> str:
    if rounds is None:
        return "–"
    if not rounds:
        return "none, and all of a direction pays"
    return f"along the steps of the last {plural(rounds, 'round')}; those steps and the directions pay nobody"


def privacy_told(summary: dict[str, Any]) -> str:
    """Who saw what of an update, and what noise has spent, in words."""
    asked = summary["config"].get("privacy") or {}  # a summary from before private tasks has none
    told = (
        "masked: coordinator and evaluators saw the sum of each round and one score a client"
        if asked.get("masked")
        else "coordinator and evaluators saw every update"
    )
    spent = [round_["epsilon"] for round_ in summary["rounds"] if round_.get("epsilon") is not None]
    if not spent:
        return told
    if asked.get("noise") == "rows":
        return (
            f"{told}; noise on the gradients of rows in every step, with which all rounds together spent ε {spent[-1]:.2f} at δ "
            f"{asked.get('delta')} of each row of whoever has fewest, if its node did add it"
        )
    return (
        f"{told}; noise on every update, of which all rounds together spent ε {spent[-1]:.2f} at δ {asked.get('delta')}"
    )


def _dealt(summary: dict[str, Any]) -> str:
    clients = plural(len(summary["clients"]), "client")
    counts = [client["samples"] for client in summary["clients"]]
    if None in counts:
        return f"on the machines of {clients}"
    return f"{plural(sum(counts), 'training sample')} with {clients}, dealt by {summary['config']['partition']['name']}"


def facts_html(facts: dict[str, str]) -> str:
    """Names and plain values as a list."""
    return f'<dl class="facts">{_rows((name, escaped(value)) for name, value in facts.items())}</dl>'


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<dt>{escaped(name)}</dt><dd>{value}</dd>" for name, value in rows)


def data_name(summary: dict[str, Any]) -> str:
    """What the model was trained on, and its file without the folder."""
    data = summary["config"]["data"]
    return f"{data['name']} ({Path(data['path']).name})" if data.get("path") else str(data["name"])


def model_name(summary: dict[str, Any]) -> str:
    """The model's class."""
    return str(summary["config"]["model"]["path"]).rpartition(":")[2]


def _arguments(arguments: dict[str, Any]) -> str:
    return f"({', '.join(f'{name}={value}' for name, value in arguments.items())})" if arguments else ""
