"""A round of a thousand LeNet clients on a coordinator: seconds, and the peak of its memory and of an evaluator's.

The real path, on a devnet of its own: the paying strategy around FedAvg asks all clients, checks their signatures, weighs, scores,
aggregates, writes journal and bundle, lets one evaluator recompute it, and posts. Only the clients are not real: each answers with
random blocks of LeNet's size, signed with its own wallet, and trains nothing. They answer in this process, one at a time, and what
they spend is left out of `seconds`, which end when the round is on chain; the evaluator, a process of its own, is counted apart too, since
it has a machine of its own where it matters.

`tree_10k_seconds` is the round tree of 10,000 leaves with every proof checked for a hundred of them, and
`price_10k_seconds` the price of 10,000 clients, in CPU seconds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np
import requests
import torch
from apart import Apart, evaluator, forget_peak, peak_mb
from eth_account import Account
from eth_account.signers.local import LocalAccount
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from measurement import report, settings
from trained_rounds import federation_of, mnist
from web3.contract.contract import ContractFunction

from fl.chain.accounts import anvil_account
from fl.chain.anvil import running_anvil
from fl.chain.artifacts import artifact
from fl.chain.deploying import put_contracts
from fl.chain.paid_task import PaidTask
from fl.chain.sender import connect
from fl.chain.typed_data import Domain, Update, sign
from fl.codec import Blocks, block_root, model_hash
from fl.coordinator.config import TaskConfig
from fl.coordinator.engines.virtual_grid import EmbeddedGrid
from fl.coordinator.lifecycle.open import terms_of
from fl.coordinator.round.settings import RoundHooks
from fl.coordinator.round.strategy import PayingStrategy
from fl.protocol import RECORD, SignedUpdate
from fl.rewards import Account as Standing
from fl.rewards import Leaf, RoundTree, largest_price, verify_leaf
from fl.scoring.game import ValidationGame
from fl.task.data import Dataset, PartitionConfig
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec, dataset_hash

TOKENS = 10**18
_CALLS_AT_ONCE = 100  # of one request to the chain


def main() -> None:
    """Open a task, let everybody join, play one round."""
    values = settings({"data.path": "../shared/data/mnist10k", "clients": "1000"})
    torch.set_num_threads(1)
    clients = int(values["clients"])
    federation, spec = federation_of(mnist(values["data.path"]), PartitionConfig(name="iid", clients=1), seed=0)
    with tempfile.TemporaryDirectory() as folder, running_anvil(log=Path(folder) / "anvil.log") as url:
        members = Members(clients, size=len(vector_of(spec.build_model())))
        task = open_task(url, spec, federation.validation)
        join_all(url, task, members.accounts)
        members.domain = task.domain
        quorum = Apart(spec=spec, validation=federation.validation)
        before = forget_peak()
        seconds = play(task, spec, federation.validation, members, quorum=quorum, folder=Path(folder) / "bundles")
        peak = peak_mb()
    own = sum(seconds.values()) - seconds["evaluating"]
    report(
        "scale",
        {
            "clients": clients,
            "peak_mb": round(peak, 1),
            "before_mb": round(before, 1),
            "evaluator_peak_mb": round(max(peak for _, peak in quorum.seen), 1),
            "seconds": round(own, 2),
            "evaluator_seconds": round(seconds["evaluating"], 2),
            "client_seconds": round(members.seconds, 2),
            "parts": {name: round(taken, 3) for name, taken in seconds.items()},
            "tree_10k_seconds": round(tree_seconds(10_000), 3),
            "price_10k_seconds": round(price_seconds(10_000), 3),
            "values_per_update": members.size,
        },
    )


def play(
    task: PaidTask, spec: TaskSpec, validation: Dataset, members: Members, *, quorum: Apart, folder: Path
) -> dict[str, float]:
    """One round, to its post; seconds of each step, without the clients' own.

    Args:
        task: On chain, everybody joined.
        spec: Of the task.
        validation: The rows that score.
        members: The clients.
        quorum: The evaluator.
        folder: Takes the bundle.
    """
    game = ValidationGame(
        spec.build_model(), loss=spec.build_loss(), features=validation.features, labels=validation.labels
    )
    reports = []
    strategy = PayingStrategy(
        FedAvg(fraction_evaluate=0.0, min_available_nodes=len(members.accounts)),
        task=task,
        spec=spec,
        game=game,
        quorum=quorum,
        bundles=folder,
        hooks=RoundHooks(on_round=reports.append),
    )
    strategy.start(members, ArrayRecord(spec.build_model().state_dict()), num_rounds=1)
    assert not reports[0].refusals, reports[0].refusals[0]
    assert 0 <= task.terms.budget - sum(reports[0].pays.values()) < len(members.accounts)  # less than a wei a leaf
    seconds = {name: taken for name, taken in reports[0].seconds.items() if name not in ("training", "signing")}
    return {**seconds, "collecting": seconds["collecting"] - members.seconds}


class Members(EmbeddedGrid):
    """Clients that train nothing: each signs random blocks around a common direction, as `clients.sign_updates` would."""

    def __init__(self, count: int, *, size: int) -> None:
        super().__init__({number + 2: {} for number in range(count)})
        self.accounts = [Account.from_key((number + 1).to_bytes(32, "big")) for number in range(count)]
        self.size, self.seconds = size, 0.0
        self.domain: Domain  # of the task, once it is open
        self._common = np.random.default_rng(0).normal(size=size) * 0.002

    def _answer(self, messages: Sequence[Message], *, timeout: float | None) -> Iterator[Message]:
        for message in messages:
            started = time.perf_counter()
            reply = self._signed(message)
            self.seconds += time.perf_counter() - started
            yield reply

    def _signed(self, message: Message) -> Message:
        number = message.metadata.dst_node_id - 2
        account = self.accounts[number]
        base = np.concatenate([array.numpy().ravel() for array in message.content["arrays"].values()])
        draw = np.random.default_rng([1, number])
        blocks = Blocks.encode(self._common + draw.normal(size=self.size) * 0.002).to_bytes()
        return signed_reply(message, account, blocks, base_model=model_hash(base), domain=self.domain)


def signed_reply(
    message: Message, account: LocalAccount, blocks: bytes, *, base_model: bytes, domain: Domain
) -> Message:
    """What a client sends back that trained nothing.

    Args:
        message: That it was asked.
        account: Of the client.
        blocks: Of its update, as they are sent.
        base_model: Hash of the model that it was sent.
        domain: Of the task.
    """
    asked = message.content.config_records[RECORD]
    update = Update(
        task_id=asked["task-id"],
        round=asked["round"],
        client=account.address,
        base_model=base_model,
        update_root=block_root(blocks),
    )
    answer = SignedUpdate(
        account=account.address,
        round=update.round,
        base_model=base_model,
        blocks=blocks,
        signature=sign(update, domain=domain, account=account),
    )
    content = {RECORD: answer.to_record(), "metrics": MetricRecord({"num-examples": 10, "train-loss": 1.0})}
    return Message(RecordDict(content), reply_to=message)


# ---- the chain -------------------------------------------------------------------------------------------------------


def open_task(
    url: str, spec: TaskSpec, validation: Dataset, *, model: torch.nn.Module | None = None, rounds: int = 1
) -> PaidTask:
    """A task with one evaluator.

    Args:
        model: The spec's, if it was built before.
        rounds: Of the task.
    """
    base = vector_of(model or spec.build_model())
    w3 = connect(url)
    sponsor, coordinator = anvil_account(0, chain_id=31337), anvil_account(1, chain_id=31337)
    deployment = put_contracts(w3, url=url, account=sponsor)
    terms = terms_of(
        TaskConfig(rounds=rounds, round_timeout=86_400),
        spec=spec,
        validation=dataset_hash(validation),
        base_model=model_hash(base),
        token=deployment.token,
        coordinator=coordinator.address,
        evaluators=[evaluator().address],
        salt=bytes(32),
    )
    _, _, token = deployment.connect()
    token.mint(sponsor.address, terms.budget, account=sponsor)
    token.mint(coordinator.address, terms.bond, account=sponsor)
    task, _ = PaidTask.open(deployment, terms=terms, sponsor=sponsor, coordinator=coordinator)
    return task


def join_all(url: str, task: PaidTask, accounts: Sequence[LocalAccount]) -> None:
    """Everybody gets a stake and joins with it: three transactions each, many in one request and none waited for by itself."""
    w3, sponsor = connect(url), anvil_account(0, chain_id=31337)
    before = len(task.enrolments())
    token = w3.eth.contract(address=task.token.address, abi=artifact("DevToken").abi).functions
    escrow = w3.eth.contract(address=task.escrow.address, abi=artifact("Fairshare").abi).functions
    first, price = w3.eth.get_transaction_count(sponsor.address), 2 * w3.eth.gas_price

    def raw(call: ContractFunction, account: LocalAccount, nonce: int) -> str:
        filled = {"from": account.address, "nonce": nonce, "chainId": 31337, "gas": 250_000, "gasPrice": price}
        return account.sign_transaction(call.build_transaction(filled)).raw_transaction.to_0x_hex()

    stake = 10 * task.terms.min_stake
    # By hand: a chain that mines by itself looks once more for each transaction, when all of them are long in a block.
    w3.provider.make_request("evm_setAutomine", [False])
    w3.provider.make_request("evm_setBlockGasLimit", [hex(1 << 40)])  # full blocks would make each next one dearer
    for method, parameters in (
        ("anvil_setBalance", [[account.address, hex(TOKENS)] for account in accounts]),
        ("eth_sendRawTransaction", [[raw(token.mint(account.address, stake), sponsor, first + place)] for place, account in enumerate(accounts)]),
        ("eth_sendRawTransaction", [[raw(token.approve(task.escrow.address, stake), account, 0)] for account in accounts]),
        ("eth_sendRawTransaction", [[raw(escrow.join(task.task_id, stake, b"", bytes(32), []), account, 1)] for account in accounts]),
    ):  # fmt: skip
        for start in range(0, len(parameters), _CALLS_AT_ONCE):
            calls = [
                {"jsonrpc": "2.0", "id": number, "method": method, "params": given}
                for number, given in enumerate(parameters[start : start + _CALLS_AT_ONCE])
            ]
            for answer in requests.post(url, json=calls, timeout=120).json():
                assert "error" not in answer, answer
        # What did not fit into a block waits for the next one, and the stakes have to be there before they are used.
        while int(w3.provider.make_request("txpool_status", [])["result"]["pending"], 16):
            w3.provider.make_request("evm_mine", [])
    w3.provider.make_request("evm_setBlockGasLimit", [hex(30_000_000)])
    w3.provider.make_request("evm_setAutomine", [True])
    assert (joined := len(task.enrolments()) - before) == len(accounts), f"{joined} of {len(accounts)} joined"


def price_seconds(count: int) -> float:
    """The slowest of a few exact searches for the price, of clients whose totals and earlier prices lie far apart; CPU seconds."""
    rng, taken = Random(0), []
    totals = [int(10 ** rng.uniform(3, 14)) for _ in range(count)]
    accounts = [Standing(total=total, cumulative=int(total * 10 ** rng.uniform(-2, 12))) for total in totals]
    paid = sum(account.cumulative for account in accounts)
    for more in (1, 10**12, 10**21):
        started = time.process_time()
        price = largest_price(accounts, allowed=paid + more)
        taken.append(time.process_time() - started)
        assert sum(account.at(price) for account in accounts) <= paid + more
    return max(taken)


def tree_seconds(count: int) -> float:
    """The round tree of so many leaves, and a hundred proofs."""
    draw = np.random.default_rng(1)
    leaves = [
        Leaf(
            account=f"0x{int(place) + 1:040x}", update_root=bytes(32), weight=1, score=int(amount), total=int(amount),
            cumulative=int(amount),
        )
        for place, amount in enumerate(draw.integers(1 << 40, size=count))
    ]  # fmt: skip
    started = time.perf_counter()
    tree = RoundTree(leaves)
    seconds = time.perf_counter() - started
    for index in range(0, count, count // 100):
        assert verify_leaf(
            tree.leaves[index], index=index, count=count, proof=tree.proof(index), root=tree.root,
            cumulative=tree.cumulative,
        )  # fmt: skip
    return seconds


if __name__ == "__main__":
    main()
