"""Calls that take tokens of their sender: in one transaction where the token knows permits, else after an approval."""

from __future__ import annotations

from collections.abc import Sequence

from eth_account.signers.local import LocalAccount
from web3.exceptions import Web3Exception

from fl.chain.erc20 import Token
from fl.chain.errors import TokenTooLow
from fl.chain.escrow import Escrow
from fl.chain.sender import Sent

_GOOD_FOR_S = 86_400  # a permit lasts as long as its transaction may wait; a devnet's time may leap in between


def pay(
    escrow: Escrow,
    token: Token,
    *,
    function: str,
    arguments: Sequence[object],
    amount: int,
    purpose: str,
    account: LocalAccount,
) -> tuple[Sent | None, Sent]:
    """Call what takes `amount` of the account's tokens.

    With a permit (ERC-2612) the allowance comes in the same transaction, by the contract's `multicall`; what an earlier
    try allowed is used up first.

    Args:
        function: Of the contract, with its `arguments`.
        amount: Wei.
        purpose: What the tokens are for, as an error says it.
    Returns: the approval, None where none was needed, and the call.
    Raises: TokenTooLow before anything is sent; Refused with the contract's reason; ChainError.
    Source: https://eips.ethereum.org/EIPS/eip-2612
    """
    if (held := token.balance(account.address)) < amount:
        raise TokenTooLow(address=account.address, balance=held, needed=amount, purpose=purpose)
    if token.allowance(account.address, escrow.address) >= amount:
        return None, escrow.submit(function, arguments, account=account)
    if permit := _permit(escrow, token, amount=amount, account=account):
        return None, escrow.submit_permitted(function, arguments, token=token.address, permit=permit, account=account)
    approved = token.approve(escrow.address, amount, purpose=purpose, account=account)
    return approved, escrow.submit(function, arguments, account=account)


def _permit(
    escrow: Escrow, token: Token, *, amount: int, account: LocalAccount
) -> tuple[int, int, int, bytes, bytes] | None:
    """A permit that the token takes, as it says when asked; None if it knows none, or not by the standard's ways."""
    deadline = token.w3.eth.get_block("latest")["timestamp"] + _GOOD_FOR_S
    try:
        permit = token.permit(escrow.address, amount, deadline=deadline, account=account)
        token.try_permit(account.address, escrow.address, permit)
    except Web3Exception:  # no such function, or a refusal; a node out of reach is none
        return None
    return permit
