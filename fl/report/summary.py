"""`summary.json`: everything that a run came to. Wei and scores are decimal strings, as JSON readers lose digits above 2^53."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from fl.chain.json_file import write_json
from fl.coordinator.config import RunConfig
from fl.coordinator.federation import ClientResult, FederationResult
from fl.coordinator.strategy import RoundReport
from fl.rewards import SCORE_FRACTION_BITS
from fl.scoring.game import Standing
from fl.scoring.reading import ScoreReading

SUMMARY, STATUS, LATEST = "summary.json", "status", "latest"


def summarise(config: RunConfig, result: FederationResult, *, folder: Path) -> dict[str, Any]:
    """The summary as plain JSON values."""
    staked = sum(client.stake for client in result.clients)
    return {
        "status": "finished",
        "machine": {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "config": settings_of(config),
        "task": {
            "id": "0x" + result.task_id.hex(),
            "chain_id": result.chain_id,
            "contract": result.contract,
            "token": result.token,
            "spec_hash": "0x" + result.spec.hash().hex(),
            "class_names": list(result.spec.class_names),
            "parameters": result.parameters,
            "validation_samples": result.validation_samples,
            "test_samples": result.test_samples,
        },
        "clients": [_client(client, staked=staked) for client in result.clients],
        "rounds": [_round(report, test, folder) for report, test in zip(result.rounds, result.tests, strict=True)],
        "totals": {
            "rounds": len(result.rounds),
            "budget_wei": str(result.budget),
            "paid_wei": str(result.paid),
            "initial_accuracy": result.initial.accuracy,
            "final_accuracy": result.tests[-1].accuracy,
            "initial_loss": result.initial.loss,
            "initial_validation_loss": result.rounds[0].loss_before,
            "final_loss": result.tests[-1].loss,
            "seconds": sum(result.seconds.values()),
            "seconds_by_part": result.seconds,
        },
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


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write the summary whole or not at all, mark the run finished, and point runs/latest at it."""
    write_json(folder / SUMMARY, summary)
    (folder / STATUS).write_text("finished\n")
    latest = folder.parent / LATEST
    link = folder.parent / f"{LATEST}.{os.getpid()}"
    link.symlink_to(folder.name)
    link.replace(latest)  # one step: a reader never finds it missing


def settings_of(config: RunConfig) -> dict[str, Any]:
    """A configuration as plain values that may be shown to anybody."""
    values = asdict(config)
    if config.chain.url:
        # A paid node's URL carries its key in the path or the query: the report keeps the host only.
        parts = urlsplit(config.chain.url)
        values["chain"]["url"] = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    return values


def _client(client: ClientResult, *, staked: int) -> dict[str, Any]:
    return {
        "number": client.number,
        "name": client.name,
        "account": client.account,
        "behaviour": client.behaviour,
        "samples": client.samples,
        "class_counts": client.class_counts,
        "stake_wei": str(client.stake),
        "stake_share": client.stake / staked,
        "score_q40": str(client.score),
        "score": _loss(client.score),
        "paid_wei": str(client.earned),
        "claimed_wei": str(client.claimed),
        "balance_wei": str(client.balance),
    }


def _round(report: RoundReport, test: Standing, folder: Path) -> dict[str, Any]:
    header = {
        name: "0x" + value.hex() if isinstance(value, bytes) else str(value)
        for name, value in asdict(report.header).items()
    }
    return {
        "round": report.round,
        "accuracy": test.accuracy,
        "test_loss": test.loss,
        "loss_before": report.loss_before,
        "loss_after": report.loss_after,
        "pot_wei": str(report.header.pot),
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
        "by_class": {account: list(parts) for account, parts in reading.by_class.items()},
    }
