"""A task whose clients are simulated: one process mints, joins and pays out for all of them, on chain 31337.

Flower's simulation engine tells a node its partition and nothing else, so a node signs with the key of Anvil's that has its
number (`clients.keys.wallet.simulated_wallet`). These keys are published: what is paid to them is play money.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.chain.accounts import anvil_account
from fl.chain.anvil import CHAIN_STATE, running_anvil
from fl.chain.deploying import put_contracts
from fl.chain.deployment import Deployment
from fl.chain.membership import Joining, join_all
from fl.chain.paid_task import PaidTask
from fl.chain.sender import connect
from fl.chain.tokens import in_tokens, wei
from fl.chain.typed_data import Header
from fl.coordinator.lifecycle.close import claim_for_all, close_and_return_stakes
from fl.errors import ConfigError
from fl.plain_text import plural
from fl.protocol import SIMULATED_FROM
from fl.rewards import Leaf

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Where a simulated task's chain and files are."""

    deployment: Deployment
    folder: Path

    def client(self, partition: int) -> LocalAccount:
        """The account of a partition's node."""
        return anvil_account(SIMULATED_FROM + partition, chain_id=self.deployment.chain_id)

    def fund(self, amounts: dict[str, int]) -> None:
        """Mint wei for accounts. Raises: ChainError."""
        _, _, token = self.deployment.connect()
        token.mint_many(amounts, account=anvil_account(0, chain_id=self.deployment.chain_id))

    def join(self, task: PaidTask, *, spec: str, stakes: Sequence[int]) -> str:
        """Every partition joins with its stake, in wei; returns the invite in one line.

        Args:
            task: That was opened.
            spec: As JSON.
            stakes: Wei, by partition.
        Raises: ChainError.
        """
        invite = task.invite(url=self.deployment.url, spec=spec)
        clients = [self.client(partition) for partition in range(len(stakes))]
        self.fund({client.address: stake for client, stake in zip(clients, stakes, strict=True)})
        joinings = [
            Joining(account=client, stake=stake, node_key=b"", dataset=bytes(32))
            for client, stake in zip(clients, stakes, strict=True)
        ]
        join_all(invite, joinings, relayer=anvil_account(0, chain_id=self.deployment.chain_id))
        invite.write(self.folder / "invite.json")
        return invite.to_string()

    def pay_out(self, task: PaidTask, header: Header, leaves: Sequence[Leaf]) -> list[str]:
        """Claim for everybody, close the task and give the stakes back; returns a line for each partition.

        Args:
            task: That is over.
            header: Of its last round.
            leaves: Of that round.
        """
        sponsor, lines = anvil_account(0, chain_id=self.deployment.chain_id), self.earned(task, leaves)
        claim_for_all(task, header, leaves=leaves, account=sponsor)
        close_and_return_stakes(task, account=sponsor)
        return lines

    def earned(self, task: PaidTask, leaves: Sequence[Leaf]) -> list[str]:
        """What each partition has earned until a round, a line each.

        Args:
            task: On chain.
            leaves: Of that round.
        """
        state = task.state()
        due = {leaf.account: state.due(leaf.cumulative) for leaf in leaves}
        owners = [self.client(partition).address for partition in range(len(leaves))]
        return [f"partition {place}: {in_tokens(due[owner])}" for place, owner in enumerate(owners)]


def simulation(deployment: Path, *, accounts: int, folder: Path | None = None) -> Simulation:
    """The chain of a simulation: the deployed one if its file is there, or an Anvil that ends with this process.

    Args:
        deployment: File that `fl deploy` wrote.
        accounts: Funded test accounts that an Anvil of its own needs.
        folder: Takes the bundles, the invite and the chain's log; a new one under `simulated` if not set.
    Raises: AnvilMissing, AnvilFailed; ConfigError for another chain than 31337.
    """
    folder = folder or Path("simulated") / datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S-%f")
    folder.mkdir(parents=True)
    if deployment.exists():
        found = Deployment.read(deployment)
        anvil_account(0, chain_id=found.chain_id)  # refuses any other chain than Anvil's
        return Simulation(deployment=found, folder=folder)
    stack = ExitStack()
    atexit.register(stack.close)
    url = stack.enter_context(running_anvil(accounts=accounts, log=folder / "anvil.log", state=folder / CHAIN_STATE))
    sponsor = anvil_account(0, chain_id=31337)
    found = put_contracts(connect(url), url=url, account=sponsor)
    found.write(folder / "deployment.json")
    return Simulation(deployment=found, folder=folder)


def stakes_of(stakes: Sequence[str] | None, *, clients: int) -> list[int]:
    """What each partition stakes, in wei; one token each if not set. Raises: ConfigError for another number of them, or 0."""
    if stakes is None:
        return [wei("1", setting="stakes")] * clients
    found = [wei(stake, setting="stakes") for stake in stakes]
    if len(found) != clients or not all(found):
        raise ConfigError(
            f"stakes has {plural(len(found), 'amount')}{' and a 0 among them' if not all(found) else ''} for {plural(clients, 'client')}; give one above 0 "
            "for each partition, in its order"
        )
    return found
