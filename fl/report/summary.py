"""`summary.json`: everything that a run came to. Wei and scores are decimal strings, as JSON readers lose digits above 2^53."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from fl.chain.json_file import write_json
from fl.coordinator.config import RunConfig
from fl.coordinator.result import FederationResult
from fl.coordinator.round.report import RoundReport
from fl.report.files import LATEST, STATUS, SUMMARY
from fl.rewards import HIGHEST_PRICE, SCORE_FRACTION_BITS, price_of
from fl.scoring.analysis.uncertainty import ScoreReading
from fl.scoring.game import Evaluation


def summarise(
    config: RunConfig,
    result: FederationResult,
    *,
    folder: Path,
    live: Mapping[str, Any] | None = None,
    earlier: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The summary as plain JSON values.

    Args:
        result: What the run came to, or has come to so far.
        folder: Of the run.
        live: What goes on right now: round, phase, since when, and the nodes; None once the run is finished.
        earlier: Rounds of the same task as an earlier life of its coordinator summed them up, by number.
    """
    rounds = [
        *earlier,
        *(_round(report, test, folder) for report, test in zip(result.rounds, result.tests, strict=False)),
    ]
    return {
        "status": "finished" if live is None else "running",
        "live": live,
        "machine": {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "engine": None if result.engine is None else asdict(result.engine),
        "config": settings_of(config),
        "task": {**_task(result), "name": _name(config), "description": config.coordinator.description},
        "clients": _clients(result, rounds, finished=live is None),
        "rounds": rounds,
        "sample": None if result.sample is None else asdict(result.sample),
        "totals": _totals(result, rounds, finished=live is None),
        "gas": {
            name: {
                "count": len(used),
                "median": int(median(used)),
                "least": min(used),
                "most": max(used),
                "total": sum(used),
            }
            for name, used in result.gas.items()
            if used
        },
    }


def _name(config: RunConfig) -> str:
    return config.name if config.name != RunConfig.name else ""


def _task(result: FederationResult) -> dict[str, Any]:
    terms = result.terms
    return {
        "id": "0x" + result.task_id.hex(),
        "chain_id": result.chain_id,
        "contract": result.contract,
        "token": result.token,
        "spec_hash": "0x" + result.spec.hash().hex(),
        "class_names": list(result.spec.class_names),
        **_table(result.spec.schema),
        "parameters": result.parameters,
        "validation_samples": result.validation_samples,
        "test_samples": result.test_samples,
        "coordinator": terms.coordinator,
        "evaluators": list(terms.evaluators),
        "quorum": terms.quorum,
        "rounds": terms.rounds,
        "reveal": "round" if terms.reveal_each_round else "end",
        "attested": terms.attested,
        "scorer": result.spec.scorer,  # the rule that pays; a strategy that picks coordinates brings its own
        "challenge_window": terms.challenge_window,
        "round_timeout": terms.round_timeout,
        "claim_period": terms.claim_period,
    }


def _table(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a table's task predicts from which columns; nothing of other data."""
    if not schema or "columns" not in schema:
        return {"target": None, "columns": []}
    return {"target": schema["target"], "columns": [column["name"] for column in schema["columns"]]}


def _totals(result: FederationResult, rounds: Sequence[Mapping[str, Any]], *, finished: bool) -> dict[str, Any]:
    last = rounds[-1] if rounds else None
    return {
        "rounds": len(rounds),
        "budget_wei": str(result.terms.budget),
        "paid_wei": str(result.paid) if finished else None,
        "initial_accuracy": result.initial.accuracy,
        "final_accuracy": last["accuracy"] if last else result.initial.accuracy,
        "initial_perplexity": result.initial.perplexity,
        "final_perplexity": last["perplexity"] if last else result.initial.perplexity,
        "initial_loss": result.initial.loss,
        "initial_validation_loss": rounds[0]["loss_before"] if rounds else None,
        "final_loss": last["test_loss"] if last else result.initial.loss,
        "seconds": sum(result.seconds.values()),
        "seconds_by_part": result.seconds,
    }


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write the summary whole or not at all, mark the run finished, and point runs/latest at it."""
    write_json(folder / SUMMARY, summary)
    (folder / STATUS).write_text("finished\n")
    latest = folder.parent / LATEST
    link = folder.parent / f"{LATEST}.{os.getpid()}"
    link.symlink_to(folder.name)
    link.replace(latest)  # one step: a reader never finds it missing


def is_finished(folder: Path) -> bool:
    """Whether the run of a folder came to its end and was summed up."""
    try:
        return (folder / STATUS).read_text().strip() == "finished"
    except FileNotFoundError:
        return False


def settings_of(config: RunConfig) -> dict[str, Any]:
    """A configuration as plain values that may be shown to anybody."""
    values = asdict(config)
    values["task"]["learning_rate"] = config.task.rate
    if config.chain.url:
        # A paid node's URL carries its key in the path or the query: the report keeps the host only.
        parts = urlsplit(config.chain.url)
        values["chain"]["url"] = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    return values


def _clients(result: FederationResult, rounds: Sequence[Mapping[str, Any]], *, finished: bool) -> list[dict[str, Any]]:
    staked = sum(client.stake for client in result.clients)
    earned = rounds[-1]["cumulative_wei"] if rounds else {}
    clients = []
    for client in result.clients:
        score = sum(int(each["scores_q40"].get(client.account, 0)) for each in rounds)
        values = {
            "number": client.number,
            "name": client.name,
            "account": client.account,
            "behaviour": client.behaviour,
            "samples": client.samples,
            "class_counts": client.class_counts,
            "stake_wei": str(client.stake),
            "stake_share": client.stake / staked,
            "score_q40": str(score),
            "score": _loss(score),
            "paid_wei": earned.get(client.account, "0"),
            # What the chain says at the end; before it, whoever wants to know asks the chain.
            "claimed_wei": str(client.claimed) if finished else None,
            "balance_wei": str(client.balance) if finished else None,
        }
        clients.append(values)
    return clients


def _round(report: RoundReport, test: Evaluation, folder: Path) -> dict[str, Any]:
    header = {
        name: "0x" + value.hex() if isinstance(value, bytes) else str(value)
        for name, value in asdict(report.header).items()
    }
    return {
        "round": report.round,
        "accuracy": test.accuracy,  # null where nothing is right or wrong
        "perplexity": test.perplexity,  # null but of a language model
        "test_loss": test.loss,
        "loss_before": report.loss_before,
        "loss_aggregated": report.loss_aggregated,
        "loss_after": report.loss_after,
        "public_rate": report.public_rate,
        "factors": report.factors,
        "epsilon": report.epsilon,
        "price": price_of(report.header.price) if report.header.price < HIGHEST_PRICE else None,
        "price_q64": str(report.header.price),
        "totals_q40": {leaf.account: str(leaf.total) for leaf in report.leaves},
        "scores": {account: _loss(score) for account, score in report.scores.items()},
        "scores_q40": {account: str(score) for account, score in report.scores.items()},
        "pays_wei": {account: str(pay) for account, pay in report.pays.items()},
        "cumulative_wei": {leaf.account: str(leaf.cumulative) for leaf in report.leaves},
        "refusals": [asdict(refusal) for refusal in report.refusals],
        "left_out": list(report.left_out),
        "header": header,
        "header_hash": "0x" + report.header_hash.hex(),
        "evaluators": list(report.evaluators),
        "transaction": report.transaction,
        "gas": report.gas,
        "posted_at": report.posted_at,
        "seconds": report.seconds,
        "bundle": str(report.bundle.relative_to(folder)),
        "duplicates": [list(group) for group in report.duplicates],
        "reading": _reading(report.reading),
    }


def _loss(score: int) -> float:
    return score / (1 << SCORE_FRACTION_BITS)


def _reading(reading: ScoreReading | None) -> dict[str, Any] | None:
    if reading is None:
        return None
    # JSON knows no infinity: an error that one sample cannot tell is null.
    errors = {account: error if math.isfinite(error) else None for account, error in reading.errors.items()}
    return {
        "errors": errors,
        "untold": [list(pair) for pair in reading.untold],
        "classes": list(reading.classes),
        "over": reading.over,
        "by_class": {account: list(parts) for account, parts in reading.by_class.items()},
    }
