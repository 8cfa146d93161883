"""Summaries in the shape of `fl.report.summary`, small or large, with sums that hold."""

from typing import Any

from fl.rewards import HIGHEST_PRICE

TOKEN = 10**18


def run_summary(*, clients: int = 6, rounds: int = 4, score: float = 0.01) -> dict[str, Any]:
    """A finished run; client k has k + 1 shares of data, pay and score, all of which make up `score` a round."""
    accounts = [f"0x{number + 1:040x}" for number in range(clients)]
    pot, parts = 100 * TOKEN, clients * (clients + 1) // 2
    price = min(int(100 / score * TOKEN) << 24, HIGHEST_PRICE) if score > 0 else HIGHEST_PRICE
    pays = [pot * (number + 1) // parts if score > 0 else 0 for number in range(clients)]
    if score > 0:
        pays[-1] += pot - sum(pays)
    scores = [score * (number + 1) / parts for number in range(clients)]
    units = [int(score * 2**40) for score in scores]
    return {
        "status": "finished",
        "machine": {"system": "Linux", "python": "3.11.7", "cores": 2},
        "config": _config(rounds=rounds),
        "task": {
            "id": "0x" + "11" * 32,
            "chain_id": 31337,
            "contract": "0x" + "22" * 20,
            "token": "0x" + "33" * 20,
            "spec_hash": "0x" + "44" * 32,
            "class_names": ["0", "1"],
            "attested": False,
            "scorer": "direction",
        },
        "clients": [
            {
                "number": number,
                "name": f"client-{number}",
                "account": account,
                "behaviour": "honest",
                "samples": 10 * (number + 1),
                "class_counts": [5 * (number + 1)] * 2,
                "stake_wei": str(10 * (number + 1) * TOKEN),
                "stake_share": (number + 1) / parts,
                "score_q40": str(units[number] * rounds),
                "score": scores[number] * rounds,
                "paid_wei": str(pays[number] * rounds),
                "claimed_wei": str(pays[number] * rounds),
                "balance_wei": str(pays[number] * rounds),
            }
            for number, account in enumerate(accounts)
        ],
        "rounds": [
            {
                "round": number,
                "accuracy": 0.9 - 0.8 / (number + 1),
                "test_loss": 2.3 / (number + 1),
                "loss_before": 2.3 / number,
                "loss_aggregated": 2.3 / (number + 0.5),
                "loss_after": 2.3 / (number + 1),
                "public_rate": 0.5,
                "factors": {account: 1.0 if place else 0.5 for place, account in enumerate(accounts)},
                "price": None if price == HIGHEST_PRICE else price / 2**24 / TOKEN,
                "price_q64": str(price),
                "totals_q40": {account: str(unit * number) for account, unit in zip(accounts, units, strict=True)},
                "scores": dict(zip(accounts, scores, strict=True)),
                "scores_q40": {account: str(unit) for account, unit in zip(accounts, units, strict=True)},
                "pays_wei": {account: str(pay) for account, pay in zip(accounts, pays, strict=True)},
                "cumulative_wei": {account: str(pay * number) for account, pay in zip(accounts, pays, strict=True)},
                "refusals": [],
                "header_hash": f"0x{0xA0000 + number:064x}",
                "evaluators": ["0x" + "e1" * 20],
                "left_out": [],
                "header": {
                    "task_id": "0x" + "11" * 32,
                    "round": str(number),
                    "previous": f"0x{0xA0000 + number - 1:064x}" if number > 1 else "0x" + "00" * 32,
                    "tree_root": f"0x{0xB0000 + number:064x}",
                    "leaf_count": str(clients),
                    "bundle": f"0x{0xC0000 + number:064x}",
                },
                "transaction": f"0x{0xD0000 + number:064x}",
                "gas": 75_000,
                "seconds": {"collecting": 1.0, "scoring": 0.1, "posting": 0.02, "training": 0.9, "signing": 0.01},
                "bundle": f"bundles/round-{number:04d}",
            }
            for number in range(1, rounds + 1)
        ],
        "totals": {
            "rounds": rounds,
            "budget_wei": str(pot * rounds),
            "paid_wei": str(sum(pays) * rounds),
            "initial_accuracy": 0.1,
            "final_accuracy": 0.9 - 0.8 / (rounds + 1),
            "initial_loss": 2.3,
            "final_loss": 2.3 / (rounds + 1),
            "seconds": 10.0,
            "seconds_by_part": {"chain": 0.3, "rounds": 9.0, "claiming": 0.7},
        },
        "gas": {"post": {"count": rounds, "median": 75_000, "least": 75_000, "most": 75_000, "total": 75_000 * rounds}},
    }


def refuse_everything(summary: dict[str, Any]) -> dict[str, Any]:
    """The same run in which no update was accepted and nothing paid."""
    for client in summary["clients"]:
        client.update(score_q40="0", score=0.0, paid_wei="0", claimed_wei="0", balance_wei="0")
    for round_ in summary["rounds"]:
        accounts = list(round_["pays_wei"])
        round_.update(
            scores={},
            scores_q40={},
            factors={},
            loss_aggregated=round_["loss_before"],
            loss_after=round_["loss_before"],
        )
        round_.update(public_rate=0.0, price=None, price_q64=str(HIGHEST_PRICE))
        round_["pays_wei"] = dict.fromkeys(accounts, "0")
        round_["cumulative_wei"] = dict.fromkeys(accounts, "0")
        round_["totals_q40"] = dict.fromkeys(accounts, "0")
        round_["refusals"] = [{"node_id": 2, "account": account, "reason": "replayed"} for account in accounts]
    summary["totals"]["paid_wei"] = "0"
    return summary


def before_the_first_round() -> dict[str, Any]:
    """A run whose clients have joined and which has no round yet."""
    summary = refuse_everything(run_summary())
    summary["rounds"] = []
    return summary


def client_of(summary: dict[str, Any], number: int) -> dict[str, Any]:
    """One client of a summary."""
    return summary["clients"][number]


def _config(*, rounds: int) -> dict[str, Any]:
    return {
        "name": "run",
        "seed": 7,
        "task": {
            "rounds": rounds,
            "steps": 20,
            "batch_size": 32,
            "learning_rate": 0.1,
            "loss": "cross_entropy",
            "evaluators": 1,
            "quorum": 1,
        },
        "model": {"path": "fl.task.models:MLP", "arguments": {"hidden": [64]}},
        "data": {"name": "digits", "path": None},
        "partition": {"name": "dirichlet"},
        "strategy": {"name": "fedavg", "arguments": {}},
        "scorer": {"name": "direction", "nodes": 3, "tolerance": 0.001},
        "chain": {"name": "anvil", "url": None},
    }
