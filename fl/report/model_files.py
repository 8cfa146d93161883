"""What a task trained, for who paid for it: the best and the last model as files that can be used, and a card about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl.bundle.files import NEXT, BrokenBundle
from fl.bundle.store import BundleStore
from fl.chain.tokens import tokens
from fl.chain.whole_file import write_whole
from fl.foreign.arrays import BadArrays, read_arrays
from fl.plain_text import agreeing, plural, printable
from fl.report.quality import TEST_LOSS, quality_of
from fl.task.data import is_text_schema
from fl.task.data.tokens import BYTES
from fl.task.saved_model import SavedModel

MODELS = "model"  # folder in a run's or a coordinator's
BEST, LAST, CARD = "best.safetensors", "last.safetensors", "README.md"
_MOST_CLIENTS = 50  # in the card's table


def write_models(folder: Path, summary: Mapping[str, Any], *, spec: str, archive: str | None = None) -> list[Path]:
    """Write best and last model and their card into FOLDER/model; returns what was written, nothing without a round.

    Args:
        folder: Of the run, with its bundles.
        summary: Of the run.
        spec: The task's, as its invite has it.
        archive: Store that has copies of bundles whose models are not in the folder any more, None for none.
    """
    stores = [BundleStore.at(str(folder / "bundles")), *([BundleStore.at(archive)] if archive else [])]
    by_loss = sorted(summary["rounds"], key=lambda round_: (round_["test_loss"], round_["round"]))
    chosen = {}
    for name, candidates in ((BEST, by_loss), (LAST, sorted(summary["rounds"], key=lambda round_: -round_["round"]))):
        for candidate in candidates:
            if (model := _model_after(candidate, stores, summary=summary, spec=spec)) is not None:
                chosen[name] = candidate
                model.write(folder / MODELS / name)
                break
    if not chosen:
        return []
    write_whole(folder / MODELS / CARD, card(summary, json.loads(spec), chosen).encode())
    return [folder / MODELS / name for name in (*chosen, CARD)]


def _model_after(
    round_: Mapping[str, Any], stores: list[BundleStore], *, summary: Mapping[str, Any], spec: str
) -> SavedModel | None:
    """The model that a round ended with; None where its bundle has none any more."""
    for store in stores:
        try:
            arrays = read_arrays(store.bundle(round_["round"]).read(NEXT))
        except (BrokenBundle, BadArrays):
            continue
        about = {
            "task": summary["task"]["id"],
            "name": printable(summary["task"].get("name", ""), most=200),
            "round": str(round_["round"]),
            "test_loss": f"{round_['test_loss']:.6g}",
            # Nothing is right or wrong in a regression or a language model.
            **({} if round_["accuracy"] is None else {"test_accuracy": f"{round_['accuracy']:.6g}"}),
        }
        return SavedModel(arrays=arrays, spec=spec, about=about)
    return None


def _called(client: Mapping[str, Any]) -> str:
    """A client's name, which it may have chosen itself; then its account tells it from another of that name."""
    name, account = printable(client["name"], most=60), client["account"]
    own = name in (account, f"{account[:6]}…{account[-4:]}") or name == f"client-{client['number']}"
    return f"`{name}`" if own else f"`{name}`, `{account[:6]}…{account[-4:]}`"


def card(summary: Mapping[str, Any], spec: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]]) -> str:
    """The model card, in Markdown: data, training, scores, limits.

    Args:
        summary: Of the run.
        spec: Of its task.
        chosen: The round of each model file.
    Source: Mitchell et al. 2019, Model Cards for Model Reporting.
    """
    task, totals = summary["task"], summary["totals"]
    lines = [f"# {printable(task.get('name') or 'Model of task ' + task['id'][:10] + '…', most=200)}", ""]
    if task.get("description"):
        lines += [printable(task["description"], most=2000), ""]
    quality = quality_of(dict(summary))
    measures = [TEST_LOSS] if quality is TEST_LOSS else [quality, TEST_LOSS]
    heads = [measure.name if measure is TEST_LOSS else f"test {measure.name}" for measure in measures]
    lines += [f"| file | after round | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    lines += [
        f"| `{name}` | {round_['round']} of {task.get('rounds', totals['rounds'])} | "
        f"{' | '.join(each.write(round_[each.key]) for each in measures)} |"
        for name, round_ in chosen.items()
    ]
    lines += ["", "Each file holds its preprocessing and schema as metadata. To use one:", ""]
    lines += ["```sh", f"fl predict {MODELS}/{BEST} TABLE", "```", "", "## What it predicts", ""]
    lines += [f"- model: `{printable(spec['model'], most=200)}`, {task.get('parameters', 0):,} values"]
    classes = [f"`{printable(name, most=60)}`" for name in spec.get("class_names") or []]
    if classes:
        lines.append(f"- classes: {', '.join(classes[:50])}" + (", …" if len(classes) > 50 else ""))
    if is_text_schema(spec.get("schema")):
        token = "byte" if spec["schema"]["tokens"] == BYTES else "token"
        lines.append(f"- the next {token} of a text, from up to {spec['feature_shape'][0]} before it")
        if sample := summary.get("sample"):
            lines += [
                f"- after `{printable(sample['opening'], most=400)}` it goes on: `{printable(sample['after'], most=400)}`"
            ]
    elif schema := spec.get("schema"):
        columns = [f"`{printable(column['name'], most=60)}`" for column in schema["columns"]]
        lines.append(
            f"- from {plural(len(columns), 'column')}: {', '.join(columns[:100])}"
            + (", …" if len(columns) > 100 else "")
        )
        lines.append(f"- the target column was `{printable(schema['target'], most=60)}`")
    else:
        lines.append(f"- from inputs of the shape {tuple(spec['feature_shape'])}")
    lines += ["", "## Data", ""]
    lines.append(
        f"- trained on the shards of {plural(len(summary['clients']), 'client')}, which never left their machines"
    )
    lines.append(
        f"- scored on {task.get('validation_samples', '?')} validation rows of the coordinator's, and the figures above are "
        f"on its {task.get('test_samples', '?')} test rows, which nobody trained or scored on"
    )
    lines += ["", "## Training", ""]
    lines.append(
        f"- {plural(totals['rounds'], 'round')} of {plural(spec['steps'], 'local step')} of {plural(spec['batch_size'], 'row')}, learning rate "
        f"{spec['learning_rate']}, strategy {printable(spec['strategy'], most=50)}"
    )
    first, last = quality.first_and_last(dict(summary))
    lines.append(f"- {heads[0]} {first} before the first round, {last} after the last")
    lines.append(
        f"- task `{task['id']}` of contract `{task['contract']}` on chain {task['chain_id']}: every round's model is the one "
        "whose hash is in its header there"
    )
    lines += ["", "## Who trained it", "", "| client | stake share | score | earned, tokens |", "|---|---|---|---|"]
    ranked = sorted(summary["clients"], key=lambda client: -int(client["score_q40"]))
    lines += [
        f"| {_called(client)} | {client['stake_share']:.1%} | {client['score']:+.4f} | {tokens(int(client['paid_wei']))} |"
        for client in ranked[:_MOST_CLIENTS]
    ]
    if len(ranked) > _MOST_CLIENTS:
        lines.append(f"| and {len(ranked) - _MOST_CLIENTS} more | | | |")
    refused = sum(len(round_["refusals"]) for round_ in summary["rounds"])
    lines += ["", "Score is what a client's updates took off the validation loss over all rounds.", "", "## Limits", ""]
    lines.append(
        "- It has seen rows like those of its clients, and the figures are of the coordinator's rows: elsewhere it may be worse."
    )
    lines.append(
        "- Nobody has looked for unfair treatment of groups; do so on rows of your own before it decides about people."
    )
    lines.append("- A model can give away something of the rows that it was trained on.")
    if refused:
        lines.append(
            f"- {plural(refused, 'update')} {agreeing(refused, 'was', 'were')} refused during training; the run's report says why."
        )
    return "\n".join(lines) + "\n"
