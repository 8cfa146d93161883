"""`fl join`: stake for a task as a client."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fl.chain.invite import Invite
from fl.chain.membership import check_invite, join
from fl.cli.arguments import parse
from fl.cli.signer import signer
from fl.coordinator.config import WEI, wei
from fl.errors import ConfigError

KNOWN = {
    "invite": "the coordinator's invite file",
    "key": "keystore of the client's wallet; on chain 31337 anvil=INDEX does instead",
    "anvil": "index of one of Anvil's published test accounts, on chain 31337 only",
    "stake": "tokens to stake: one for each sample is what tasks expect by default",
    "dataset": "commitment to the data, 32 bytes in hex; drawn at random if not set",
    "accept": "true joins without asking",
}


def main(arguments: Sequence[str]) -> None:
    """Show what the task is, ask, and join."""
    values = parse(arguments, known=KNOWN, command="join", required=["invite", "stake"])
    invite = Invite.read(Path(values["invite"]))
    _, _, terms = check_invite(invite)
    stake = wei(values["stake"], setting="stake")
    if not values.get("key") and not values.get("anvil", "").isdigit():
        raise ConfigError("key is not set; add key=KEYSTORE (`fl key` makes one), or anvil=INDEX on a local Anvil")
    dataset = bytes.fromhex(values["dataset"].removeprefix("0x")) if "dataset" in values else os.urandom(32)
    if len(dataset) != 32:
        raise ConfigError(f"dataset has {len(dataset)} bytes; write 32 bytes in hex")
    account = signer(values.get("key"), chain_id=invite.chain_id, anvil_index=int(values.get("anvil") or 0))
    print(f"task {invite.task_id} on chain {invite.chain_id}, contract {invite.contract}")
    print(f"pays up to {terms.budget / WEI:g} tokens over {terms.rounds} rounds, by score")
    print(
        f"stakes {stake / WEI:g} tokens of {account.address}, back at the end unless it signs two updates for a round"
    )
    print(f"trains {invite.spec}")
    if values.get("accept") != "true" and input("join? [y/N] ").strip().lower() not in ("y", "yes"):
        print("nothing was signed or sent")
        return
    _, joined = join(invite, account=account, stake=stake, node_key=b"", dataset=dataset)
    print(f"joined in transaction {joined.hash}, {joined.gas} gas")
