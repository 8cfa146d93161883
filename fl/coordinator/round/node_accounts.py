"""Which accounts speak through which node, and the receipt that each has of its last update."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flwr.serverapp import Grid

from fl.chain.node_key import accounts_by_key
from fl.coordinator.round.opening import OpenRound
from fl.protocol import TrainRequest


@dataclass(frozen=True, kw_only=True)
class Receipted:
    """An update that was taken into a round, and the coordinator's signature that it was."""

    round: int
    root: bytes
    receipt: bytes  # 65 bytes


class NodeAccounts:
    """What the coordinator remembers of its nodes from round to round.

    Args:
        simulated: The invite in one line, if the nodes are simulated and sign with Anvil's published keys.
    """

    def __init__(self, *, simulated: str = "") -> None:
        self._simulated = simulated
        # node -> accounts that joined with its key; None where nodes have no keys
        self.owners: Mapping[int, tuple[str, ...]] | None = None
        self._senders: dict[int, str] = {}  # node -> account, of the last round it took part in
        self._receipts: dict[str, Receipted] = {}  # by account

    def note_sender(self, node: int, account: str) -> None:
        """An account's update came through this node."""
        self._senders[node] = account

    def keep_receipt(self, account: str, receipted: Receipted) -> None:
        """What the account's next train message carries."""
        self._receipts[account] = receipted

    def to_ask(self, grid: Grid, opened: OpenRound, *, await_nodes: Callable[[int], None]) -> Iterable[int]:
        """The nodes that can be asked: of those whose keys are known, the ones that weigh in this round.

        Args:
            grid: Connects the nodes; only a grid of real machines knows their keys.
            opened: The round.
            await_nodes: Called with the round if it has clients and none of their nodes is connected.
        """
        keys: Callable[[], Mapping[int, bytes]] | None = getattr(grid, "node_keys", None)
        if keys is None:
            return grid.get_node_ids()
        told = keys
        accounts = accounts_by_key(opened.enrolled.values())
        weighing = {account for account, enrolment in opened.enrolled.items() if enrolment.weighs_in(opened.number)}

        def connected() -> list[int]:
            owners = {node: accounts.get(key, ()) for node, key in told().items()}
            self.owners = owners
            return [node for node in grid.get_node_ids() if weighing.intersection(owners.get(node, ()))]

        if (found := connected()) or not weighing:
            return found
        # Nodes that left alone are not waited for. That all are gone at once says that it was this machine's line, and
        # Flower would train with the first one that is back.
        await_nodes(opened.number)
        return connected()

    def request_for(self, node: int, opened: OpenRound) -> TrainRequest:
        """What a node is to sign for, with the receipt of the last update that came through it."""
        last = next((self._receipts[account] for account in self._speaking(node) if account in self._receipts), None)
        return TrainRequest(
            task_id=opened.task_id,
            round=opened.number,
            receipt=last.receipt if last else b"",
            receipt_round=last.round if last else 0,
            receipt_root=last.root if last else b"",
            names=opened.layout.names,
            simulated=self._simulated,
        )

    def _speaking(self, node: int) -> Sequence[str]:
        """The accounts of a node; who named its key and never sent has no receipt."""
        return (self._senders.get(node, ""),) if self.owners is None else self.owners.get(node, ())
