"""`fl mint`: make tokens on a devnet, where anybody may, and send gas money along."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from web3 import Web3

from fl.bundle.invite_link import load_invite
from fl.chain.accounts import ANVIL_CHAIN
from fl.chain.deployment import Deployment
from fl.chain.erc20 import Token
from fl.chain.errors import ChainError, NoFunds
from fl.chain.sender import connect, transfer_ether
from fl.chain.tokens import WEI, eth, in_tokens, wei
from fl.cli.arguments.key_value import named, parse
from fl.cli.arguments.signer import signer
from fl.cli.arguments.values import address_of
from fl.errors import ConfigError

KNOWN = {
    "invite": "the task's invite: a file, a link, or the line that begins with fairshare:",
    "deployment": "or the deployment file that `fl deploy` wrote",
    "to": "address that gets them",
    "tokens": "how many, in decimal",
    "ether": "ETH to send along for gas; on chain 31337, 1 to an account that has none",
    "key": "keystore that pays the gas; on chain 31337 Anvil's first test account if not set",
}


_GAS = 250_000  # more than a mint and a transfer take together


class NotSentAlong(ChainError):
    """The tokens are minted, the ETH is not sent."""

    def __init__(self, *, amount: int, to: str, ether: int, error: ChainError) -> None:
        super().__init__(amount, to, ether, str(error))
        self.amount, self.to, self.ether, self.error = amount, to, ether, error

    def __str__(self) -> str:
        return (
            f"minted {in_tokens(self.amount)} to {self.to}, but {eth(self.ether)} ETH did not get there: {self.error}; "
            "send the ETH alone, with tokens=0"
        )


def main(arguments: Sequence[str]) -> None:
    """Mint, and print the new balance and what it cost."""
    values = parse(
        named(arguments, "invite", command="mint"), known=KNOWN, command="mint INVITE", required=["to", "tokens"]
    )
    to = address_of(values["to"], setting="to")
    amount = wei(values["tokens"], setting="tokens")
    told = wei(values["ether"], setting="ether", unit="ETH") if values.get("ether") else None
    w3, token = _token(values)
    account = signer(values.get("key"), chain_id=w3.eth.chain_id)
    # A new wallet can do nothing without gas, and on a devnet there is no other tap.
    needy = w3.eth.chain_id == ANVIL_CHAIN and w3.eth.get_balance(to) == 0
    ether = (WEI if needy else 0) if told is None else told
    held = w3.eth.get_balance(account.address)
    needed = ether + _GAS * 2 * w3.eth.gas_price
    if 0 < held < needed:  # both are sent or neither
        raise NoFunds(
            address=account.address,
            chain_id=w3.eth.chain_id,
            held=held,
            needed=needed,
            purpose=f"sending {eth(ether)} ETH along (ether=0 sends none)" if ether else "minting",
        )
    spent = token.mint(to, amount, account=account).fee
    if ether:
        try:
            spent += transfer_ether(w3, account=account, to=to, amount=ether).fee
        except ChainError as error:
            raise NotSentAlong(amount=amount, to=to, ether=ether, error=error) from error
    print(f"{to} holds {in_tokens(token.balance(to))} and {eth(w3.eth.get_balance(to))} ETH")
    print(f"spent {eth(spent)} ETH on gas" + (f", and sent {eth(ether)} along" if ether else ""))


def _token(values: dict[str, str]) -> tuple[Web3, Token]:
    if values.get("deployment"):
        w3, _, token = Deployment.read(Path(values["deployment"])).connect()
        return w3, token
    if not values.get("invite"):
        raise ConfigError("no token is named; write fl mint INVITE to=0x… tokens=100, or deployment=FILE")
    invite = load_invite(values["invite"])
    w3 = connect(invite.url, chain_id=invite.chain_id)
    return w3, Token(w3, invite.token)
