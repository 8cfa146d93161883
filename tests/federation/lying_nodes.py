"""Nodes of clients who joined like everybody, and whose updates no honest node signs: lying_nodes.py INVITE FIRST_ACCOUNT LIE…

Each lie of `LIES` is told by an account of Anvil's, from FIRST_ACCOUNT on, that stakes and names a node key of its own. The
nodes speak to the coordinator's gateway as a SuperNode does.
"""

import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from eth_account.signers.local import LocalAccount
from flwr.app import Message, RecordDict
from network.light_nodes import DEFAULTS, serve, tell

from fl.chain.accounts import anvil_account
from fl.chain.invite import Invite
from fl.chain.membership import join
from fl.chain.node_key import create_node_key
from fl.chain.typed_data import Domain, Update, sign
from fl.codec import Blocks, Layout, block_root, model_hash
from fl.protocol import RECORD, SignedUpdate, TrainRequest

OTHER = anvil_account(19, chain_id=31337)  # nobody's of the task


@dataclass(kw_only=True)
class Client:
    """One client: signs small random updates, with what its lie changes of them."""

    account: LocalAccount
    domain: Domain
    lie: str
    first_base: bytes = b""
    last: SignedUpdate | None = None

    def answers(self, asked: Message) -> Sequence[Message]:
        """What it sends back."""
        request = TrainRequest.from_record(asked.content[RECORD])
        arrays = {name: array.numpy() for name, array in next(iter(asked.content.array_records.values())).items()}
        layout = Layout.of(arrays)
        base = layout.flatten(arrays)
        self.first_base = self.first_base or model_hash(base)
        random = np.random.default_rng(int(self.account.address, 16) % 2**32 + request.round)
        wire = Blocks.encode(random.normal(scale=0.01, size=len(base))).to_bytes()
        honest = self.signed(request, wire=wire, base_model=model_hash(base))
        told = LIES[self.lie](self, request, honest)
        self.last = honest
        tell(f"sent {self.lie} {request.round} {block_root(told[0].blocks).hex()}")
        return [Message(RecordDict({RECORD: update.to_record()}), reply_to=asked) for update in told]

    def signed(
        self, request: TrainRequest, *, wire: bytes, base_model: bytes, by: LocalAccount | None = None
    ) -> SignedUpdate:
        """These blocks, signed by this account or another."""
        update = Update(
            task_id=request.task_id,
            round=request.round,
            client=self.account.address,
            base_model=base_model,
            update_root=block_root(wire),
        )
        return SignedUpdate(
            account=self.account.address,
            round=request.round,
            base_model=base_model,
            blocks=wire,
            signature=sign(update, domain=self.domain, account=by or self.account),
        )


def not_a_number(client: Client, request: TrainRequest, honest: SignedUpdate) -> list[SignedUpdate]:
    """Blocks of the right length that are float32 NaN, signed as they are."""
    wire = np.full(len(honest.blocks) // 4 + 1, np.nan, dtype=">f4").tobytes()[: len(honest.blocks)]
    return [client.signed(request, wire=wire, base_model=honest.base_model)]


def tenfold(client: Client, request: TrainRequest, honest: SignedUpdate) -> list[SignedUpdate]:
    """Ten times as many blocks as the model has, each in form."""
    return [client.signed(request, wire=honest.blocks * 10, base_model=honest.base_model)]


def stale_base(client: Client, request: TrainRequest, honest: SignedUpdate) -> list[SignedUpdate]:
    """Trained from the first round's model, whichever the round is."""
    return [client.signed(request, wire=honest.blocks, base_model=client.first_base)]


def earlier_round(client: Client, request: TrainRequest, honest: SignedUpdate) -> list[SignedUpdate]:
    """The update of the round before, once more."""
    return [client.last or honest]


def twice(client: Client, request: TrainRequest, honest: SignedUpdate) -> list[SignedUpdate]:
    """Two different updates, both signed."""
    wire = Blocks.encode(np.linspace(-1, 1, 4)).to_bytes()
    return [honest, client.signed(request, wire=wire, base_model=honest.base_model)]


def anothers_signature(client: Client, request: TrainRequest, honest: SignedUpdate) -> list[SignedUpdate]:
    """In its own name, and signed by somebody else."""
    return [client.signed(request, wire=honest.blocks, base_model=honest.base_model, by=OTHER)]


def anothers_name(client: Client, request: TrainRequest, honest: SignedUpdate) -> list[SignedUpdate]:
    """In the name of the account before its own, which has a node of its own."""
    return [replace(honest, account=PREVIOUS[client.account.address])]


def no_time(client: Client, request: TrainRequest, honest: SignedUpdate) -> list[SignedUpdate]:
    """It says that training took no number of seconds."""
    return [replace(honest, seconds_training=float("nan"))]


LIES = {
    "nan": not_a_number,
    "tenfold": tenfold,
    "stale": stale_base,
    "earlier": earlier_round,
    "twice": twice,
    "signature": anothers_signature,
    "name": anothers_name,
    "seconds": no_time,
}
PREVIOUS: dict[str, str] = {}  # account -> the one before it


def main() -> None:
    """Join, and one thread for each lie."""
    invite, first, lies = Invite.read(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3:]
    domain = Domain(chain_id=invite.chain_id, contract=invite.contract)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Flower's to itself while the coordinator does not know the key yet
    threads = []
    with tempfile.TemporaryDirectory() as folder:
        for number, lie in enumerate(lies):
            account, key = anvil_account(first + number, chain_id=invite.chain_id), Path(folder) / f"{number}.key"
            PREVIOUS[account.address] = anvil_account(first + number - 1, chain_id=invite.chain_id).address
            join(
                invite,
                account=account,
                stake=10 * 10**18,
                node_key=create_node_key(key),
                dataset=bytes(32),
            )
            client = Client(account=account, domain=domain, lie=lie)
            threads.append(
                threading.Thread(
                    target=serve,
                    args=(invite.gateway.removeprefix("https://"), invite.ca.encode(), str(key)),
                    kwargs={**DEFAULTS, "again": 1.0, "answers": client.answers},
                    daemon=True,
                )
            )
            threads[-1].start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
