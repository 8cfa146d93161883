"""`fl mint`: make tokens on a devnet, where anybody may."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eth_utils import is_address, to_checksum_address

from fl.chain.deployment import Deployment
from fl.cli.arguments import parse
from fl.cli.signer import signer
from fl.coordinator.config import WEI, wei
from fl.errors import ConfigError

KNOWN = {
    "deployment": "deployment file that `fl deploy` wrote",
    "to": "address that gets them",
    "tokens": "how many, in decimal",
    "key": "keystore that pays the gas; on chain 31337 Anvil's first test account if not set",
}


def main(arguments: Sequence[str]) -> None:
    """Mint, and print the new balance."""
    values = parse(arguments, known=KNOWN, command="mint", required=["deployment", "to", "tokens"])
    if not is_address(values["to"]):
        raise ConfigError(f"to is {values['to']!r}, which is no address; write 0x and 40 hex digits")
    w3, _, token = Deployment.read(Path(values["deployment"])).connect()
    to = to_checksum_address(values["to"])
    token.mint(to, wei(values["tokens"], setting="tokens"), account=signer(values.get("key"), chain_id=w3.eth.chain_id))
    print(f"{to} holds {token.balance(to) / WEI:g} tokens")
