"""`fl claim`: pay out what an account earned, from the last final round whose bundle is at hand."""

from __future__ import annotations

from collections.abc import Sequence

from fl.bundle.format import read_header, read_leaves
from fl.bundle.invite_link import load_invite
from fl.bundle.store import BundleStore
from fl.chain.escrow import Escrow
from fl.chain.sender import connect
from fl.chain.tokens import in_tokens
from fl.cli.arguments.key_value import named, parse
from fl.cli.arguments.signer import signer
from fl.cli.arguments.values import address_of
from fl.errors import ConfigError
from fl.plain_text import plural
from fl.rewards import RoundTree

KNOWN = {
    "invite": "the task's invite file",
    "bundles": "folder of the task's round bundles, or a node's folder/rounds",
    "account": "whose pay to claim; it goes there, or to its payee (fl recipient), no matter who sends the claim",
    "key": "keystore that pays the gas; on chain 31337 Anvil's first test account if not set",
}


def main(arguments: Sequence[str]) -> None:
    """Find the last final round and claim from it."""
    values = parse(
        named(arguments, "invite", command="claim"),
        known=KNOWN,
        command="claim INVITE",
        required=["invite", "bundles", "account"],
    )
    account = address_of(values["account"], setting="account")
    invite = load_invite(values["invite"])
    w3 = connect(invite.url, chain_id=invite.chain_id)
    escrow = Escrow(w3, invite.contract)
    store = BundleStore.at(values["bundles"])
    rounds = store.rounds()
    final = next((number for number in reversed(rounds) if escrow.is_final(invite.id_bytes, number)), None)
    if final is None:
        raise ConfigError(
            f"{values['bundles']} has {plural(len(rounds), 'round')}, and none is final yet; wait for its window"
        )
    header, _ = read_header(store.bundle(final))
    tree = RoundTree(read_leaves(store.bundle(final)), published=True)
    try:
        index = tree.index(account)
    except KeyError:
        raise ConfigError(f"{account} has no leaf in round {header.round}; check the address") from None
    sent = escrow.claim(
        header,
        leaf=tree.leaves[index],
        index=index,
        proof=tree.proof(index),
        account=signer(values.get("key"), chain_id=invite.chain_id),
    )
    print(f"{account} has claimed {in_tokens(escrow.claimed(invite.id_bytes, account))} in all; {sent.gas} gas")
