"""What an account has and needs before it joins: looked at, and on a devnet filled, before its owner is asked anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fl.bundle.http_client import ArchiveClient, ArchiveRefused, ArchiveUnreachable
from fl.chain.accounts import ANVIL_CHAIN
from fl.chain.erc20 import Token
from fl.chain.escrow import Escrow
from fl.chain.invite import Invite
from fl.chain.sender import ether_of
from fl.chain.tokens import in_tokens
from fl.errors import FairshareError
from fl.plain_text import printable

# Approving, joining, claiming, ending the task and fetching the stake, as measured, and half as much again.
GAS = 650_000
_NOT_FOUND = 404


@dataclass(frozen=True, kw_only=True)
class Purse:
    """What an account holds, and what joining takes."""

    account: str
    tokens: int  # wei
    ether: int  # wei
    stake: int  # wei, that is to be staked
    gas: int  # wei, for everything from joining to fetching the stake, at today's price

    @property
    def lacks_tokens(self) -> int:
        """Wei of tokens that are missing."""
        return max(0, self.stake - self.tokens)

    @property
    def lacks_ether(self) -> int:
        """Wei of ETH that are missing."""
        return max(0, self.gas - self.ether)

    @classmethod
    def of(cls, escrow: Escrow, token: Token, *, account: str, stake: int) -> Purse:
        """Look at an account.

        Args:
            escrow: The contract.
            token: Of the task.
            account: That stakes.
            stake: Wei that it is to put in.
        """
        return cls(
            account=account,
            tokens=token.balance(account),
            ether=ether_of(escrow.w3, account),
            stake=stake,
            gas=GAS * escrow.w3.eth.gas_price,
        )


class NotFunded(FairshareError):
    """An account lacks what it takes to join; nothing was signed or sent."""

    def __init__(self, purse: Purse, invite: Invite, why: str) -> None:
        super().__init__(purse, invite, why)
        self.purse, self.invite, self.why = purse, invite, why

    def __str__(self) -> str:
        lacks = []
        if self.purse.lacks_tokens:
            lacks.append(f"{in_tokens(self.purse.lacks_tokens)} ({self.invite.token}) for the stake")
        if self.purse.lacks_ether:
            lacks.append(f"{self.purse.lacks_ether / 10**18:.2g} ETH for gas")
        return (
            f"send {' and '.join(lacks)} to {self.purse.account} on chain {self.invite.chain_id}, and start again{self.why}; "
            "nothing was signed or sent"
        )


def fill(
    purse: Purse, *, invite: Invite, escrow: Escrow, token: Token, say: Callable[[str], None]
) -> tuple[Purse, str]:
    """On a devnet, ask the coordinator's faucet for what is missing.

    Args:
        purse: What the account holds.
        invite: Of the task.
        escrow: The contract.
        token: Of the task.
        say: Prints a line.
    Returns: the purse as it is then, and why it is not full, "" if it is.
    """
    if not (purse.lacks_tokens or purse.lacks_ether):
        return purse, ""
    if invite.chain_id != ANVIL_CHAIN:
        return purse, ""
    try:
        ArchiveClient.of_gateway(invite).post("faucet", {"account": purse.account, "stake": str(purse.stake)})
    except ArchiveRefused as error:
        why = "it has no faucet" if error.status == _NOT_FOUND else printable(error.reason, most=200)
        return purse, f" (the coordinator's faucet gave nothing: {why}; on a devnet `fl mint` makes tokens)"
    except ArchiveUnreachable as error:
        return purse, f" (the coordinator's faucet does not answer: {printable(error.reason, most=200)})"
    filled = Purse.of(escrow, token, account=purse.account, stake=purse.stake)
    say(
        f"the coordinator's faucet sent {in_tokens(filled.tokens - purse.tokens)} and "
        f"{(filled.ether - purse.ether) / 10**18:.3g} ETH for gas; this is a devnet, where they are free"
    )
    return filled, ""


def check_purse(purse: Purse, *, invite: Invite, why: str = "") -> None:
    """See that an account holds what joining takes.

    Args:
        purse: What the account holds.
        invite: Of the task.
        why: What the money is for.
    Raises: NotFunded, which says what to send where.
    """
    if purse.lacks_tokens or purse.lacks_ether:
        raise NotFunded(purse, invite, why)
