"""`fl mint`: make tokens on a devnet, where anybody may, and send gas money along."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eth_utils import is_address, to_checksum_address
from web3 import Web3

from fl.bundle.invite_link import load_invite
from fl.chain.accounts import ANVIL_CHAIN
from fl.chain.deployment import Deployment
from fl.chain.escrow import Token
from fl.chain.sender import connect, transfer_ether
from fl.chain.tokens import WEI, tokens, wei
from fl.cli.arguments.key_value import named, parse
from fl.cli.arguments.signer import signer
from fl.errors import ConfigError

KNOWN = {
    "invite": "the task's invite: a file, a link, or the line that begins with fairshare:",
    "deployment": "or the deployment file that `fl deploy` wrote",
    "to": "address that gets them",
    "tokens": "how many, in decimal",
    "ether": "ETH to send along for gas; on chain 31337, 1 to an account that has none",
    "key": "keystore that pays the gas; on chain 31337 Anvil's first test account if not set",
}


def main(arguments: Sequence[str]) -> None:
    """Mint, and print the new balance."""
    values = parse(
        named(arguments, "invite", command="mint"), known=KNOWN, command="mint INVITE", required=["to", "tokens"]
    )
    if not is_address(values["to"]):
        raise ConfigError(f"to is {values['to']!r}, which is no address; write 0x and 40 hex digits")
    w3, token = _token(values)
    to = to_checksum_address(values["to"])
    account = signer(values.get("key"), chain_id=w3.eth.chain_id)
    token.mint(to, wei(values["tokens"], setting="tokens"), account=account)
    # A new wallet can do nothing without gas, and on a devnet there is no other tap.
    needy = w3.eth.chain_id == ANVIL_CHAIN and w3.eth.get_balance(to) == 0
    if ether := wei(values.get("ether") or ("1" if needy else "0"), setting="ether"):
        transfer_ether(w3, account=account, to=to, amount=ether)
    print(f"{to} holds {tokens(token.balance(to))} tokens and {w3.eth.get_balance(to) / WEI:.4g} ETH")


def _token(values: dict[str, str]) -> tuple[Web3, Token]:
    if values.get("deployment"):
        w3, _, token = Deployment.read(Path(values["deployment"])).connect()
        return w3, token
    if not values.get("invite"):
        raise ConfigError("no token is named; write fl mint INVITE to=0x… tokens=100, or deployment=FILE")
    invite = load_invite(values["invite"])
    w3 = connect(invite.url, chain_id=invite.chain_id)
    return w3, Token(w3, invite.token)
